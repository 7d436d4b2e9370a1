"""Lists of the nearest so far, and their extension by blocks of points and by their neighbours."""

import numba
import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common import progress
from dccc_lightning.common.compiled import compiled, parallel, reduction

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Indices = NDArray[np.int32]

_QUERIES = 4096
_GROUP = 64

_FANOUT = 24
"""Nearest of a point, and of each of these, that ``NearLists.join`` looks at."""

_BUCKETS = 2048
"""Places of the table of points seen, a power of two and several times ``_FANOUT`` squared."""


class NearLists:
    """The ``k`` nearest so far of each point, nearest first.

    Args:
        points: (N, D).
        k: Length of a list.

    Attributes:
        scores: (N, k) minus half the squared distance, minus infinity where there is none.
        indices: (N, k), -1 where there is none.
    """

    def __init__(self, points: Floats, k: int) -> None:
        self.points, self.halves = points, half_squares(points)
        self.scores = np.full((len(points), k), -np.inf, dtype=np.float32)
        self.indices: Indices = np.full((len(points), k), -1, dtype=np.int32)
        self._joined: Indices = np.empty((len(points), 0), dtype=np.int32)

    def compare(self, queries: Ints, members: slice) -> None:
        """Hold the points ``queries`` against the points ``members``."""
        others = self.points[members]
        for first in range(0, len(queries), _QUERIES):
            some = queries[first : first + _QUERIES]
            block = self.points[some] @ others.T
            _push(
                *(block, some, members.start, self.halves[some], self.halves[members]),
                *(self.scores, self.indices),
            )

    def mirror(self) -> None:
        """Offer each point to the points of its list."""
        _offer_all(*_mirrored(self.scores, self.indices), self.scores, self.indices)

    def join(self) -> None:
        """Hold each point against the nearest of its nearest, apart from those of the last call."""
        before = self.indices[:, :_FANOUT].copy()
        fresh = _missing(before, self._joined)
        with progress.announced("finding neighbours of neighbours"):
            _join(
                *(self.points, self.halves, self.scores, self.indices),
                *(before, fresh, numba.get_num_threads()),
            )
        self._joined = before


def half_squares(rows: Floats) -> Floats:
    """Return half the squared length of each row."""
    halves: Floats = (np.einsum("nd,nd->n", rows, rows) / 2).astype(np.float32)
    return halves


@compiled
def _insert(scores: Floats, indices: Indices, score: float, index: int) -> None:
    """Put a score higher than the last into a descending list, unless its index is there."""
    own, present = np.int32(index), 0
    for other in indices:
        present += other == own
    if present:
        return
    place = scores.size - 1
    while place > 0 and scores[place - 1] < score:
        scores[place], indices[place] = scores[place - 1], indices[place - 1]
        place -= 1
    scores[place], indices[place] = score, index


@compiled
def _offer(row: Floats, first: int, scores: Floats, indices: Indices) -> None:
    """Put the higher of a row, which are indices from ``first`` on, into a descending list.

    Groups of 64 scores without a higher one are skipped.
    """
    least = scores[-1]
    for start in range(0, row.size, _GROUP):
        group = row[start : start + _GROUP]
        hits = 0
        for j in range(group.size):
            hits += group[j] > least
        if hits:
            for j in range(group.size):
                if group[j] > least:
                    _insert(scores, indices, group[j], first + start + j)
                    least = scores[-1]


@parallel
def highest(scores: Floats, columns: Indices) -> None:
    """Write the columns of the highest scores (B, M) of each row, highest first, to (B, count)."""
    count = columns.shape[1]
    for i in numba.prange(columns.shape[0]):
        if 4 * count > scores.shape[1]:
            columns[i] = np.argsort(-scores[i], kind="mergesort")[:count]
            continue
        best = np.full(count, -np.inf, dtype=np.float32)
        columns[i] = -1
        _offer(scores[i], 0, best, columns[i])


