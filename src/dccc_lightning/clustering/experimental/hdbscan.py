"""HDBSCAN on the sparse distance graph, of any number of connected parts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.clustering.algorithms import check_eps, number_clusters
from dccc_lightning.clustering.experimental.cluster_tree import densest_clusters
from dccc_lightning.clustering.experimental.core_distances import core_distances
from dccc_lightning.clustering.neighbor_graph import NeighborGraph
from dccc_lightning.common import ranges

_APART = 2.0
"""Length for pairs without a stored distance, above every Jaccard distance."""


@dataclass(frozen=True)
class HDBSCAN:
    """HDBSCAN (Campello, Moulavi and Sander, PAKDD 2013) between two distances.

    The distance of two points becomes the maximum of it and of their core distances, to the
    ``min_samples``-th nearest point. Distances above eps are dropped, those below ``closest`` are
    raised to it: the connected parts are the clusters of DBSCAN at eps, border points aside. The
    single-linkage hierarchy of each part is condensed to the splits with ``min_cluster_size``
    points on both sides, and its most persistent clusters (excess of mass) are selected. A whole
    part counts as if born at distance 2, because longer distances are not stored; this favours it.
    So a part stays whole or splits at distances of its own, and eps may be larger than for DBSCAN.

    Density is 1 / distance, unbounded among near duplicates, and would split every identity into
    bursts of one camera. ``closest`` prevents splits below it, which is the purpose of
    ``cluster_selection_epsilon`` (Malzer and Baum, MFI 2020); there splits are undone afterwards.

    Equal distances, which ``closest`` and ``min_samples`` create, are cut at once: a point equally
    near to two clusters that split is an outlier, for any order of the points and any processor.
    scikit-learn assigns it to one of them, depending on its sorting.

    Attributes:
        min_samples: As for DBSCAN, the point itself included.
        min_cluster_size: Least size of a cluster.
        closest: Lower bound of the distances, in (0, 1).

    >>> from dccc_lightning.clustering.jaccard import jaccard_graph
    >>> graph = jaccard_graph(np.repeat(np.eye(3), [4, 4, 1], axis=0), k1=4, k2=1)
    >>> HDBSCAN().fit_predict(graph, eps=0.5).tolist()
    [0, 0, 0, 0, 1, 1, 1, 1, -1]
    """

    min_samples: int = 4
    min_cluster_size: int = 4
    closest: float = 0.2

    def __post_init__(self) -> None:
        ranges.hdbscan(self.min_samples, self.min_cluster_size, self.closest)

    def fit_predict(self, graph: NeighborGraph, eps: float) -> NDArray[np.int64]:
        """Cluster the points of ``graph``, which is not changed.

        Args:
            graph: Distances between N points.
            eps: Longest distance to use, in (0, ``graph.max_distance``].

        Returns:
            (N,) int64, clusters from 0, numbered by their first point, or ``OUTLIER``.

        Raises:
            ValueError: ``eps`` is above ``graph.max_distance``.
        """
        edges = self._edges(graph, check_eps(graph, eps))
        found = densest_clusters(*edges, len(graph), self.min_cluster_size, _APART)
        return number_clusters(found, 1)

    def _edges(
        self, graph: NeighborGraph, eps: np.float32
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
        """Return the pairs within eps and their reachability distances."""
        edges = graph.distances.tocoo()
        cores = core_distances(graph, self.min_samples)
        distances = np.maximum(edges.data, np.maximum(cores[edges.row], cores[edges.col]))
        kept = (edges.row < edges.col) & (distances <= eps)
        lengths = np.maximum(distances[kept], self.closest).astype(np.float64)
        return edges.row[kept], edges.col[kept], lengths
