"""The k images of highest cosine for each query: exactly, with ties in the order of the gallery.

Products in single precision propose; sums in double precision, rounded to single, decide. What
could have been missed by rounding is known, and is then looked at too.
"""

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from dccc_lightning import progress
from dccc_lightning.clustering.compiled import parallel
from dccc_lightning.retrieval.similarity import products

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SPARE = 16
"""Candidates beyond k that are scored exactly."""

NOBODY = -1
"""Stands where no image is left."""

_ROUNDING = 2e-5
"""Error of a cosine from a float32 matrix product, with room to spare."""

_BLOCK_BYTES = 1 << 26
_WIDEN = 8


def search(
    queries: Floats, rows: Floats, k: int, cameras: Ints, excluded: Ints
) -> tuple[Floats, Ints]:
    """Compare every query with every row.

    Args:
        queries: (Q, D) of length 1.
        rows: (N, D) of length 1.
        k: Results a query.
        cameras: (N,) of the rows.
        excluded: (Q,) camera that a query must not find, ``NOBODY`` for none.

    Returns:
        (Q, k) scores, the highest first, and (Q, k) positions; ``NOBODY`` after the last.
    """
    scores, found = nothing_found(len(queries), k)
    if len(rows) == 0:
        return scores, found
    points, seen = torch.from_numpy(rows), torch.from_numpy(cameras)
    block = max(1, _BLOCK_BYTES // (4 * len(rows)))
    for part in progress.blocks("searching", len(queries), block, "queries"):
        outside = torch.from_numpy(excluded[part])[:, None]
        near = products(torch.from_numpy(queries[part]), points)
        near.masked_fill_((outside != NOBODY) & (seen == outside), -torch.inf)
        pending, width = np.arange(len(near)), k + SPARE
        while pending.size:
            width = min(width, len(rows))
            best = near[torch.from_numpy(pending)].topk(width, dim=1)
            candidates = torch.where(best.values == -torch.inf, NOBODY, best.indices).numpy()
            bounds = best.values[:, -1].numpy() + np.float32(_ROUNDING)
            if width == len(rows):
                bounds[:] = -np.inf
            at = part.start + pending
            scores[at], found[at], complete = rank(queries[at], rows, candidates, bounds, k)
            pending, width = pending[~complete], _WIDEN * width
    return scores, found


def nothing_found(queries: int, k: int) -> tuple[Floats, Ints]:
    """Return (Q, k) scores and (Q, k) positions of ``NOBODY``, to be filled in."""
    return np.zeros((queries, k), np.float32), np.full((queries, k), NOBODY, np.int64)


@parallel
def rank(
    queries: Floats, rows: Floats, candidates: Ints, bounds: Floats, k: int
) -> tuple[Floats, Ints, NDArray[np.bool_]]:
    """Order each query's candidates by exact score, then by position, and keep the first ``k``.

    Args:
        queries: (Q, D) of length 1.
        rows: (N, D) of length 1.
        candidates: (Q, m) positions in ``rows``, all different, or ``NOBODY``.
        bounds: (Q,) highest score that a row which is no candidate may have; minus infinity where
            there is no such row.
        k: Results a query.

    Returns:
        scores (Q, k) and positions (Q, k), ``NOBODY`` after the last; complete (Q,), False where a
        row left out could belong to the results.
    """
    n = len(candidates)
    scores = np.zeros((n, k), dtype=np.float32)
    found = np.full((n, k), NOBODY, dtype=np.int64)
    complete = np.empty(n, dtype=np.bool_)
    for q in numba.prange(n):
        mine = np.sort(candidates[q])
        mine = mine[np.searchsorted(mine, 0) :]
        lost = np.empty(mine.size, dtype=np.float32)  # minus the score: ascending is best first
        for c in range(mine.size):
            total = 0.0
            for d in range(queries.shape[1]):
                total += np.float64(queries[q, d]) * np.float64(rows[mine[c], d])
            lost[c] = np.float32(-total)
        order = np.argsort(lost, kind="mergesort")[:k]  # stable: ties by position
        for c in range(order.size):
            scores[q, c] = -lost[order[c]]
            found[q, c] = mine[order[c]]
        enough = order.size == k and scores[q, k - 1] > bounds[q]
        complete[q] = enough or bounds[q] == -np.inf
    return scores, found, complete
