"""The nearest and the farthest of every embedding, from one product for each two of them.

Distances are symmetric, so only blocks on and above the diagonal of the matrix of all products are
computed. Each is held against the rows' and against the columns' nearest so far; groups of 64
products that hold none nearer are skipped.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common import progress
from dccc_lightning.common.compiled import compiled, parallel

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

WIDEST = 256
"""Most neighbours for which lists kept in order are fast."""

_BLOCK = 1024
_GROUP = 64


class Pairs(NamedTuple):
    """Neighbours by squared distances of a float32 matrix product, whose errors they carry.

    Attributes:
        squares: (N, k), ascending.
        indices: (N, k).
        farthest: (N,) the point farthest away; None where it was not asked for.
    """

    squares: Floats
    indices: Ints
    farthest: Ints | None


def compare(rows: Floats, k: int, farthest: bool = False) -> Pairs:
    """Compare each two rows once.

    The answer does not depend on the number of threads, apart from the rounding of products.

    Args:
        rows: (N, D) float32.
        k: Neighbours per row, itself included; at most ``WIDEST`` and N.
        farthest: Find the farthest of each as well.
    """
    n = len(rows)
    halves = (np.einsum("nd,nd->n", rows, rows, dtype=np.float64) / 2).astype(np.float32)
    scores = np.full((n, k), -np.inf, dtype=np.float32)  # minus half the squared distance
    indices = np.full((n, k), -1, dtype=np.int32)
    lowest = np.full(n if farthest else 0, np.inf, dtype=np.float32)
    far = np.zeros(len(lowest), dtype=np.int64)
    products = np.empty(_BLOCK * _BLOCK, dtype=np.float32)
    for part in progress.blocks("finding neighbours", n, _BLOCK):
        for first in range(part.start, n, _BLOCK):
            others = slice(first, min(n, first + _BLOCK))
            shape = part.stop - part.start, others.stop - first
            block = products[: shape[0] * shape[1]].reshape(shape)
            np.matmul(rows[part], rows[others].T, out=block)
            _subtract(block, halves[part], halves[others])
            _push_rows(block, part.start, first, scores, indices, lowest, far)
            if first > part.start:
                _push_columns(block, part.start, first, scores, indices, lowest, far)
    return Pairs(-2 * scores, indices.astype(np.int64), far if farthest else None)


@parallel
def _subtract(block: Floats, own: Floats, others: Floats) -> None:
    for i in numba.prange(block.shape[0]):
        for j in range(block.shape[1]):
            block[i, j] = block[i, j] - own[i] - others[j]


@compiled
def _insert(scores: Floats, indices: NDArray[np.int32], score: float, index: int) -> None:
    """Put a score higher than the last into a descending list; the last falls out."""
    place = scores.size - 1
    while place > 0 and scores[place - 1] < score:
        scores[place], indices[place] = scores[place - 1], indices[place - 1]
        place -= 1
    scores[place], indices[place] = score, index


@parallel
def _push_rows(
    block: Floats,
    first: int,
    shift: int,
    scores: Floats,
    indices: NDArray[np.int32],
    lowest: Floats,
    far: Ints,
) -> None:
    """Put the columns, from ``shift`` on, into the lists of the rows, from ``first`` on."""
    size = block.shape[1]
    last = scores.shape[1] - 1
    for i in numba.prange(block.shape[0]):
        row, own = block[i], first + i
        least = scores[own, last]
        for start in range(0, size, _GROUP):
            group = row[start : start + _GROUP]
            hits = 0
            for j in range(group.size):
                hits += group[j] > least
            if hits:
                for j in range(group.size):
                    if group[j] > least:
                        _insert(scores[own], indices[own], group[j], shift + start + j)
                        least = scores[own, last]
        if lowest.size:
            low = row.min()
            if low < lowest[own]:
                lowest[own], far[own] = low, shift + row.argmin()


@parallel
def _push_columns(
    block: Floats,
    shift: int,
    first: int,
    scores: Floats,
    indices: NDArray[np.int32],
    lowest: Floats,
    far: Ints,
) -> None:
    """Put the rows, from ``shift`` on, into the lists of the columns, from ``first`` on."""
    last = scores.shape[1] - 1
    for number in numba.prange(-(-block.shape[1] // _GROUP)):
        start = number * _GROUP
        stop = min(block.shape[1], start + _GROUP)
        least = scores[first + start : first + stop, last].copy()
        below = np.full(stop - start, -np.inf, dtype=np.float32)
        if lowest.size:
            below[:] = lowest[first + start : first + stop]
        for i in range(block.shape[0]):
            group = block[i, start:stop]
            hits = 0
            for j in range(group.size):
                hits += group[j] > least[j]
            if lowest.size:
                for j in range(group.size):
                    hits += group[j] < below[j]
            if hits:
                for j in range(group.size):
                    own = first + start + j
                    if group[j] > least[j]:
                        _insert(scores[own], indices[own], group[j], shift + i)
                        least[j] = scores[own, last]
                    if group[j] < below[j]:
                        below[j] = lowest[own] = group[j]
                        far[own] = shift + i
