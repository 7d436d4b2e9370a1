"""The k-reciprocal Jaccard distance as a sparse graph of the distances that clustering can use.

The distance of two points follows from s_ij = sum_c min(V_ic, V_jc) with the sparse rows V of
``reciprocal``. An inverted index (rows by column) finds all j of a row i, so the work is
proportional to the pairs with a common neighbour, and no N x N array is made. ``jaccard_torch``
computes the same on a GPU.
"""

import logging
from collections.abc import Sequence

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from dccc_lightning.clustering import jaccard_torch
from dccc_lightning.clustering.neighbor_graph import NeighborGraph
from dccc_lightning.common import checks, progress
from dccc_lightning.common.compiled import compiled, parallel
from dccc_lightning.errors import UserError
from dccc_lightning.neighbors import reciprocal
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings
from dccc_lightning.neighbors.nearest import Neighbors, knn

_log = logging.getLogger(__name__)

BACKENDS = ("auto", "numba", "torch")
"""Backends of ``jaccard_graph``."""

MAX_ENTRIES = 1 << 28
"""Most stored distances of a graph (2 GiB). Usual graphs have about 20 per point."""

_BLOCK = 4096
"""Rows compared between two checks of the size of the graph."""

_COMPARING = "computing distances"


class DenseGraphError(UserError):
    """Nearly all pairs are within ``max_distance``: the embeddings have collapsed."""


def jaccard_graph(
    features: Features,
    k1: int = 30,
    k2: int = 6,
    max_distance: float = 0.8,
    neighbors: Neighbors | None = None,
    backend: str = "auto",
) -> NeighborGraph:
    """Compute all k-reciprocal Jaccard distances up to ``max_distance``.

    The result is exact and does not depend on the number of threads; the backends agree up to the
    rounding of float32.

    Args:
        features: Embeddings (N, D), NumPy, torch or ``UnitEmbeddings``; normalised inside. Images
            with ``turned`` are ranked aligned and weighted by their rows.
        k1: Size of a neighbourhood, the point itself included; at most N.
        k2: Neighbours averaged in the query expansion, the point included; 1 is no expansion.
        max_distance: Largest distance to store, in (0, 1).
        neighbors: Result of ``knn`` for these features with at least ``k1`` columns, to save a
            second search.
        backend: "numba" (all CPU cores), "torch" (the device of ``features``) or "auto": torch
            for features on a GPU, else numba. A GPU without enough memory logs a warning, and
            numba takes over.

    Raises:
        TypeError: An argument of a wrong type.
        ValueError: An argument outside its range.
        DenseGraphError: More than ``MAX_ENTRIES`` distances to store.

    >>> points = np.repeat(np.eye(3), 4, axis=0)
    >>> graph = jaccard_graph(points, k1=4, k2=1)
    >>> graph.distances.nnz, float(graph.distances.max())
    (48, 0.0)
    """
    k1 = checks.integer("k1", k1, low=1)
    k2 = checks.integer("k2", k2, low=1, high=k1)
    checks.real("max_distance", max_distance, 0, 1, open_low=True, open_high=True)
    checks.choice("backend", backend, BACKENDS)
    unit = UnitEmbeddings.of(features)
    if k1 > len(unit):
        raise ValueError(f"k1 must be at most the number of embeddings, {len(unit)}, got {k1}")
    ranks = _ranks(neighbors, len(unit), k1) if neighbors is not None else knn(unit, k1)[1]
    half, averaged = reciprocal.half_size(k1), ranks[:, :k2] if k2 > 1 else None
    return neighborhood_graph(unit, [ranks[:, :k1]], half, averaged, max_distance, backend)


def neighborhood_graph(
    unit: UnitEmbeddings,
    rankings: Sequence[NDArray[np.int64]],
    half: int,
    averaged: NDArray[np.int64] | None,
    max_distance: float,
    backend: str = "auto",
) -> NeighborGraph:
    """Compute the Jaccard distances of the neighbourhoods that these rankings give.

    Args:
        unit: Embeddings (N, D).
        rankings: As in ``reciprocal.neighborhoods``.
        half: As there.
        averaged: As there.
        max_distance: As in ``jaccard_graph``.
        backend: As there.
    """
    if backend == "torch" or (backend == "auto" and unit.device.type == "cuda"):
        try:
            matrix = _torch_distances(unit, rankings, half, averaged, max_distance)
            return NeighborGraph(matrix, float(max_distance))
        except torch.OutOfMemoryError as error:
            _log.warning("Jaccard graph: %s; numba takes over", str(error).splitlines()[0])
    with progress.announced("finding reciprocal neighbours"):
        starts, columns, values = reciprocal.neighborhoods(unit.rows, rankings, half, averaged)
    matrix = csr_matrix((values, columns, starts), shape=(len(unit), len(unit)))
    return NeighborGraph(_distances(matrix, max_distance), float(max_distance))


