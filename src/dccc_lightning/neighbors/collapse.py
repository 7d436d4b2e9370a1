"""Embeddings that have collapsed: nearly one vector, to which all images look alike."""

import logging

from torch import Tensor

COLLAPSED = 0.999
"""Mean cosine above which a model is said to have collapsed."""

_FEWEST = 10
"""Images below which a high cosine says nothing: they may be of one person."""

_SAMPLE = 2048
"""Rows that are looked at, evenly spaced."""


def sampled(rows: Tensor) -> Tensor:
    """Return evenly spaced rows of (N, D), 2,048 at most, in double precision."""
    return rows[:: -(-len(rows) // _SAMPLE) or 1].double()


def mean_cosine(rows: Tensor) -> float:
    """Return the mean cosine of two different rows of length one; 0 where there are none.

    >>> import torch
    >>> mean_cosine(torch.eye(2)[[0, 0, 1]])
    0.3333333333333333
    """
    n = len(rows)
    total = rows.double().sum(dim=0).square().sum() - rows.double().square().sum()
    return float(total) / (n * (n - 1)) if n > 1 else 0.0


def warn_of_collapse(rows: Tensor, images: str, log: logging.Logger) -> bool:
    """Log a warning if the model has collapsed, and return that.

    Args:
        rows: (N, D) of length one; of many a sample.
        images: The images, for the message.
        log: Takes the warning.
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
