"""Neighbour candidates from an inverted file, for sets too large to compare all pairs.

k-means divides the points into lists. A point is compared with the lists of its nearest centres
(probes), all points that probe a list by one matrix product, then with the points that have it
among their nearest, and with the neighbours of its neighbours. Some neighbours are missed, so the
recall is measured and the probes doubled until it is high enough. An HNSW graph is no alternative:
its parallel construction differs from run to run, and so would the labels.
"""

import logging
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common import progress
from dccc_lightning.neighbors import near_lists

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

TARGET = 0.93
"""Recall to reach by more probes. Missed neighbours are mostly the farthest, which are rarely
reciprocal, so the labels change far less."""

_log = logging.getLogger(__name__)

_LISTS = 2.0
"""Lists per square root of N."""

_FEWEST = 40
"""Least mean number of points per list."""

_TRAINING = 32
"""Points per list for k-means: enough for centres, at a small share of the time."""

_ROUNDS = 6
"""Rounds of k-means."""

_FIRST_PROBES = 8
_JOINED = 2.2
"""Most misses, over those at ``TARGET``, for which neighbours of neighbours are searched: in two
rounds they find about half of what is missed."""

_SAMPLE = 1000
_BLOCK = 4096


def search(rows: Floats, k: int, wanted: int) -> tuple[Floats, Ints]:
    """Return ``k`` candidates for the neighbours of every row, itself among them.

    The result is deterministic. The recall is logged at INFO, or as a warning where all lists do
    not reach ``TARGET``, which only rounding can cause.

    Args:
        rows: (N, D), all different.
        k: Candidates per row, at most N.
        wanted: Nearest neighbours that count for the recall, at most ``k``.

    Returns:
        squared distances and indices, (N, k).
    """
    import faiss  # noqa: PLC0415  (slow to import)

    n = len(rows)
    lists = max(1, min(int(_LISTS * math.sqrt(n)), n // _FEWEST))
    with progress.announced("preparing the neighbour search"):
        centres = _centres(rows, lists)
        probes = min(lists, _FIRST_PROBES)
        table = _nearest_centres(rows, centres, min(lists, 2 * probes))
        order = np.argsort(table[:, 0], kind="stable")  # neighbours then stay in the cache
        points, table = rows[order], table[order]
    starts = np.searchsorted(table[:, 0], np.arange(lists + 1))
    sample = np.sort(np.random.default_rng(0).choice(n, min(n, _SAMPLE), replace=False))
    exact = faiss.knn(points[sample], points, wanted)[1]

    near = near_lists.NearLists(points, k)
    done, some = 0, np.arange(n)
    while True:
        if probes > table.shape[1]:
            table = _nearest_centres(points, centres, probes)
        _compare(near, starts, some, table[some, done:probes])
        near.mirror()
        reached = recall(near.indices[sample], exact)
        if probes == lists or 1 - reached <= _JOINED * (1 - TARGET):
            near.join()
            reached = recall(near.indices[sample], exact)
            if reached < TARGET:
                near.mirror()
                near.join()
                reached = recall(near.indices[sample], exact)
        some = np.flatnonzero(near.indices[:, -1] < 0)  # too few points in the lists
        if reached < TARGET:
            some = np.arange(n)
        if probes == lists or some.size == 0:
            break
        done, probes = probes, min(lists, 2 * probes)
    _log.log(
        logging.INFO if reached >= TARGET else logging.WARNING,
        "approximate kNN: %d lists, %d probes; recall of the %d nearest %.4f on %d rows",
        *(lists, probes, wanted, reached, len(sample)),
    )
    squares, indices = near.scores, near.indices
    squares *= -2
    del near, points
    found = np.empty(indices.shape, dtype=np.int64)
    found[order] = order[indices]
    squares[order] = squares.copy()
    lost = np.flatnonzero(~(found == np.arange(n)[:, None]).any(axis=1))  # many nearly equal
    found[lost, -1], squares[lost, -1] = lost, 0.0
    return squares, found


def recall(found: NDArray[np.integer], exact: Ints) -> float:
    """Return the share of the ``exact`` neighbours (n, k) that are among the ``found`` (n, m).

    >>> recall(np.array([[0, 7, 2], [1, 3, 4]]), np.array([[0, 2], [1, 5]]))
    0.75
    """
    hits = sum(np.isin(row, near).sum() for row, near in zip(exact, found, strict=True))
    return float(hits / exact.size)


def _centres(rows: Floats, lists: int) -> Floats:
    """Return the centres (lists, D) of k-means on a sample."""
    import faiss  # noqa: PLC0415  (slow to import)

    means: Any = faiss.Kmeans(
        rows.shape[1],
        lists,
        niter=_ROUNDS,
        max_points_per_centroid=_TRAINING,
        min_points_per_centroid=1,
    )
    means.train(rows)
    centres: Floats = means.centroids
    return centres


def _nearest_centres(rows: Floats, centres: Floats, count: int) -> NDArray[np.int32]:
    """Return the nearest centres (N, count), nearest first."""
    halves = near_lists.half_squares(centres)
    nearest = np.empty((len(rows), count), dtype=np.int32)
    for first in range(0, len(rows), _BLOCK):
        part = slice(first, first + _BLOCK)
        near_lists.highest(rows[part] @ centres.T - halves, nearest[part])
    return nearest


def _compare(
    near: near_lists.NearLists, starts: Ints, some: Ints, probed: NDArray[np.int32]
) -> None:
    """Compare the points ``some`` with the lists that they probe (points, probes).

    The nearest list of all comes first: it leaves little to insert from the others.
    """
    for lists in (probed[:, :1], probed[:, 1:]):
        order = np.argsort(lists, axis=None, kind="stable")
        bounds = np.searchsorted(lists.ravel()[order], np.arange(len(starts)))
        queries = some[order // max(1, lists.shape[1])]
        numbers = np.flatnonzero(np.diff(bounds))
        for number in progress.track(numbers, "finding neighbours", len(numbers), unit="lists"):
            members = slice(int(starts[number]), int(starts[number + 1]))
            near.compare(queries[bounds[number] : bounds[number + 1]], members)
