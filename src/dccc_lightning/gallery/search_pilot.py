"""Estimate of the work of an approximate search, before its index is built."""

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

faiss = _faiss

_LISTS = 256
_PER_LIST = 64  # rows per list for k-means


def share_compared(
    rows: NDArray[np.float32], queries: Ints, neighbors: list[Ints], recall: float
) -> float:
    """Estimate the share of a gallery that an inverted file compares with a query.

    The result is deterministic. A few coarse lists of a sample suffice, because only the true
    neighbours of some rows have to be found: this takes seconds, the index minutes. More lists
    would compare less.

    Args:
        rows: (N, D) of length 1.
        queries: (Q,) positions of rows.
        neighbors: Positions of the nearest rows of each query.
        recall: Share of the neighbours to find.

    Returns:
        In (0, 1]: small for clustered rows, near ``recall`` for unclustered ones.
    """
    n, dim = rows.shape
    lists = max(1, min(_LISTS, n // _PER_LIST))
    chosen = np.random.default_rng(0).choice(n, min(n, lists * _PER_LIST), replace=False)
    sample = rows[np.sort(chosen)]
    kmeans = faiss.Kmeans(dim, lists, niter=10, seed=1, max_points_per_centroid=_PER_LIST)
    kmeans.train(sample)
    nearest = kmeans.index.search(rows[queries], lists)[1]
    places = np.argsort(nearest, axis=1)  # rank of each list by distance from the query
    needed = [
        place[kmeans.index.search(rows[others], 1)[1][:, 0]]
        for place, others in zip(places, neighbors, strict=True)
    ]
    last = int(np.quantile(np.concatenate(needed), recall, method="inverted_cdf"))
    sizes = np.bincount(kmeans.index.search(sample, 1)[1][:, 0], minlength=lists)
    return float(sizes[nearest[:, : last + 1]].sum(axis=1).mean() / len(sample))
