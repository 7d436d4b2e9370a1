"""Core distances: the distance from each point to its k-th nearest."""

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.clustering.neighbor_graph import NeighborGraph
from dccc_lightning.common import checks


def core_distances(graph: NeighborGraph, k: int) -> NDArray[np.float32]:
    """Return the distance from each point to its ``k``-th nearest, itself being the first.

    DBSCAN with ``min_samples=k`` makes a point a core point from this eps on.

    Returns:
        (N,) float32; infinite where the graph has fewer than ``k`` distances.

    >>> from dccc_lightning.clustering.jaccard import jaccard_graph
    >>> graph = jaccard_graph(np.repeat(np.eye(2), [3, 1], axis=0), k1=3, k2=1)
    >>> core_distances(graph, 2).tolist()
    [0.0, 0.0, 0.0, inf]
    """
    checks.integer("k", k, low=1)
    matrix = graph.distances
    known = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(len(graph)), known)
    nearest = np.lexsort((matrix.data, rows))  # row by row, each from near to far
    has = known >= k
    distances = np.full(len(graph), np.inf, dtype=np.float32)
    distances[has] = matrix.data[nearest[matrix.indptr[:-1][has] + k - 1]]
    return distances
