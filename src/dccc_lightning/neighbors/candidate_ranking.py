"""Exact ranking of neighbour candidates: by distance, then by index, the point itself first.

A search compares rows by a float32 matrix product, whose rounding would decide near ties. Here
distances are recomputed from differences, summed in float64, so that the order does not depend on
the search; a row whose candidates may be incomplete is compared with all points.
"""

import hashlib
import math

import numba
import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common.compiled import parallel, reduction

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SPARE = 16
"""Candidates beyond k; exact distances select among them."""

_ROUNDING = 2e-5
"""Error of a squared distance from a float32 matrix product, relative to the largest square."""


def centred(features: Floats) -> Floats:
    """Subtract the mean, for the products of a search.

    This changes no distance, and reduces the rounding errors of nearly collapsed embeddings.
    """
    mean: Floats = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    return features - mean


def rounding_error(centred: Floats) -> np.float32:
    """Return a bound on the error of squared distances from a matrix product of these rows."""
    return np.float32(_ROUNDING * float(np.einsum("nd,nd->n", centred, centred).max()))


def group_duplicates(features: Floats) -> tuple[Ints, Ints, Ints]:
    """Group bitwise equal rows.

    Args:
        features: (N, D) float32.

    Returns:
        group of each row (N,), numbered by first appearance; rows sorted by group (N,), ascending
        within a group; offset of each group in them (groups + 1,).
    """
    seen: dict[bytes, int] = {}
    groups = np.empty(len(features), dtype=np.int64)
    for row, values in enumerate(features):
        digest = hashlib.blake2b(values.data, digest_size=16).digest()
        groups[row] = seen.setdefault(digest, len(seen))
    members = np.argsort(groups, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(groups))])
    return groups, members, starts


@reduction
def _distance(features: Floats, i: int, j: int) -> float:
    total = 0.0
    for d in range(features.shape[1]):
        difference = np.float64(features[i, d]) - np.float64(features[j, d])
        total += difference * difference
    return math.sqrt(total)


@parallel
def rank_candidates(
    features: Floats, candidates: Ints, bounds: Floats, k: int
) -> tuple[Floats, Ints, NDArray[np.bool_]]:
    """Sort the candidates of every row by exact distance and keep the nearest ``k``.

    Args:
        features: (N, D) float32, rows all different.
        candidates: (N, M) indices, M >= k, all different within a row; -1 pads a row
            of fewer, which are then all points that may follow.
        bounds: (N,) lower bound of the squared distance of every point that is no candidate.
        k: Neighbours to keep.

    Returns:
        distances (N, k) float32; indices (N, k), -1 where a row has fewer candidates; complete
        (N,), False where a point that is no candidate could be among them.
    """
    n, m = candidates.shape
    distances = np.full((n, k), np.inf, dtype=np.float32)
    indices = np.full((n, k), -1, dtype=np.int64)
    complete = np.empty(n, dtype=np.bool_)
    for i in numba.prange(n):
        row = np.sort(candidates[i])  # if rounding lost i itself, bounds[i] < 0
        row = row[np.searchsorted(row, 0) :]
        exact = np.empty(row.size, dtype=np.float32)
        for c in range(row.size):
            exact[c] = _distance(features, i, row[c])
        order = np.argsort(exact, kind="mergesort")[:k]  # stable: ties by index
        for c in range(order.size):
            distances[i, c] = exact[order[c]]
            indices[i, c] = row[order[c]]
        complete[i] = m == n or row.size < m or distances[i, k - 1] ** 2 < bounds[i]
    return distances, indices, complete


@parallel
def rank_all(features: Floats, rows: Ints, pool: Ints, k: int) -> tuple[Floats, Ints]:
    """Sort the points of ``pool``, ascending, by exact distance from each of ``rows``; keep k."""
    distances = np.full((rows.size, k), np.inf, dtype=np.float32)
    indices = np.full((rows.size, k), -1, dtype=np.int64)
    for r in numba.prange(rows.size):
        exact = np.empty(pool.size, dtype=np.float32)
        for j in range(pool.size):
            exact[j] = _distance(features, rows[r], pool[j])
        order = np.argsort(exact, kind="mergesort")[:k]
        for c in range(order.size):
            distances[r, c] = exact[order[c]]
            indices[r, c] = pool[order[c]]
    return distances, indices


@parallel
def expand_groups(
    distances: Floats,
    nearest: Ints,
    groups: Ints,
    members: Ints,
    starts: Ints,
    k: int,
    itself: bool,
) -> tuple[Floats, Ints]:
    """Expand the neighbours of groups of equal rows to the neighbours of the rows.

    The nearest ``min(k, groups)`` groups suffice: each holds at least one row, and an omitted group
    at the same distance has higher indices only.

    Args:
        distances: (groups, m) float32, ascending.
        nearest: (groups, m) groups, ties by first appearance; -1 where there are fewer.
        groups: (N,) group of each row.
        members: (N,) rows of the groups, see ``group_duplicates``.
        starts: (groups + 1,) offset of each group in ``members``.
        k: Neighbours per row, at most N.
        itself: Put the row itself first.

    Returns:
        distances (N, k) float32 and indices (N, k): the row itself, then by distance and index; -1
        where there are fewer.
    """
    n, m = groups.size, nearest.shape[1]
    found = np.full((n, k), np.inf, dtype=np.float32)
    indices = np.full((n, k), -1, dtype=np.int64)
    for i in numba.prange(n):
        group = groups[i]
        filled, c = 0, 0
        if itself:
            found[i, 0] = 0.0
            indices[i, 0] = i
            filled = 1
        while filled < k and c < m and nearest[group, c] >= 0:
            tie_end = c + 1
            while tie_end < m and distances[group, tie_end] == distances[group, c]:
                tie_end += 1
            size = 0
            for t in range(c, tie_end):
                size += min(k, starts[nearest[group, t] + 1] - starts[nearest[group, t]])
            tied = np.empty(size, dtype=np.int64)
            size = 0
            for t in range(c, tie_end):
                start = starts[nearest[group, t]]
                stop = min(start + k, starts[nearest[group, t] + 1])
                tied[size : size + stop - start] = members[start:stop]
                size += stop - start
            tied.sort()
            for row in tied:
                if row != i and filled < k:
                    found[i, filled] = distances[group, c]
                    indices[i, filled] = row
                    filled += 1
            c = tie_end
    return found, indices
