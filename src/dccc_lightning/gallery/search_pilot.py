"""What an approximate search would have to look at, estimated before the structure is built."""

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

faiss = _faiss

_LISTS = 256
_PER_LIST = 64  # rows that k-means sees


def share_compared(
    rows: NDArray[np.float32], queries: Ints, neighbors: list[Ints], recall: float
) -> float:
    """Return the share of a gallery that k-means lists leave to be compared with a query.

    It depends on the rows alone. A few coarse lists of a sample are enough, since only the true
    neighbours of some rows have to be found in them: it takes seconds where the structure itself
    takes minutes. More lists would leave less to be compared.

    Args:
        rows: (N, D) of length 1.
        queries: (Q,) positions of rows.
        neighbors: Positions of the nearest rows of each query.
        recall: Share of the neighbours that is found.

    Returns:
        In (0, 1]: small where rows lie in clusters, near ``recall`` where they lie anywhere.
    """
    n, dim = rows.shape
    lists = max(1, min(_LISTS, n // _PER_LIST))
    chosen = np.random.default_rng(0).choice(n, min(n, lists * _PER_LIST), replace=False)
    sample = rows[np.sort(chosen)]
    kmeans = faiss.Kmeans(dim, lists, niter=10, seed=1, max_points_per_centroid=_PER_LIST)
    kmeans.train(sample)
    nearest = kmeans.index.search(rows[queries], lists)[1]
    places = np.argsort(nearest, axis=1)  # of each list, from a query's nearest on
    needed = [
        place[kmeans.index.search(rows[others], 1)[1][:, 0]]
        for place, others in zip(places, neighbors, strict=True)
    ]
    last = int(np.quantile(np.concatenate(needed), recall, method="inverted_cdf"))
    sizes = np.bincount(kmeans.index.search(sample, 1)[1][:, 0], minlength=lists)
    return float(sizes[nearest[:, : last + 1]].sum(axis=1).mean() / len(sample))
