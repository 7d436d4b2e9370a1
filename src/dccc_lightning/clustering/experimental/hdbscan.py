"""HDBSCAN on the sparse distance graph, which may fall into any number of parts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.clustering.algorithms import checked_eps, numbered
from dccc_lightning.clustering.experimental.cluster_tree import densest_clusters
from dccc_lightning.clustering.experimental.core_distances import core_distances
from dccc_lightning.clustering.jaccard import NeighborGraph
from dccc_lightning.common import ranges

_APART = 2.0
"""Stands for what the graph does not know: beyond every Jaccard distance."""


@dataclass(frozen=True)
class HDBSCAN:
    """HDBSCAN (Campello, Moulavi and Sander, PAKDD 2013) between two distances.

    The distance of two points becomes the largest of their own and of how far the
    ``min_samples``-th nearest point of either is. Those within eps are kept, and shorter ones than
    ``closest`` count as that: their connected parts are the clusters of DBSCAN at eps, border
    points aside. The hierarchy of single linkage within each part is condensed to the splits in
    which both sides have ``min_cluster_size`` points, and the clusters of it that last longest
    (excess of mass) are taken; a part itself counts as if it had lasted from distance 2 on, for
    what joined it is not known, which favours it. So a part stays whole or falls into denser ones,
    each at a distance of its own, and eps may be larger than DBSCAN can bear.

    Density is 1 / distance, without limit among near duplicates, and would split every identity
    into bursts of one camera. ``closest`` ends that: nothing is split within it, which is the aim
    of the ``cluster_selection_epsilon`` of Malzer and Baum (MFI 2020), who decide first and undo
    closer splits afterwards.

    Equal distances, and ``closest`` and ``min_samples`` make some, are cut at once: a point that is
    as near to two clusters that split is an outlier, whatever the order of the points and whatever
    the processor. scikit-learn gives it to one of them, by the order that sorting happens to leave.

    Attributes:
        min_samples: as in DBSCAN, the point itself included.
        min_cluster_size: points that make a cluster.
        closest: shorter distances count as this; in (0, 1).

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
            graph: distances between N points.
            eps: the longest distance that is looked at; in (0, ``graph.max_distance``].

        Returns:
            (N,) int64, clusters from 0, ``OUTLIER`` for none; numbered by their first point.

        Raises:
            ValueError: ``eps`` is beyond what the graph knows.
        """
        edges = self._edges(graph, checked_eps(graph, eps))
        found = densest_clusters(*edges, len(graph), self.min_cluster_size, _APART)
        return numbered(found, 1)

    def _edges(
        self, graph: NeighborGraph, eps: np.float32
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
        """Return the pairs within eps and their reachability, none below ``closest``."""
        edges = graph.distances.tocoo()
        cores = core_distances(graph, self.min_samples)
        distances = np.maximum(edges.data, np.maximum(cores[edges.row], cores[edges.col]))
        kept = (edges.row < edges.col) & (distances <= eps)
        lengths = np.maximum(distances[kept], self.closest).astype(np.float64)
        return edges.row[kept], edges.col[kept], lengths
