"""Average linkage by the mean cosine, for thresholds of ``task=calibrate``.

The mean cosine between two groups of unit embeddings is the product of their two means, so groups
are compared exactly without their pairs of images. It is computed as 1 - |a - b|^2 / 2 less half of
1 - |a|^2 and of 1 - |b|^2: for single images that is, to the last bit, the score of a search.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from dccc_lightning.clustering.average_linkage import Floats, Ints, linked
from dccc_lightning.clustering.constraints import NONE_APART, Apart
from dccc_lightning.common import checks
from dccc_lightning.gallery.exact_search import pair_scores
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings

_ROUNDING = 1e-5
"""Bound on the error of a float32 product of two means."""

_BLOCK_BYTES = 1 << 26


def cosine_linkage(
    features: Features, threshold: float, start: Ints | None = None, apart: Apart = NONE_APART
) -> Ints:
    """Cluster by the mean cosine between all images of one group and all of another.

    A mean of exactly ``threshold`` joins. Groups are compared in blocks: memory is that of the
    embeddings and of the pairs of groups within the threshold.

    Args:
        features: Embeddings (N, D); normalised inside.
        threshold: Lowest mean cosine of groups to join.
        start: (N,) first image of the group of each image, for groups that are never split.
        apart: Groups of ``start`` that are never joined.

    Returns:
        (N,) int64, clusters numbered by their first image; there are no outliers.

    >>> points = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> cosine_linkage(points, 0.7).tolist(), cosine_linkage(points, 0.3).tolist()
    ([0, 1, 1], [0, 0, 0])
    """
    checks.real("threshold", threshold)
    unit = UnitEmbeddings.of(features)
    of_image = np.arange(len(unit)) if start is None else start
    return linked(_MeanGroups(unit, threshold, of_image, apart), of_image)


class _MeanGroups:
    """Groups with their mean embeddings."""

    def __init__(self, unit: UnitEmbeddings, least: float, start: Ints, apart: Apart) -> None:
        self.least, self.apart, self.device = least, apart, unit.device
        self.names = np.arange(len(unit))
        self.sizes = np.ones(len(unit), dtype=np.int64)
        self.means = unit.rows
        self.spreads = np.zeros(len(unit))
        self.join(start)

    def nearest(self) -> tuple[Ints, Ints]:
        first, second = self._near()
        scores = pair_scores(self.means, first, second)
        scores -= self.spreads[first] + self.spreads[second]
        kept = scores >= self.least
        kept &= ~self.apart.contains(self.names[first], self.names[second])
        scores = np.tile(scores[kept], 2)
        one, other = self.names[first[kept]], self.names[second[kept]]
        ends, others = np.concatenate([one, other]), np.concatenate([other, one])
        order = np.lexsort((ends ^ others, -scores, ends))
        is_best = np.diff(ends[order], prepend=-1) != 0
        return ends[order][is_best], others[order][is_best]

    def _near(self) -> tuple[Ints, Ints]:
        """Return the pairs of groups (positions, ascending) that may be within the threshold."""
        points = torch.from_numpy(self.means).to(self.device)
        size = max(1, _BLOCK_BYTES // (4 * len(points)))
        found = [torch.empty((0, 2), dtype=torch.int64)]
        for first in range(0, len(points), size):
            near = points[first : first + size] @ points[first:].T >= self.least - _ROUNDING
            found.append(near.triu(1).nonzero().cpu() + first)
        pairs = torch.cat(found).numpy()
        return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])

    def join(self, names: Ints) -> None:
        new = names[self.names]
        kept, places, parts = np.unique(new, return_inverse=True, return_counts=True)
        if len(kept) == len(new):
            return
        means, spreads, sizes = _joined(self.means, self.sizes, places, len(kept))
        single = np.flatnonzero(parts == 1)
        before = np.argsort(places, kind="stable")[np.cumsum(parts) - 1][single]
        means[single], spreads[single] = self.means[before], self.spreads[before]
        self.names, self.means, self.spreads, self.sizes = kept, means, spreads, sizes
        self.apart = self.apart.renamed(names)


def _joined(
    means: NDArray[np.float32], sizes: Ints, places: Ints, count: int
) -> tuple[NDArray[np.float32], Floats, Ints]:
    """Return means, spreads and sizes of ``count`` groups made of the parts at ``places``."""
    sums = np.zeros((count, means.shape[1]))
    np.add.at(sums, places, means * sizes[:, None].astype(np.float64))
    totals = np.bincount(places, weights=sizes, minlength=count).astype(np.int64)
    joined = (sums / totals[:, None]).astype(np.float32)
    lengths = np.einsum("nd,nd->n", joined, joined, dtype=np.float64)
    return joined, (1 - lengths) / 2, totals