def _ranks(neighbors: Neighbors, n: int, k1: int) -> NDArray[np.int64]:
    """Check the caller's neighbours, which the kernels rely on."""
    ranks = np.ascontiguousarray(neighbors[1])
    if ranks.ndim != 2 or len(ranks) != n or ranks.shape[1] < k1 or ranks.dtype.kind not in "iu":
        raise ValueError(
            f"neighbors must be knn's (distances, indices) with indices ({n}, >= {k1}), "
            f"got {ranks.dtype} {ranks.shape}"
        )
    if not np.array_equal(ranks[:, 0], np.arange(n)) or ranks.min() < 0 or ranks.max() >= n:
        raise ValueError("neighbors must hold each point in column 0 and indices below N")
    return ranks.astype(np.int64, copy=False)


def _distances(neighborhoods: csr_matrix, max_distance: float) -> csr_matrix:
    """Compare the rows of V; counting first limits memory to that of the graph."""
    n = neighborhoods.shape[0]
    lanes = numba.get_num_threads()
    inverted = neighborhoods.tocsc()
    operands = (
        neighborhoods.indptr.astype(np.int64),
        neighborhoods.indices,
        neighborhoods.data,
        inverted.indptr.astype(np.int64),
        inverted.indices,
        inverted.data,
        np.float32(max_distance),
    )
    sizes = np.zeros(n + 1, dtype=np.int64)
    nothing = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
    total = 0
    for part in progress.blocks("counting near pairs", n, _BLOCK):
        _compare(lanes, part.start, part.stop, *operands, sizes, *nothing, False)
        total += int(sizes[part.start + 1 : part.stop + 1].sum())
        _refuse_above_cap(total, max_distance)
    starts = np.cumsum(sizes)
    columns, distances = np.empty(total, np.int32), np.empty(total, np.float32)
    for part in progress.blocks(_COMPARING, n, _BLOCK):
        _compare(lanes, part.start, part.stop, *operands, starts, columns, distances, True)
    return csr_matrix((distances, columns, starts.astype(np.int32)), shape=(n, n))


def _torch_distances(
    unit: UnitEmbeddings,
    rankings: Sequence[NDArray[np.int64]],
    half: int,
    averaged: NDArray[np.int64] | None,
    max_distance: float,
) -> csr_matrix:
    """Gather on the host the blocks that are computed on the device of ``unit``."""
    near = [torch.from_numpy(ranking).to(unit.device) for ranking in rankings]
    mean_of = None if averaged is None else torch.from_numpy(averaged).to(unit.device)
    blocks = []
    entries = 0
    with progress.announced(_COMPARING, len(unit)) as phase:
        for block in jaccard_torch.distance_blocks(
            unit.tensor(), near, half, mean_of, max_distance
        ):
            blocks.append(block)
            entries += len(block[1])
            _refuse_above_cap(entries, max_distance)
            phase.advance(len(block[0]))
    sizes, columns, distances = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return csr_matrix((distances, columns, starts), shape=(len(unit), len(unit)))


def _refuse_above_cap(entries: int, max_distance: float) -> None:
    if entries > MAX_ENTRIES:
        raise DenseGraphError(
            f"more than {MAX_ENTRIES:,} pairs of embeddings lie within {max_distance:g} of "
            "each other: they have collapsed; lower the learning rate or max_distance"
        )


@compiled
def _distance(overlap: float) -> np.float32:
    return np.float32(max(0.0, 1.0 - overlap / (2.0 - overlap)))


@parallel
def _compare(
    lanes: int,
    first: int,
    last: int,
    row_starts: NDArray[np.int64],
    row_columns: NDArray[np.int32],
    row_values: NDArray[np.float32],
    column_starts: NDArray[np.int64],
    column_rows: NDArray[np.int32],
    column_values: NDArray[np.float32],
    max_distance: np.float32,
    starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    distances: NDArray[np.float32],
    fill: bool,
) -> None:
    """Count the distances of rows first to last into ``starts[1:]``, or write them (``fill``).

    Each of ``lanes`` threads has one dense accumulator and every lanes-th row, which spreads hubs
    among them. s_ij and s_ji add the same terms in the same order of c, so the result is symmetric
    bit by bit.
    """
    n = row_starts.size - 1
    for lane in numba.prange(lanes):
        overlaps = np.zeros(n)
        touched = np.empty(n, dtype=np.int32)
        for i in range(first + lane, last, lanes):
            size = 0
            for p in range(row_starts[i], row_starts[i + 1]):
                column, own = row_columns[p], row_values[p]
                for q in range(column_starts[column], column_starts[column + 1]):
                    j = column_rows[q]
                    if overlaps[j] == 0.0:
                        touched[size] = j
                        size += 1
                    overlaps[j] += min(own, column_values[q])
            near = 0
            for t in range(size):
                j = touched[t]
                distance = _distance(overlaps[j]) if j != i else np.float32(0.0)
                if distance <= max_distance:
                    touched[near] = j
                    near += 1
                else:
                    overlaps[j] = 0.0
            row = touched[:near]
            if fill:
                row.sort()
                for c in range(near):
                    columns[starts[i] + c] = row[c]
                    distances[starts[i] + c] = _distance(overlaps[row[c]]) if row[c] != i else 0.0
            else:
                starts[i + 1] = near
            for j in row:
                overlaps[j] = 0.0
