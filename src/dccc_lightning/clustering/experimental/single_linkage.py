"""Single linkage: connected components of the distances within eps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from dccc_lightning.clustering.algorithms import check_eps, number_clusters
from dccc_lightning.clustering.neighbor_graph import NeighborGraph
from dccc_lightning.common import ranges


@dataclass(frozen=True)
class SingleLinkage:
    """Minimum spanning forest of the graph, cut at eps.

    Two points are in one cluster if a chain of distances within eps joins them. These are the
    connected components of the short edges, so no forest is built (Gower and Ross, 1969). Unlike
    DBSCAN there is no condition on density: a thin bridge of points joins two clusters.

    Attributes:
        min_samples: Least size of a cluster; points of smaller ones become outliers. Clusters are
            numbered by their first point.

    >>> from dccc_lightning.clustering.jaccard import jaccard_graph
    >>> graph = jaccard_graph(np.repeat(np.eye(3), [4, 3, 1], axis=0), k1=4, k2=1)
    >>> SingleLinkage(min_samples=3).fit_predict(graph, eps=0.5).tolist()
    [0, 0, 0, 0, 1, 1, 1, -1]
    """

    min_samples: int = 4

    def __post_init__(self) -> None:
        ranges.cluster_size(self.min_samples)

    def fit_predict(self, graph: NeighborGraph, eps: float) -> NDArray[np.int64]:
        """Cluster the points of ``graph``, which is not changed.

        Args:
            graph: Distances between N points.
            eps: Longest edge, in (0, ``graph.max_distance``].

        Returns:
            (N,) int64, clusters from 0, or ``OUTLIER``.

        Raises:
            ValueError: ``eps`` is above ``graph.max_distance``.
        """
        matrix = graph.distances
        near = matrix.data <= check_eps(graph, eps)
        starts = np.concatenate([[0], np.cumsum(near)])[matrix.indptr]
        # Ones, not distances: a distance of 0 would be no edge.
        edges = csr_matrix((np.ones(near.sum()), matrix.indices[near], starts), matrix.shape)
        return number_clusters(connected_components(edges, directed=False)[1], self.min_samples)
