"""k-reciprocal neighbourhoods as sparse rows: the vectors V of the Jaccard distance.

Source: k-reciprocal encoding (Zhong et al., CVPR 2017). All kernels take ``ranks`` (N, >= k1), the
nearest neighbours of each point with itself in column 0. A sparse matrix is (starts, columns,
values) as in CSR, columns ascending.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common.compiled import compiled, parallel, reduction

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Sparse = tuple[Ints, NDArray[np.int32], Floats]


def neighborhoods(
    features: Floats,
    ranks: Ints,
    k1: int,
    k2: int,
    half: int | None = None,
    scales: Floats | None = None,
    halves: Floats | None = None,
) -> Sparse:
    """Return V (N, N) as sparse rows that sum to 1.

    The row of a point is the softmax of -(2 - 2 cos) over its expanded k-reciprocal neighbours;
    when ``k2`` > 1, the mean of the rows of its ``k2`` nearest neighbours (query expansion).

    Args:
        features: Embeddings (N, D) float32 of length 1, or the same relative to another origin.
        ranks: (N, >= k1) neighbours, the point itself first.
        k1: Size of a neighbourhood, the point included.
        k2: Neighbours averaged, the point included; at most ``k1``.
        half: Size of the neighbourhoods that expand another; k1 / 2 + 1 by default.
        scales: (N,) float32 above 0, divisors of the squared distances of each point before the
            softmax; 1 by default.
        halves: (N,) float32, half the squared lengths of ``features``; 0.5 by default.
    """
    half = round(k1 / 2) + 1 if half is None else half  # half to even, as in the paper's code
    scales = np.ones(len(ranks), dtype=np.float32) if scales is None else scales
    halves = np.full(len(ranks), 0.5, dtype=np.float32) if halves is None else halves
    mutual = _mutual(ranks, k1)
    mutual_half = mutual if half == k1 else _mutual(ranks, half)
    sizes = np.zeros(len(ranks) + 1, dtype=np.int64)
    nothing = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
    given = features, scales, halves, ranks, mutual, mutual_half
    _expand(*given, sizes, *nothing, False)
    starts = np.cumsum(sizes)
    columns, values = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.float32)
    _expand(*given, starts, columns, values, True)
    if k2 == 1:
        return starts, columns, values
    sizes[:] = 0
    lanes = numba.get_num_threads()
    _average(lanes, ranks, k2, starts, columns, values, sizes, *nothing, False)
    mean_starts = np.cumsum(sizes)
    mean_columns = np.empty(mean_starts[-1], np.int32)
    mean_values = np.empty(mean_starts[-1], np.float32)
    _average(
        lanes, ranks, k2, starts, columns, values, mean_starts, mean_columns, mean_values, True
    )
    return mean_starts, mean_columns, mean_values


@parallel
def _mutual(ranks: Ints, k: int) -> NDArray[np.bool_]:
    """Return (N, k), True where the point is among the first ``k`` of that neighbour."""
    n = ranks.shape[0]
    mutual = np.zeros((n, k), dtype=np.bool_)
    for i in numba.prange(n):
        for a in range(k):
            neighbor = ranks[i, a]
            for b in range(k):
                if ranks[neighbor, b] == i:
                    mutual[i, a] = True
                    break
    return mutual


@compiled
def _expanded(
    i: int, ranks: Ints, mutual: NDArray[np.bool_], mutual_half: NDArray[np.bool_]
) -> Ints:
    """Return the expanded reciprocal set of point ``i``, ascending."""
    k1, half = mutual.shape[1], mutual_half.shape[1]
    own = ranks[i, :k1][mutual[i]]
    buffer = np.empty(own.size * (half + 1), dtype=np.int64)
    buffer[: own.size] = own
    size = own.size
    for j in own:
        theirs = ranks[j, :half][mutual_half[j]]
        shared = 0
        for candidate in theirs:
            for member in own:
                if candidate == member:
                    shared += 1
                    break
        if 3 * shared > 2 * theirs.size:  # more than two thirds, without rounding
            buffer[size : size + theirs.size] = theirs
            size += theirs.size
    found = buffer[:size]
    found.sort()
    distinct = 1
    for c in range(1, size):
        if found[c] != found[distinct - 1]:
            found[distinct] = found[c]
            distinct += 1
    return found[:distinct]


@reduction
def _dot(features: Floats, i: int, j: int) -> float:
    total = 0.0
    for d in range(features.shape[1]):
        total += np.float64(features[i, d]) * np.float64(features[j, d])
    return total


@parallel
def _expand(
    features: Floats,
    scales: Floats,
    halves: Floats,
    ranks: Ints,
    mutual: NDArray[np.bool_],
    mutual_half: NDArray[np.bool_],
    starts: Ints,
    columns: NDArray[np.int32],
    values: Floats,
    fill: bool,
) -> None:
    """Count the entries of each row of V into ``starts[1:]``, or write them (``fill``)."""
    for i in numba.prange(ranks.shape[0]):
        members = _expanded(i, ranks, mutual, mutual_half)
        if not fill:
            starts[i + 1] = members.size
            continue
        weights = np.empty(members.size)
        for c in range(members.size):
            squares = 2.0 * (halves[i] + halves[members[c]])
            weights[c] = np.exp((2.0 * _dot(features, i, members[c]) - squares) / scales[i])
        total = weights.sum()
        for c in range(members.size):
            columns[starts[i] + c] = members[c]
            values[starts[i] + c] = weights[c] / total


@parallel
def _average(
    lanes: int,
    ranks: Ints,
    k2: int,
    starts: Ints,
    columns: NDArray[np.int32],
    values: Floats,
    mean_starts: Ints,
    mean_columns: NDArray[np.int32],
    mean_values: Floats,
    fill: bool,
) -> None:
    """Average rows of V: count the entries into ``mean_starts[1:]``, or write them (``fill``).

    Each of ``lanes`` threads has one dense accumulator and every lanes-th row.
    """
    n = ranks.shape[0]
    for lane in numba.prange(lanes):
        sums = np.zeros(n)
        touched = np.empty(n, dtype=np.int32)
        for i in range(lane, n, lanes):
            size = 0
            for neighbor in ranks[i, :k2]:
                for p in range(starts[neighbor], starts[neighbor + 1]):
                    column = columns[p]
                    if sums[column] == 0.0:
                        touched[size] = column
                        size += 1
                    sums[column] += values[p]
            row = touched[:size]
            if fill:
                row.sort()
                for c in range(size):
                    mean_columns[mean_starts[i] + c] = row[c]
                    mean_values[mean_starts[i] + c] = sums[row[c]] / k2
            else:
                mean_starts[i + 1] = size
            for column in row:
                sums[column] = 0.0
