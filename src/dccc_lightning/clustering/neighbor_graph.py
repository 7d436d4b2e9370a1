"""Sparse graph of the distances between points that clustering can use."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from dccc_lightning.common.compiled import compiled


@dataclass(frozen=True, eq=False)
class NeighborGraph:
    """Distances up to ``max_distance`` between N points.

    Attributes:
        distances: (N, N) float32 CSR, symmetric, sorted; zeros and the diagonal are stored, and
            pairs without an entry are farther than ``max_distance``.
        max_distance: Largest stored distance, in (0, 1).

    Raises:
        TypeError: ``distances`` is no CSR matrix.
        ValueError: ``distances`` is not square, or lacks the zero from a point to itself, which
            counts for the density.
    """

    distances: csr_matrix
    max_distance: float

    def __post_init__(self) -> None:
        matrix = self.distances
        if getattr(matrix, "format", None) != "csr":
            raise TypeError(f"distances must be a CSR matrix, got {type(matrix).__name__}")
        if matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"distances must be (N, N), got {matrix.shape}")
        point = _without_itself(matrix.indptr, matrix.indices, matrix.data)
        if point >= 0:
            raise ValueError(
                f"distances must hold a zero from each point to itself, point {point} has none: "
                "distances.setdiag(0) stores them"
            )

    def __len__(self) -> int:
        return int(self.distances.shape[0])

    def up_to(self, distance: float) -> csr_matrix:
        """Return the distances up to ``distance``, zeros stored."""
        pairs = self.distances.tocoo()
        near = pairs.data <= distance
        kept = pairs.data[near], (pairs.row[near], pairs.col[near])
        return csr_matrix(kept, shape=pairs.shape)


@compiled
def _without_itself(
    starts: NDArray[np.int32], columns: NDArray[np.int32], distances: NDArray[np.float32]
) -> int:
    """Return the first point without exactly one stored 0 to itself; -1 if all have it."""
    for i in range(starts.size - 1):
        zeros = 0
        for p in range(starts[i], starts[i + 1]):
            if columns[p] == i:
                zeros += 1 if distances[p] == 0 else 2
        if zeros != 1:
            return i
    return -1
