"""Leave-one-out mAP of images that turn, averaged over identities, with bootstrap intervals."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dccc_lightning.neighbors import aligned_similarity

WAYS = ("plain", "mean", "aligned")
"""How two images are compared: upright, by the mean of four turns, at the best common turn."""

RESAMPLES = 2000
"""Resamples of an interval over identities."""


def similarities(turned: Tensor) -> dict[str, NDArray[np.float32]]:
    """Return the similarity (N, N) of images by each way from their turns (N, 4, D)."""
    plain, mean = turned[:, 0], F.normalize(turned.mean(dim=1), dim=1)
    return {
        "plain": (plain @ plain.T).numpy(),
        "mean": (mean @ mean.T).numpy(),
        "aligned": aligned_similarity(turned, turned).numpy(),
    }


def precision_by_identity(
    similarity: NDArray[np.float32], identities: Sequence[str]
) -> list[float]:
    """Return the mean average precision of each identity, in their sorted order.

    Every image is a query among all others; an identity with one image has no precision.

    >>> similarity = np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]], dtype=np.float32)
    >>> precision_by_identity(similarity, ["a", "a", "b"])
    [1.0]
    """
    names = np.asarray(identities)
    found: dict[str, list[float]] = {}
    for query, row in enumerate(similarity):
        others = np.delete(np.arange(len(row)), query)
        order = others[np.argsort(-row[others], kind="stable")]
        hits = names[order] == names[query]
        if hits.any():
            precision = np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1)
            found.setdefault(str(names[query]), []).append(float(precision.mean()))
    return [float(np.mean(values)) for _, values in sorted(found.items())]


def scores(turned: Tensor, identities: Sequence[str]) -> dict[str, list[float]]:
    """Return the precision of each identity by each way of comparing."""
    ways = similarities(turned)
    return {way: precision_by_identity(ways[way], identities) for way in WAYS}


def embedded(embedder: object, paths: Sequence[str]) -> Tensor:
    """Return the embeddings (N, 4, D) of images and their quarter turns."""
    with torch.inference_mode():
        turned: Tensor = embedder.embed(paths, batch_size=64, aligned=True)  # type: ignore[attr-defined]
    return turned
