"""Exact search for the k images of highest cosine, with ties in the order of the gallery.

Products in single precision select candidates. Squared distances, summed in double precision and
rounded to single, rank them: unlike cosines they stay precise for nearly equal embeddings. Where
rounding may have missed an image, more candidates are ranked.
"""

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.common import progress
from dccc_lightning.common.compiled import compiled, parallel
from dccc_lightning.neighbors.similarity import Origin, half_squares, products

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Scores = NDArray[np.float64]

SPARE = 16
"""Candidates beyond k to score exactly."""

NONE = -1
"""No image, or nothing to exclude."""

_ROUNDING = 2e-5
"""Bound on the error of a float32 matrix product, relative to the lengths."""

_BLOCK_BYTES = 1 << 26
_WIDEN = 8


def search(
    queries: Floats,
    rows: Floats,
    k: int,
    seen: Ints,
    excluded: Ints,
    origin: Origin | None = None,
) -> tuple[Scores, Ints]:
    """Find the k rows of highest cosine for each query.

    Args:
        queries: (Q, D) of length 1.
        rows: (N, D) of length 1.
        k: Results per query.
        seen: (N, L) labels of the rows, such as cameras and sessions.
        excluded: (Q, L) value of each label to exclude for each query, or ``NONE``.
        origin: Origin of products where the rows are nearly equal; it reduces rounding.

    Returns:
        (Q, k) scores, highest first, and (Q, k) positions, padded with ``NONE``.
    """
    scores, found = empty_results(len(queries), k)
    if len(rows) == 0:
        return scores, found
    points, values = torch.from_numpy(rows), torch.from_numpy(seen)
    block = max(1, _BLOCK_BYTES // (4 * len(rows)))
    for part in progress.blocks("searching", len(queries), block, "queries"):
        outside = torch.from_numpy(excluded[part])
        near, far, error = _compared(torch.from_numpy(queries[part]), points, origin)
        for label in range(values.shape[1]):
            wanted = outside[:, label, None]
            if (wanted != NONE).any():
                near.masked_fill_((wanted != NONE) & (values[:, label] == wanted), -torch.inf)
        pending, width = np.arange(len(near)), k + SPARE
        while pending.size:
            width = min(width, len(rows))
            best = near[torch.from_numpy(pending)].topk(width, dim=1)
            candidates = torch.where(best.values == -torch.inf, NONE, best.indices).numpy()
            last = best.values[:, -1].double().numpy()
            bounds = far[pending] - 2 * (last + error[pending])
            if width == len(rows):
                bounds[:] = np.inf
            at = part.start + pending
            scores[at], found[at], complete = rank(queries[at], rows, candidates, bounds, k)
            pending, width = pending[~complete], _WIDEN * width
    return scores, found


def _compared(
    queries: Tensor, rows: Tensor, origin: Origin | None
) -> tuple[Tensor, Scores, Scores]:
    """Return s (Q, N), f and e (Q,) with |q - r|^2 = f - 2 s up to an error of 2 e."""
    if origin is None:
        every = np.ones(len(queries))
        return products(queries, rows), 2 * every, _ROUNDING * every
    moved = queries - origin.point
    near = products(moved, rows).sub_(origin.halves)
    half = half_squares(moved.double())
    far = 2 * (half + moved.double() @ origin.point.double())
    return near, far.numpy(), (_ROUNDING * (2 * half).sqrt()).numpy()


def empty_results(queries: int, k: int) -> tuple[Scores, Ints]:
    """Return empty results: (Q, k) scores of 0 and (Q, k) positions of ``NONE``."""
    return np.zeros((queries, k)), np.full((queries, k), NONE, np.int64)


@compiled
def _square(query: Floats, row: Floats) -> np.float32:
    """Return the squared distance of two embeddings of length 1; 2 if either is zero."""
    total, first, second = 0.0, 0.0, 0.0
    for d in range(query.size):
        one, other = np.float64(query[d]), np.float64(row[d])
        total += (one - other) * (one - other)
        first += abs(one)
        second += abs(other)
    # An embedding of zeros has cosine 0 with all.
    return np.float32(total) if first > 0 and second > 0 else np.float32(2.0)


@parallel
def pair_scores(rows: Floats, first: Ints, second: Ints) -> Scores:
    """Return (P,) the scores of pairs of rows (N, D) of length 1, bitwise those of a search."""
    scores = np.empty(first.size, dtype=np.float64)
    for p in numba.prange(first.size):
        scores[p] = 1 - np.float64(_square(rows[first[p]], rows[second[p]])) / 2
    return scores


@parallel
def rank(
    queries: Floats, rows: Floats, candidates: Ints, bounds: Scores, k: int
) -> tuple[Scores, Ints, NDArray[np.bool_]]:
    """Sort each query's candidates by exact distance, then by position; keep the first ``k``.

    Args:
        queries: (Q, D) of length 1.
        rows: (N, D) of length 1.
        candidates: (Q, m) positions in ``rows``, all different, or ``NONE``.
        bounds: (Q,) lower bound of the squared distance of rows that are no candidates; infinite if
            all rows are candidates.
        k: Results per query.

    Returns:
        Scores (Q, k), 1 - distance^2 / 2, and positions (Q, k), padded with ``NONE``; complete
        (Q,), False where a row that is no candidate could be among the results.
    """
    n = len(candidates)
    scores = np.zeros((n, k), dtype=np.float64)
    found = np.full((n, k), NONE, dtype=np.int64)
    complete = np.empty(n, dtype=np.bool_)
    for q in numba.prange(n):
        mine = np.sort(candidates[q])
        mine = mine[np.searchsorted(mine, 0) :]
        squares = np.empty(mine.size, dtype=np.float32)
        for c in range(mine.size):
            squares[c] = _square(queries[q], rows[mine[c]])
        order = np.argsort(squares, kind="mergesort")[:k]  # stable: ties by position
        for c in range(order.size):
            scores[q, c] = 1 - np.float64(squares[order[c]]) / 2
            found[q, c] = mine[order[c]]
        enough = order.size == k and squares[order[k - 1]] < bounds[q]
        complete[q] = enough or bounds[q] == np.inf
    return scores, found, complete
