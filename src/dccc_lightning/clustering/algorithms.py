"""Clustering algorithms on a sparse distance graph."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.clustering.neighbor_graph import NeighborGraph
from dccc_lightning.common import checks, ranges
from dccc_lightning.common.compiled import compiled

OUTLIER = -1
"""Label of a point in no cluster."""


class ClusteringAlgorithm(Protocol):
    """Protocol of the clustering algorithms."""

    def fit_predict(self, graph: NeighborGraph, eps: float) -> NDArray[np.int64]:
        """Return the labels of the N points: clusters from 0, or ``OUTLIER``."""
        ...


@dataclass(frozen=True)
class DBSCAN:
    """DBSCAN (Ester et al., KDD 1996) on precomputed distances.

    A point with at least ``min_samples`` points within eps, itself included, is a core point; cores
    within eps of each other share a cluster. Clusters are numbered by their first core point, and a
    border point goes to the lowest numbered cluster it touches: the labels are those of
    scikit-learn's DBSCAN(metric="precomputed").

    Attributes:
        min_samples: Least number of points within eps of a core point, itself included.

    >>> from dccc_lightning.clustering.jaccard import jaccard_graph
    >>> graph = jaccard_graph(np.repeat(np.eye(3), [4, 4, 1], axis=0), k1=4, k2=1)
    >>> DBSCAN(min_samples=4).fit_predict(graph, eps=0.5).tolist()
    [0, 0, 0, 0, 1, 1, 1, 1, -1]
    """

    min_samples: int = 4

    def __post_init__(self) -> None:
        ranges.cluster_size(self.min_samples)

    def fit_predict(self, graph: NeighborGraph, eps: float) -> NDArray[np.int64]:
        """Cluster the points of ``graph``, which is not changed.

        Args:
            graph: Distances between N points.
            eps: Largest distance between neighbours, in (0, ``graph.max_distance``]; compared in
                float32, as the distances.

        Returns:
            (N,) int64, clusters from 0, or ``OUTLIER``.

        Raises:
            ValueError: ``eps`` is above ``graph.max_distance``.
        """
        limit, matrix = check_eps(graph, eps), graph.distances
        return _dbscan(matrix.indptr, matrix.indices, matrix.data, limit, self.min_samples)


def check_eps(graph: NeighborGraph, eps: float) -> np.float32:
    """Return ``eps`` in float32, the type of the distances.

    Raises:
        ValueError: ``eps`` is not in (0, ``graph.max_distance``].
    """
    checks.real("eps", eps, 0, open_low=True)
    if eps > graph.max_distance:
        raise ValueError(
            f"eps must be at most the graph's max_distance, {graph.max_distance}, got {eps}"
        )
    return np.float32(eps)


def number_clusters(groups: NDArray[np.integer[Any]], min_samples: int) -> NDArray[np.int64]:
    """Return labels with clusters numbered by their first point.

    Args:
        groups: (N,) integers, negative for points in no group.
        min_samples: Least size of a cluster; points of smaller groups become outliers.

    >>> number_clusters(np.array([9, 2, 9, 5, -1, 2]), min_samples=2).tolist()
    [0, 1, 0, -1, -1, 1]
    """
    _, first, place, counts = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    kept = (groups[first] >= 0) & (counts >= min_samples)
    labels = np.full(len(first), OUTLIER, dtype=np.int64)
    labels[kept] = np.argsort(np.argsort(first[kept]))
    return labels[place]


@compiled
def _dbscan(
    starts: NDArray[np.int32],
    columns: NDArray[np.int32],
    distances: NDArray[np.float32],
    eps: np.float32,
    min_samples: int,
) -> NDArray[np.int64]:
    n = starts.size - 1
    core = np.empty(n, dtype=np.bool_)
    for i in range(n):
        core[i] = np.sum(distances[starts[i] : starts[i + 1]] <= eps) >= min_samples
    labels = np.full(n, OUTLIER, dtype=np.int64)
    stack = np.empty(n, dtype=np.int64)  # each point enters at most once, when it is labelled
    cluster = 0
    for seed in range(n):
        if not core[seed] or labels[seed] != OUTLIER:
            continue
        labels[seed] = cluster
        stack[0] = seed
        size = 1
        while size > 0:
            size -= 1
            i = stack[size]
            for p in range(starts[i], starts[i + 1]):
                j = columns[p]
                if distances[p] <= eps and labels[j] == OUTLIER:
                    labels[j] = cluster
                    if core[j]:
                        stack[size] = j
                        size += 1
        cluster += 1
    return labels
