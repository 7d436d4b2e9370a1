"""Positions of chosen entries in the ranked rows of a matrix, without ranking the rows.

On the CPU one pass over a row finds the positions of all chosen entries: their range of scores is
cut into buckets, entries are counted by bucket, and only those in the bucket of a chosen entry are
compared with it. On a GPU, where sorting is fast, the rows are sorted.
"""

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.common.compiled import parallel

_BUCKETS = 4096
_SMALLEST_RANGE = 1e-30  # of the chosen scores, so that the scale stays finite in float32


def positions(scores: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the position of each chosen entry in its sorted row.

    Rows are sorted by descending score, then by column.

    Args:
        scores: (B, G) floating point, minus infinity allowed, NaN not.
        rows: (H,) rows of the chosen entries, ascending.
        columns: (H,) their columns; the scores there are finite.

    Returns:
        (H,) int64, from 0.
    """
    if scores.device.type != "cpu":
        return _by_sorting(scores, rows, columns)
    starts = np.searchsorted(rows.numpy(), np.arange(len(scores) + 1))
    return torch.from_numpy(_by_buckets(scores.numpy(), starts, columns.numpy()))


@parallel
def _by_buckets(
    scores: NDArray[np.floating], starts: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the positions of the entries ``columns[starts[i] : starts[i + 1]]`` of each row i."""
    size = scores.shape[1]
    before = np.empty(columns.size, dtype=np.int64)
    for i in numba.prange(scores.shape[0]):
        row, chosen = scores[i], columns[starts[i] : starts[i + 1]]
        if chosen.size == 0:
            continue
        wanted = row[chosen]
        low, high = wanted.min(), wanted.max()
        # The lowest chosen score opens bucket 1. Rounding cannot disturb the order of buckets: each
        # step from score to bucket is monotone.
        scale = scores.dtype.type((_BUCKETS - 3) / max(high - low, _SMALLEST_RANGE))
        one, top = scores.dtype.type(1), scores.dtype.type(_BUCKETS - 1)
        bucket = np.empty(size, dtype=np.int32)
        for j in range(size):
            place = (row[j] - low) * scale + one
            place = place if place > 0 else scores.dtype.type(0)
            bucket[j] = np.int32(place if place < top else top)
        counts = np.zeros(_BUCKETS, dtype=np.int32)
        for j in range(size):
            counts[bucket[j]] += 1
        above = np.zeros(_BUCKETS, dtype=np.int64)
        for b in range(_BUCKETS - 2, -1, -1):
            above[b] = above[b + 1] + counts[b + 1]
        # The chosen entries of bucket b: the shared[b] members from stop[b] - shared[b].
        shared = np.zeros(_BUCKETS, dtype=np.int32)
        for c in chosen:
            shared[bucket[c]] += 1
        stop = np.cumsum(shared)
        members = np.argsort(bucket[chosen], kind="mergesort")
        found = above[bucket[chosen]]
        for j in range(size):
            b = bucket[j]
            if shared[b] > 0:
                for p in range(stop[b] - shared[b], stop[b]):
                    m = members[p]
                    found[m] += row[j] > wanted[m] or (row[j] == wanted[m] and j < chosen[m])
        before[starts[i] : starts[i + 1]] = found
    return before


def _by_sorting(scores: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the positions by binary search in sorted rows."""
    wanted = scores[rows, columns]
    # Chosen entries padded to (B, most per row), for one batched search.
    counts = torch.bincount(rows, minlength=len(scores))
    slots = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    padded = scores.new_zeros(len(scores), int(counts.max()))
    padded[rows, slots] = wanted
    ordered = scores.sort(dim=1).values
    above = torch.searchsorted(ordered, padded, right=True)[rows, slots]
    from_below = torch.searchsorted(ordered, padded)[rows, slots]
    before = scores.shape[1] - above
    tied = (above - from_below > 1).nonzero()[:, 0]
    order = torch.arange(scores.shape[1], device=rows.device)
    for chunk in torch.split(tied, len(scores)):
        equal = scores[rows[chunk]] == wanted[chunk, None]
        before[chunk] += (equal & (order < columns[chunk, None])).sum(dim=1)
    return before
