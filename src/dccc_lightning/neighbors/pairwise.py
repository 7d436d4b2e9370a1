"""The nearest and the farthest of every embedding, from one product for each two of them.

Distances are symmetric, so only blocks on and above the diagonal of the matrix of all products are
computed. Each is held against the rows' and against the columns' nearest so far; groups of 64
products that hold none nearer are skipped.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple, Self

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


class _Lists(NamedTuple):
    """The nearest of each row so far, and the farthest where it is asked for.

    Attributes:
        scores: (N, k) minus half the squared distances, descending.
        indices: (N, k), -1 where there is none yet.
        lowest: (N,) the lowest score, or empty.
        far: (N,) its index, or empty.
    """

    scores: Floats
    indices: NDArray[np.int32]
    lowest: Floats
    far: Ints

    @classmethod
    def empty(cls, n: int, k: int, farthest: bool = False) -> Self:
        lowest = np.full(n if farthest else 0, np.inf, dtype=np.float32)
        indices = np.full((n, k), -1, dtype=np.int32)
        scores = np.full((n, k), -np.inf, dtype=np.float32)
        return cls(scores, indices, lowest, np.zeros(len(lowest), dtype=np.int64))

    def push(self, block: Floats, halves: Floats, first: int, shift: int) -> None:
        """Take products of the rows from ``first`` on with the rows from ``shift`` on.

        Args:
            block: (B, M) products, replaced by scores.
            halves: (N,) half the squared length of each row.
            first: First row of the block.
            shift: First column.
        """
        _push_rows(block, halves, first, shift, *self)
        if shift != first:
            _push_columns(block, first, shift, *self)

    def pairs(self) -> Pairs:
        far = self.far if self.far.size else None
        return Pairs(-2 * self.scores, self.indices.astype(np.int64), far)


def compare(rows: Floats, k: int, farthest: bool = False) -> Pairs:
    """Compare each two rows once.

    The answer does not depend on the number of threads, apart from the rounding of products.

    Args:
        rows: (N, D) float32.
        k: Neighbours per row, itself included; at most ``WIDEST`` and N.
        farthest: Find the farthest of each as well.
    """
    lists = _Lists.empty(len(rows), k, farthest)
    halves = half_squares(rows)
    for block, first, shift in paired_products(rows, parts_of(0, len(rows))):
        lists.push(block, halves, first, shift)
    return lists.pairs()


def compare_cameras(rows: Floats, starts: Ints, within: int, across: int) -> tuple[Pairs, Pairs]:
    """Compare each two rows once, and keep the neighbours within and across cameras apart.

    Args:
        rows: (N, D) float32, sorted by camera.
        starts: (C + 1,): camera c has the rows ``starts[c]`` to ``starts[c + 1]``.
        within: Neighbours of the own camera per row, itself included; at most ``WIDEST``.
        across: Neighbours of other cameras per row; at most ``WIDEST``.

    Returns:
        Both; where there are fewer neighbours, squares are infinite and indices -1.
    """
    own, others = _Lists.empty(len(rows), within), _Lists.empty(len(rows), across)
    cuts = [part for ends in itertools.pairwise(starts.tolist()) for part in parts_of(*ends)]
    halves = half_squares(rows)
    for block, first, shift in paired_products(rows, cuts):
        camera = np.searchsorted(starts, [first, shift], side="right")
        (own if camera[0] == camera[1] else others).push(block, halves, first, shift)
    return own.pairs(), others.pairs()


def parts_of(start: int, stop: int) -> list[slice]:
    """Cut the rows from ``start`` to ``stop`` into blocks."""
    return [slice(first, min(stop, first + _BLOCK)) for first in range(start, stop, _BLOCK)]


def half_squares(rows: Floats) -> Floats:
    """Return half the squared length of each row."""
    halves: Floats = (np.einsum("nd,nd->n", rows, rows, dtype=np.float64) / 2).astype(np.float32)
    return halves


def paired_products(rows: Floats, parts: list[slice]) -> Iterator[tuple[Floats, int, int]]:
    """Yield the products of each two parts, and their first rows; the array is used again."""
    products = np.empty(_BLOCK * _BLOCK, dtype=np.float32)
    with progress.announced("finding neighbours", len(rows)) as phase:
        for at, part in enumerate(parts):
            for others in parts[at:]:
                shape = part.stop - part.start, others.stop - others.start
                block = products[: shape[0] * shape[1]].reshape(shape)
                np.matmul(rows[part], rows[others].T, out=block)
                yield block, part.start, others.start
            phase.advance(part.stop - part.start)


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
    halves: Floats,
    first: int,
    shift: int,
    scores: Floats,
    indices: NDArray[np.int32],
    lowest: Floats,
    far: Ints,
) -> None:
    """Turn products into scores, and put the columns into the lists of the rows."""
    size = block.shape[1]
    last = scores.shape[1] - 1
    for i in numba.prange(block.shape[0]):
        row, own = block[i], first + i
        half, least = halves[own], scores[own, last]
        below = lowest[own] if lowest.size else np.float32(-np.inf)
        for start in range(0, size, _GROUP):
            group = row[start : start + _GROUP]
            others = halves[shift + start : shift + start + group.size]
            hits = 0
            for j in range(group.size):
                score = group[j] - half - others[j]
                group[j] = score
                hits += (score > least) | (score < below)
            if hits:
                for j in range(group.size):
                    if group[j] > least:
                        _insert(scores[own], indices[own], group[j], shift + start + j)
                        least = scores[own, last]
                    if group[j] < below:
                        below = lowest[own] = group[j]
                        far[own] = shift + start + j


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
    """Put the rows of scores, from ``shift`` on, into the lists of the columns."""
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
