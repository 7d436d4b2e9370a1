"""Average linkage: the groups nearest on average are joined, as far as a threshold.

Average linkage is reducible: a group never comes nearer to a third than its nearer part was. So all
pairs of groups that are each other's nearest can be joined at once, with the result of joining one
pair after another (Murtagh, 1983), and a few rounds suffice.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.clustering.algorithms import check_eps, number_clusters
from dccc_lightning.clustering.constraints import NONE_APART, Apart
from dccc_lightning.clustering.neighbor_graph import NeighborGraph

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Groups(Protocol):
    """Distances between groups of images, which shrink in number as groups are joined."""

    def nearest(self) -> tuple[Ints, Ints]:
        """Return groups and the nearest other group of each, within the threshold.

        Every group within the threshold of another is listed once; ties are broken by
        ``group ^ other``, which no two partners of a group share.
        """
        ...

    def join(self, names: Ints) -> None:
        """Join groups; ``names`` (N,) maps each group to its new name."""
        ...


def linked(groups: Groups, start: Ints) -> Ints:
    """Join mutually nearest groups until no two are within the threshold.

    Args:
        groups: Distances between the groups of ``start``.
        start: (N,) first image of the group of each image.

    Returns:
        (N,) int64, clusters numbered by their first image.
    """
    of_image = start
    while True:
        ends, partners = groups.nearest()
        best = np.full(len(start), -1, dtype=np.int64)
        best[ends] = partners
        mutual = ends[(best[partners] == ends) & (ends < partners)]
        if not len(mutual):
            return number_clusters(of_image, min_samples=1)
        names = np.arange(len(start))
        names[best[mutual]] = mutual
        of_image = names[of_image]
        groups.join(names)


def average_linkage(
    graph: NeighborGraph, threshold: float, start: Ints | None = None, apart: Apart = NONE_APART
) -> Ints:
    """Cluster by the mean distance between all images of one group and all of another.

    A pair without an entry in ``graph`` counts as a distance of 1. A mean of exactly ``threshold``
    joins; both are compared in float32, as by ``DBSCAN``. Memory is that of the graph.

    Args:
        graph: Distances between N images.
        threshold: Largest mean distance of groups to join, in (0, ``graph.max_distance``].
        start: (N,) first image of the group of each image, for groups that are never split.
        apart: Groups of ``start`` that are never joined.

    Returns:
        (N,) int64, clusters numbered by their first image; there are no outliers.

    Raises:
        ValueError: ``threshold`` is above ``graph.max_distance``.

    >>> from dccc_lightning.clustering.jaccard import jaccard_graph
    >>> points = np.repeat(np.eye(3), [4, 3, 1], axis=0)
    >>> average_linkage(jaccard_graph(points, k1=4, k2=1), threshold=0.5).tolist()
    [0, 0, 0, 0, 1, 1, 1, 2]
    """
    limit = check_eps(graph, threshold)
    of_image = np.arange(len(graph)) if start is None else start
    return linked(_SparseGroups(graph, limit, of_image, apart), of_image)


def nearest_linkage(graph: NeighborGraph, start: Ints, apart: Apart) -> Ints:
    """Join groups by the distance of their nearest images, all that are connected in ``graph``.

    Single linkage with groups that stay apart: as Kruskal's algorithm, which takes the stored
    distances from the shortest to the longest and leaves out those that would join such groups.

    Args:
        graph: Distances between N images.
        start: (N,) first image of the group of each image.
        apart: Groups of ``start`` that are never joined.

    Returns:
        (N,) int64, clusters numbered by their first image.
    """
    limit = check_eps(graph, graph.max_distance)
    return linked(_SparseGroups(graph, limit, start, apart, nearest=True), start)


class _SparseGroups:
    """Groups with the sums of 1 - distance over the pairs of images between two of them.

    With ``nearest`` there are distances of the nearest images instead of means.
    """

    def __init__(
        self,
        graph: NeighborGraph,
        limit: np.float32,
        start: Ints,
        apart: Apart,
        nearest: bool = False,
    ) -> None:
        matrix = graph.distances
        rows = np.repeat(np.arange(len(graph)), np.diff(matrix.indptr))
        upper = rows < matrix.indices
        self.first, self.second = rows[upper], matrix.indices[upper].astype(np.int64)
        self.sums = 1 - matrix.data[upper].astype(np.float64)
        self.sizes = np.ones(len(graph), dtype=np.int64)
        self.limit, self.apart, self.by_nearest = limit, apart, nearest
        self.join(start)

    def nearest(self) -> tuple[Ints, Ints]:
        pairs = 1 if self.by_nearest else self.sizes[self.first] * self.sizes[self.second]
        distances = 1 - self.sums / pairs
        near = distances.astype(np.float32) <= self.limit
        near &= ~self.apart.contains(self.first, self.second)
        first, second, distances = self.first[near], self.second[near], distances[near]
        ends, others = np.concatenate([first, second]), np.concatenate([second, first])
        order = np.lexsort((ends ^ others, np.tile(distances, 2), ends))
        ends = ends[order]
        is_best = np.diff(ends, prepend=-1) != 0
        return ends[is_best], others[order][is_best]

    def join(self, names: Ints) -> None:
        first, second = names[self.first], names[self.second]
        low, high = np.minimum(first, second), np.maximum(first, second)
        kept = low < high
        order = np.flatnonzero(kept)[np.lexsort((high[kept], low[kept]))]
        low, high = low[order], high[order]
        starts = np.flatnonzero((np.diff(low, prepend=-1) != 0) | (np.diff(high, prepend=-1) != 0))
        self.first, self.second = low[starts], high[starts]
        combine = np.maximum if self.by_nearest else np.add
        self.sums = combine.reduceat(self.sums[order], starts) if len(starts) else np.empty(0)
        self.sizes = np.bincount(names, weights=self.sizes, minlength=len(names)).astype(np.int64)
        self.apart = self.apart.renamed(names)
