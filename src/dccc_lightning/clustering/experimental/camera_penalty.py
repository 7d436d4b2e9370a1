"""Add a penalty to the distances between images of one camera."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix

from dccc_lightning.clustering.neighbor_graph import NeighborGraph
from dccc_lightning.common import checks
from dccc_lightning.neighbors.camera_normalization import check_cameras


def penalize(graph: NeighborGraph, cameras: ArrayLike | None, penalty: float) -> NeighborGraph:
    """Add ``penalty`` to the distances between two images of one camera.

    No distance decreases, so the graph stays complete up to its ``max_distance``. The diagonal and
    images of unknown cameras (-1) get no penalty.

    Args:
        graph: Distances between N images.
        cameras: (N,) integers, -1 where unknown.
        penalty: Jaccard distance, at least 0.

    Raises:
        ValueError: Shapes do not fit, no camera is known, or ``penalty`` is negative.
    """
    checks.real("penalty", penalty, 0)
    known = check_cameras(cameras, len(graph))
    matrix = graph.distances
    rows = np.repeat(np.arange(len(graph)), np.diff(matrix.indptr))
    same = (known[rows] == known[matrix.indices]) & (known[rows] >= 0) & (rows != matrix.indices)
    distances = np.where(same, matrix.data + np.float32(penalty), matrix.data)
    kept = distances <= np.float32(graph.max_distance)
    ends = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr].astype(np.int32)
    return NeighborGraph(
        csr_matrix((distances[kept], matrix.indices[kept], ends), shape=matrix.shape),
        graph.max_distance,
    )