@parallel
def _push(
    block: Floats,
    queries: Ints,
    shift: int,
    own: Floats,
    others: Floats,
    scores: Floats,
    indices: Indices,
) -> None:
    """Put the columns of products, from point ``shift`` on, into the lists of ``queries``."""
    for i in numba.prange(block.shape[0]):
        row, query = block[i], queries[i]
        for j in range(row.size):
            row[j] = row[j] - own[i] - others[j]
        _offer(row, shift, scores[query], indices[query])


@reduction
def _product(points: Floats, i: int, j: int) -> np.float32:
    total = np.float32(0)
    for d in range(points.shape[1]):
        total += points[i, d] * points[j, d]
    return total


@compiled
def _mirrored(scores: Floats, indices: Indices) -> tuple[Ints, Indices, Floats]:
    """Return the offset (N + 1,) of each point in the points whose lists hold it, and scores."""
    n, k = indices.shape
    starts = np.zeros(n + 2, dtype=np.int64)
    for i in range(n):
        for index in indices[i]:
            if index >= 0:
                starts[index + 2] += 1
    starts = np.cumsum(starts)
    holders = np.empty(starts[-1], dtype=np.int32)
    held = np.empty(starts[-1], dtype=np.float32)
    for i in range(n):
        for c in range(k):
            index = indices[i, c]
            if index >= 0:
                place = starts[index + 1]
                holders[place], held[place] = i, scores[i, c]
                starts[index + 1] += 1
    return starts[: n + 1], holders, held


@parallel
def _offer_all(
    starts: Ints, others: Indices, offered: Floats, scores: Floats, indices: Indices
) -> None:
    """Put the ``others`` from ``starts[i]`` on into the list of each point i."""
    last = indices.shape[1] - 1
    for i in numba.prange(indices.shape[0]):
        for place in range(starts[i], starts[i + 1]):
            if offered[place] > scores[i, last]:
                _insert(scores[i], indices[i], offered[place], others[place])


@parallel
def _missing(lists: Indices, others: Indices) -> NDArray[np.bool_]:
    """Mark the entries of lists (N, fan) that are not among the others (N, M) of their row."""
    missing = np.ones(lists.shape, dtype=np.bool_)
    for i in numba.prange(lists.shape[0]):
        for a in range(lists.shape[1]):
            for other in others[i]:
                if other == lists[i, a]:
                    missing[i, a] = False
    return missing


@parallel
def _join(
    points: Floats,
    halves: Floats,
    scores: Floats,
    indices: Indices,
    before: Indices,
    fresh: NDArray[np.bool_],
    lanes: int,
) -> None:
    """Hold each point against the neighbours of its neighbours, by the lists ``before`` (N, fan).

    Two steps that are not ``fresh`` are left out. Each of ``lanes`` threads has a table of the
    points that it has seen, and its share of points.
    """
    n, fan = before.shape
    k = indices.shape[1]
    share = -(-n // lanes)
    for lane in numba.prange(lanes):
        seen = np.full(_BUCKETS, -1, dtype=np.int64)  # point and, below 2^32, the row that saw it
        for i in range(lane * share, min(n, (lane + 1) * share)):
            mark = np.int64(i) << 32
            for a in range(fan):
                neighbor = before[i, a]
                if neighbor < 0:
                    break
                for b in range(fan):
                    index = before[neighbor, b]
                    if index < 0:
                        break
                    if not (fresh[i, a] or fresh[neighbor, b]):
                        continue
                    place = (index * 40503) & (_BUCKETS - 1)
                    while seen[place] >> 32 == i and seen[place] != mark | index:
                        place = (place + 1) & (_BUCKETS - 1)
                    if seen[place] == mark | index:
                        continue
                    seen[place] = mark | index
                    score = _product(points, i, index) - halves[i] - halves[index]
                    if score > scores[i, k - 1]:
                        _insert(scores[i], indices[i], score, index)
