"""k-reciprocal neighbourhoods as sparse rows: the vectors V of the Jaccard distance.

Source: k-reciprocal encoding (Zhong et al., CVPR 2017). A ranking is an (N, k) array of the nearest
neighbours of each point, nearest first. A sparse matrix is (starts, columns, values) as in CSR,
columns ascending.
"""

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common.compiled import compiled, parallel, reduction

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Sparse = tuple[Ints, NDArray[np.int32], Floats]


def half_size(k1: int) -> int:
    """Return the size of the neighbourhoods that expand one of ``k1``, half to even as published.

    >>> half_size(30), half_size(19)
    (16, 11)
    """
    return round(k1 / 2) + 1


def neighborhoods(
    features: Floats,
    rankings: Sequence[Ints],
    half: int,
    averaged: Ints | None = None,
    scales: Floats | None = None,
    halves: Floats | None = None,
) -> Sparse:
    """Return V (N, N) as sparse rows that sum to 1.

    The row of a point is the softmax of -(2 - 2 cos) over its expanded k-reciprocal neighbours,
    then the mean of the rows of its ``averaged`` neighbours (query expansion).

    Args:
        features: Embeddings (N, D) float32 of length 1, or the same relative to another origin.
        rankings: One or more (N, k) rankings of neighbours, the point itself in at least one. A
            point's reciprocal neighbours are the union of those within each ranking.
        half: Size of the neighbourhoods, in the first ranking, that expand another; 0 expands none.
        averaged: (N, k2) neighbours averaged; None is no expansion.
        scales: (N,) float32 above 0, divisors of the squared distances of each point before the
            softmax; 1 by default.
        halves: (N,) float32, half the squared lengths of ``features``; 0.5 by default.
    """
    n = len(features)
    scales = np.ones(n, dtype=np.float32) if scales is None else scales
    halves = np.full(n, 0.5, dtype=np.float32) if halves is None else halves
    rankings = [np.ascontiguousarray(ranking) for ranking in rankings]
    ranks = np.concatenate(rankings, axis=1)
    mutual = np.concatenate([_mutual(ranking, ranking.shape[1]) for ranking in rankings], axis=1)
    mutual_half = _mutual(rankings[0], half)
    sizes = np.zeros(n + 1, dtype=np.int64)
    nothing = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
    given = features, scales, halves, ranks, mutual, mutual_half
    _expand(*given, sizes, *nothing, False)
    starts = np.cumsum(sizes)
    columns, values = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.float32)
    _expand(*given, starts, columns, values, True)
    if averaged is None:
        return starts, columns, values
    sizes[:] = 0
    rows = numba.get_num_threads(), np.ascontiguousarray(averaged), starts, columns, values
    _average(*rows, sizes, *nothing, False)
    mean_starts = np.cumsum(sizes)
    mean_columns = np.empty(mean_starts[-1], np.int32)
    mean_values = np.empty(mean_starts[-1], np.float32)
    _average(*rows, mean_starts, mean_columns, mean_values, True)
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
    averaged: Ints,
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
    n, k2 = averaged.shape
    for lane in numba.prange(lanes):
        sums = np.zeros(n)
        touched = np.empty(n, dtype=np.int32)
        for i in range(lane, n, lanes):
            size = 0
            for neighbor in averaged[i]:
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
