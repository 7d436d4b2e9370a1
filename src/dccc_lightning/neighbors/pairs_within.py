"""Find the pairs of embeddings within a distance; each two are multiplied once."""

import numba
import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common.compiled import parallel
from dccc_lightning.neighbors.pairwise import half_squares, paired_products, parts_of

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_GROUP = 64
"""Products that are skipped together if none is near."""


def within(rows: Floats, bounds: Floats, most: int) -> tuple[Floats, NDArray[np.int32]]:
    """Find the rows within a squared distance of each row, in ascending order of their index.

    Args:
        rows: (N, D) float32.
        bounds: (N,) squared distance of each row.
        most: Rows to find for each; beyond that, those of higher index are left out.

    Returns:
        Squared distances and indices (N, ``most``), infinity and -1 where there are fewer.
    """
    squares = np.full((len(rows), most), np.inf, dtype=np.float32)
    indices = np.full((len(rows), most), -1, dtype=np.int32)
    counts, halves = np.zeros(len(rows), dtype=np.int64), half_squares(rows)
    least: Floats = (-bounds / 2).astype(np.float32)
    for block, first, shift in paired_products(rows, parts_of(0, len(rows))):
        _collect_rows(block, halves, first, shift, least, squares, indices, counts)
        if shift != first:
            _collect_columns(block, first, shift, least, squares, indices, counts)
    return squares, indices


@parallel
def _collect_rows(
    block: Floats,
    halves: Floats,
    first: int,
    shift: int,
    least: Floats,
    squares: Floats,
    indices: NDArray[np.int32],
    counts: Ints,
) -> None:
    """Turn products into scores, and add the columns that are near enough to the rows."""
    most = squares.shape[1]
    for i in numba.prange(block.shape[0]):
        row, own = block[i], first + i
        for j in range(row.size):
            row[j] = row[j] - halves[own] - halves[shift + j]
        bound, count = least[own], counts[own]
        for start in range(0, row.size, _GROUP):
            group = row[start : start + _GROUP]
            hits = 0
            for j in range(group.size):
                hits += group[j] >= bound
            if hits:
                for j in range(group.size):
                    if group[j] >= bound and count < most:
                        squares[own, count] = -2 * group[j]
                        indices[own, count] = shift + start + j
                        count += 1
        counts[own] = count


@parallel
def _collect_columns(
    block: Floats,
    shift: int,
    first: int,
    least: Floats,
    squares: Floats,
    indices: NDArray[np.int32],
    counts: Ints,
) -> None:
    """Add the rows, from ``shift`` on, that are near enough to the columns, from ``first`` on."""
    most = squares.shape[1]
    for number in numba.prange(-(-block.shape[1] // _GROUP)):
        start = number * _GROUP
        stop = min(block.shape[1], start + _GROUP)
        bounds = least[first + start : first + stop]
        for i in range(block.shape[0]):
            group = block[i, start:stop]
            hits = 0
            for j in range(group.size):
                hits += group[j] >= bounds[j]
            if hits:
                for j in range(group.size):
                    own = first + start + j
                    if group[j] >= bounds[j] and counts[own] < most:
                        squares[own, counts[own]] = -2 * group[j]
                        indices[own, counts[own]] = shift + i
                        counts[own] += 1
