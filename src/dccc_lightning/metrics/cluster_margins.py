"""Distance of each image to the centre of its cluster and to the nearest other cluster."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings

_BLOCK = 4096

_ROUNDING = 1e-14
"""Cosine distance below which unit embeddings in float32 are equal: half of (1.4e-7) squared."""


class Margins(NamedTuple):
    """Cosine distances of N images to centres of clusters.

    Attributes:
        own: (N,) float64 to the centre of the image's cluster; NaN for an outlier.
        second: (N,) int64, the nearest cluster that is not the image's own; -1 if there is none.
        other: (N,) float64 to the centre of ``second``; NaN if there is none.
    """

    own: NDArray[np.float64]
    second: NDArray[np.int64]
    other: NDArray[np.float64]

    @property
    def margin(self) -> NDArray[np.float64]:
        """``other - own`` (N,): below zero where another centre is nearer; NaN for an outlier."""
        return self.other - self.own


def cluster_margins(
    labels: ArrayLike, features: Features, chosen: NDArray[np.int64] | None = None
) -> Margins:
    """Measure how well each image fits its cluster.

    A centre is the mean of the cluster's unit embeddings, scaled to length one; the distance is
    1 - cos, in [0, 2], and exactly 0 for the only image of a cluster. Products are in float64, so
    that nearly equal embeddings are told apart, and in blocks on the device of ``features``: memory
    grows with N + C.

    Args:
        labels: (N,) clusters from 0, -1 for outliers.
        features: Embeddings (N, D); normalised inside.
        chosen: Positions of the images to measure; None for all. Centres are of all images.

    Raises:
        TypeError: ``features`` holds no real numbers.
        ValueError: ``features`` is not finite or empty, or ``labels`` has another length.

    >>> found = cluster_margins([0, 0, 1, -1], np.array([[1, 0], [2, 0], [0, 1], [-1, 0]]))
    >>> found.own.tolist(), found.second.tolist(), found.other.tolist()
    ([0.0, 0.0, 0.0, nan], [1, 1, 0, 1], [1.0, 1.0, 1.0, 1.0])
    """
    rows = UnitEmbeddings.of(features).tensor()
    numbers = torch.as_tensor(np.asarray(labels), dtype=torch.int64, device=rows.device)
    if len(numbers) != len(rows):
        raise ValueError(
            f"labels and features must have one length, got {len(numbers)} and {len(rows)}"
        )
    count = int(numbers.max()) + 1
    centres = _centres(rows, numbers, count)
    if chosen is not None:
        places = torch.as_tensor(chosen, device=rows.device)
        rows, numbers = rows[places], numbers[places]
    own = torch.full((len(rows),), torch.nan, dtype=torch.float64)
    second, other = torch.full((len(rows),), -1), own.clone()
    if count:
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            distances = 1 - _unit(rows[block]) @ centres.T
            distances[distances < _ROUNDING] = 0
            clusters = numbers[block, None]
            inside = clusters >= 0
            mine = distances.gather(1, clusters.clamp(min=0))
            own[block] = mine.where(inside, torch.nan).squeeze(1).cpu()
            if count > 1:
                distances.scatter_(1, clusters.clamp(min=0), mine.where(~inside, torch.inf))
                nearest = distances.min(dim=1)
                other[block], second[block] = nearest.values.cpu(), nearest.indices.cpu()
            else:
                other[block] = mine.where(~inside, torch.nan).squeeze(1).cpu()
                second[block] = (-inside.long()).squeeze(1).cpu()
    return Margins(own.numpy(), second.numpy(), other.numpy())


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows.double(), dim=1)


def _centres(rows: Tensor, numbers: Tensor, count: int) -> Tensor:
    sums = torch.zeros(count, rows.shape[1], dtype=torch.float64, device=rows.device)
    for start in range(0, len(rows), _BLOCK):
        inside = numbers[start : start + _BLOCK] >= 0
        part = rows[start : start + _BLOCK][inside]
        sums.index_add_(0, numbers[start : start + _BLOCK][inside], _unit(part))
    return F.normalize(sums, dim=1)
