"""Detection of collapsed embeddings: nearly the same vector for every image."""

import logging

from torch import Tensor

COLLAPSED = 0.999
"""Mean cosine above which a model counts as collapsed."""

_FEWEST = 10
"""Least number of images; fewer may all show one person."""

_SAMPLE = 2048
"""Most rows in a sample."""


def sampled(rows: Tensor) -> Tensor:
    """Return at most 2,048 evenly spaced rows of (N, D), in double precision."""
    return rows[:: -(-len(rows) // _SAMPLE) or 1].double()


def mean_cosine(rows: Tensor) -> float:
    """Return the mean cosine over pairs of rows of length 1; 0 for fewer than two rows.

    >>> import torch
    >>> mean_cosine(torch.eye(2)[[0, 0, 1]])
    0.3333333333333333
    """
    n = len(rows)
    total = rows.double().sum(dim=0).square().sum() - rows.double().square().sum()
    return float(total) / (n * (n - 1)) if n > 1 else 0.0


def warn_of_collapse(rows: Tensor, images: str, log: logging.Logger) -> bool:
    """Log a warning if the model has collapsed; return True if it was logged.

    Args:
        rows: (N, D) of length 1, or a sample of them.
        images: Name of the images in the message.
        log: Logger.
    """
    cosine = mean_cosine(rows)
    if len(rows) < _FEWEST or not cosine > COLLAPSED:
        return False
    log.warning(
        "the model has collapsed: two %s have a mean cosine of %.7f, so all look alike to it; use "
        "an earlier checkpoint, or train with a lower optimizer.lr",
        *(images, cosine),
    )
    return True
