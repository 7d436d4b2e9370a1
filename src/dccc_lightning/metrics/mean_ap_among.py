"""Average precisions of images among themselves, and the uncertainty of a difference."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.metrics.protocols import MARKET1501
from dccc_lightning.metrics.retrieval_scores import labelled, measure

Floats = NDArray[np.float64]

_DRAWS = 4000


def precisions_among(
    rows: Tensor,
    identities: NDArray[np.int64],
    cameras: NDArray[np.int64],
    sightings: NDArray[np.int64] | None = None,
) -> Floats:
    """Return the average precision of each image as a query among the others.

    Args:
        rows: (N, D) embeddings.
        identities: (N,), negative if unknown; such images are left out.
        cameras: (N,); images of one camera are no match. Negative if unknown: a camera of its own.
        sightings: (N,); images of one session or tracklet are no match. Negative if unknown.

    Returns:
        (N,), NaN for images without a match.

    >>> ids, cameras = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    >>> precisions_among(torch.eye(2)[[0, 0, 1, 1]], ids, cameras)
    array([1., 1., 1., 1.])
    >>> precisions_among(torch.eye(2)[[0, 0, 1, 1]], ids, np.zeros(4, dtype=np.int64))
    array([nan, nan, nan, nan])
    """
    alone = -1 - np.arange(len(cameras))
    places = np.unique(np.where(cameras < 0, alone, cameras), return_inverse=True)[1]
    precisions = np.full(len(rows), np.nan)
    known = np.flatnonzero(identities >= 0)
    people, places = identities[known], places[known]
    seen = np.full(len(people), UNKNOWN) if sightings is None else sightings[known]
    is_apart = (places[:, None] != places) & ((seen[:, None] != seen) | (seen < 0))
    if ((people[:, None] == people) & is_apart).any():
        labels = {"identity": people, "camera": places, "session": seen}
        images = labelled("images", rows[torch.from_numpy(known)], labels)
        found = measure(images, images, MARKET1501)
        precisions[known[found.queries.numpy()]] = found.precision.numpy()
    return precisions


def mean_ap_among(
    rows: Tensor,
    identities: NDArray[np.int64],
    cameras: NDArray[np.int64],
    sightings: NDArray[np.int64] | None = None,
) -> float | None:
    """Return the mean of ``precisions_among``; None without a match."""
    precisions = precisions_among(rows, identities, cameras, sightings)
    return None if np.isnan(precisions).all() else float(np.nanmean(precisions))


def mean_difference(
    differences: Floats, identities: NDArray[np.int64], chance: float, seed: int = 0
) -> tuple[float, float, float]:
    """Return the mean of differences with its bootstrap interval over identities.

    Images of one identity are not independent, so identities are drawn, not images.

    Args:
        differences: (Q,) differences by query.
        identities: (Q,) of the queries.
        chance: Probability that the interval excludes a difference of zero that is chance.
        seed: Of the draws.

    Returns:
        Mean, lower and upper end.

    >>> mean_difference(np.ones(6), np.array([0, 0, 1, 1, 2, 2]), 0.05)
    (1.0, 1.0, 1.0)
    """
    groups = np.unique(identities, return_inverse=True)[1]
    sums, counts = np.bincount(groups, differences), np.bincount(groups)
    share = np.full(len(counts), 1 / len(counts))
    drawn = np.random.default_rng(seed).multinomial(len(counts), share, size=_DRAWS)
    means = drawn @ sums / (drawn @ counts)
    low, high = np.quantile(means, (chance / 2, 1 - chance / 2))
    return float(differences.mean()), float(low), float(high)
