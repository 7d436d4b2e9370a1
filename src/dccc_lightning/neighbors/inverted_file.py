"""Neighbour candidates from an inverted file, for sets too large to compare all pairs.

k-means divides the points into lists, and a point is compared with the lists of its nearest centres
(probes) instead of all points; faiss calls this IVF-Flat. Some neighbours are missed, so the recall
is measured and the probes doubled until it is high enough. An HNSW graph is no alternative: its
parallel construction differs from run to run, and so would the labels.
"""

import logging
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common import progress

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

TARGET = 0.9
"""Recall to reach by more probes. Missed neighbours are mostly the farthest, which are rarely
reciprocal, so the labels change far less."""

_log = logging.getLogger(__name__)

_LISTS = 4.0
"""Lists per square root of N; a query then compares as many centres as list members."""

_FEWEST = 40
"""Least mean number of points per list; faiss warns below 39."""

_TRAINING = 64
"""Points per list for k-means: enough for centres, at a small share of the time."""

_FIRST_PROBES = 8
_SAMPLE = 1000
_BLOCK = 1 << 14


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

    n, dim = rows.shape
    lists = max(1, min(int(_LISTS * math.sqrt(n)), n // _FEWEST))
    index: Any = faiss.index_factory(dim, f"IVF{lists},Flat")
    index.cp.max_points_per_centroid = _TRAINING
    with progress.announced("preparing the neighbour search"):
        index.train(rows)
        index.add(rows)

    sample = np.sort(np.random.default_rng(0).choice(n, min(n, _SAMPLE), replace=False))
    exact = faiss.knn(rows[sample], rows, wanted)[1]
    index.nprobe = min(lists, _FIRST_PROBES)
    while (reached := recall(index.search(rows[sample], k)[1], exact)) < TARGET:
        if index.nprobe == lists:
            break
        index.nprobe = min(lists, 2 * index.nprobe)
    _log.log(
        logging.INFO if reached >= TARGET else logging.WARNING,
        "approximate kNN: %d lists, %d probes; recall of the %d nearest %.4f on %d rows",
        *(lists, index.nprobe, wanted, reached, len(sample)),
    )
    return _search_lists(index, rows, k)


def recall(found: Ints, exact: Ints) -> float:
    """Return the share of the ``exact`` neighbours (n, k) that are among the ``found`` (n, m).

    >>> recall(np.array([[0, 7, 2], [1, 3, 4]]), np.array([[0, 2], [1, 5]]))
    0.75
    """
    hits = sum(np.isin(row, near).sum() for row, near in zip(exact, found, strict=True))
    return float(hits / exact.size)


def _search_lists(index: Any, rows: Floats, k: int) -> tuple[Floats, Ints]:
    """Search for all rows in the order of their lists, which then stay in the cache."""
    squares = np.empty((len(rows), k), dtype=np.float32)
    indices = np.empty((len(rows), k), dtype=np.int64)
    order = _list_order(index)
    while order.size:
        short = []
        for part in progress.blocks("finding neighbours", order.size, _BLOCK):
            block = order[part]
            squares[block], indices[block] = index.search(rows[block], k)
            short.append(block[indices[block, -1] < 0])  # the probed lists hold fewer than k points
        order = np.concatenate(short)
        index.nprobe = min(index.nlist, 4 * index.nprobe)
    lost = np.flatnonzero(~(indices == np.arange(len(rows))[:, None]).any(axis=1))
    indices[lost, -1], squares[lost, -1] = lost, 0.0
    return squares, indices


def _list_order(index: Any) -> Ints:
    """Return all points, list after list."""
    import faiss  # noqa: PLC0415

    lists = index.invlists
    members = [
        faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number)).astype(np.int64)
        for number in range(index.nlist)
        if lists.list_size(number)
    ]
    return np.concatenate(members)
