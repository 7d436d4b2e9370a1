"""Scores of a clustering: by identities, by cameras, and by the previous clustering.

Labels, identities and cameras are (N,) integers; -1 is an outlier or unknown. Scores that compare
two of them leave out the images where either is negative. A score of no images is NaN. Scores are
fractions.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]

SIZE_EDGES = (1, 4, 8, 16, 32, 64, 128)
"""Lower ends, in images, of the bins of ``size_histogram``; the last bin is open."""


class PairScores(NamedTuple):
    """Precision, recall and their harmonic mean over pairs of images."""

    precision: float
    recall: float
    f: float


def num_clusters(labels: ArrayLike) -> int:
    """Return the number of clusters.

    >>> num_clusters([0, 0, 1, -1])
    2
    """
    return len(cluster_sizes(labels))


def outlier_ratio(labels: ArrayLike) -> float:
    """Return the share of images that are outliers.

    >>> outlier_ratio([0, 0, 1, -1])
    0.25
    """
    array = _vector("labels", labels)
    return float(np.mean(array < 0)) if array.size else float("nan")


def cluster_sizes(labels: ArrayLike) -> Ints:
    """Return the number of images of each cluster (C,), by ascending label.

    >>> cluster_sizes([0, 0, 1, -1]).tolist()
    [2, 1]
    """
    array = _vector("labels", labels)
    return np.unique(array[array >= 0], return_counts=True)[1].astype(np.int64)


def size_histogram(labels: ArrayLike) -> Ints:
    """Return the number of clusters of each size, in the bins of ``SIZE_EDGES``.

    >>> size_histogram([0, 0, 1, 1, 1, 1, 2, -1]).tolist()
    [2, 1, 0, 0, 0, 0, 0]
    """
    bins = np.searchsorted(SIZE_EDGES, cluster_sizes(labels), side="right") - 1
    return np.bincount(bins, minlength=len(SIZE_EDGES))


def camera_entropy(labels: ArrayLike, cameras: ArrayLike) -> float:
    """Return the mean over the clusters of the entropy of their cameras, in nats.

    It is 0 where each cluster lies within one camera, ln m where each is spread evenly over m; a
    low value shows that clusters follow cameras instead of identities.

    >>> round(camera_entropy([0, 0, 1, 1, -1], [1, 2, 3, 3, 1]) / float(np.log(2)), 6)
    0.5
    """
    table = _contingency(*_known("labels", labels, "cameras", cameras))
    if table.nnz == 0:
        return float("nan")
    rows = table.tocoo().row
    shares = table.data / _row_sums(table)[rows]
    return float(np.bincount(rows, weights=-shares * np.log(shares)).mean())


def adjusted_rand_index(labels: ArrayLike, identities: ArrayLike) -> float:
    """Return the adjusted Rand index (Hubert and Arabie, 1985) over the clustered images.

    Outliers do not count; ``pairwise_scores`` counts them as missed.

    >>> adjusted_rand_index([0, 0, 1, 1, -1], [7, 7, 8, 8, 8])
    1.0
    """
    from sklearn.metrics import adjusted_rand_score  # noqa: PLC0415  (slow to import)

    found, true = _known("labels", labels, "identities", identities)
    return float(adjusted_rand_score(true, found)) if found.size else float("nan")


def normalized_mutual_information(labels: ArrayLike, identities: ArrayLike) -> float:
    """Return mutual information over the mean of the two entropies, clustered images only.

    >>> normalized_mutual_information([0, 0, 1, 1, -1], [7, 7, 8, 8, 8])
    1.0
    """
    from sklearn.metrics import normalized_mutual_info_score  # noqa: PLC0415  (slow to import)

    found, true = _known("labels", labels, "identities", identities)
    if not found.size:
        return float("nan")
    return min(float(normalized_mutual_info_score(true, found)), 1.0)  # rounding


def purity(labels: ArrayLike, identities: ArrayLike) -> float:
    """Return the share of clustered images that have the commonest identity of their cluster.

    >>> purity([0, 0, 0, 1, -1], [7, 7, 8, 8, 8])
    0.75
    """
    table = _contingency(*_known("labels", labels, "identities", identities))
    return float(table.max(axis=1).sum() / table.sum()) if table.nnz else float("nan")


def pairwise_scores(labels: ArrayLike, identities: ArrayLike) -> PairScores:
    """Compare pairs of images in one cluster with pairs of one identity.

    Precision is the share of the pairs in one cluster that have one identity; recall is the share
    of *all* pairs of one identity, outliers included, that are in one cluster.

    >>> pairwise_scores([0, 0, 0, -1], [7, 7, 8, 8])
    PairScores(precision=0.3333333333333333, recall=0.5, f=0.4)
    """
    table = _contingency(*_known("labels", labels, "identities", identities))
    both, clustered = _pairs(table.data), _pairs(_row_sums(table))
    alike = _pairs(cluster_sizes(identities))
    nan = float("nan")
    return PairScores(
        both / clustered if clustered else nan,
        both / alike if alike else nan,
        2 * both / (clustered + alike) if clustered + alike else nan,
    )


def churn(labels: ArrayLike, previous: ArrayLike) -> float:
    """Return the share of images that changed their cluster.

    An image has not changed if its clusters are matched by ``matched_clusters``, or if it is an
    outlier in both clusterings. So the numbers of clusters do not matter.

    >>> churn([0, 0, 1, 1, -1], [5, 5, 3, -1, -1])
    0.2
    """
    now, before = _same_length("labels", labels, "previous", previous)
    if now.size == 0:
        return float("nan")
    stayed = int(np.sum((now < 0) & (before < 0)))
    stayed += int(matched_clusters(now, before)[:, 2].sum())
    return (now.size - stayed) / now.size


def matched_clusters(labels: ArrayLike, previous: ArrayLike) -> Ints:
    """Match the clusters of two clusterings one to one.

    The match is greedy by the number of images in common, ties by label.

    Returns:
        (M, 3): cluster, its match in ``previous``, and the number of images in both.

    >>> matched_clusters([0, 0, 1, 1, -1], [5, 5, 3, -1, -1]).tolist()
    [[0, 5, 2], [1, 3, 1]]
    """
    now, before = _known("labels", labels, "previous", previous)
    if not now.size:
        return np.zeros((0, 3), dtype=np.int64)
    rows, columns = np.unique(now), np.unique(before)
    table = _contingency(now, before).tocoo()
    matches: list[tuple[int, int, int]] = []
    matched: tuple[set[int], set[int]] = set(), set()
    for pair in np.argsort(-table.data, kind="stable"):
        row, column = int(table.row[pair]), int(table.col[pair])
        if row not in matched[0] and column not in matched[1]:
            matched[0].add(row)
            matched[1].add(column)
            matches.append((int(rows[row]), int(columns[column]), int(table.data[pair])))
    return np.array(matches, dtype=np.int64).reshape(-1, 3)


def _vector(name: str, values: ArrayLike) -> Ints:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name} must be (N,) integers, got {array.dtype} {array.shape}")
    return array.astype(np.int64)


def _same_length(
    name: str, values: ArrayLike, other_name: str, others: ArrayLike
) -> tuple[Ints, Ints]:
    first, second = _vector(name, values), _vector(other_name, others)
    if len(first) != len(second):
        raise ValueError(
            f"{name} and {other_name} must have one length, got {len(first)} and {len(second)}"
        )
    return first, second


def _known(name: str, values: ArrayLike, other_name: str, others: ArrayLike) -> tuple[Ints, Ints]:
    """Return the entries of both where neither is negative."""
    first, second = _same_length(name, values, other_name, others)
    kept = (first >= 0) & (second >= 0)
    return first[kept], second[kept]


def _contingency(first: Ints, second: Ints) -> Any:
    """Count the pairs of values: a sparse (CSR) matrix, rows and columns by ascending value."""
    from sklearn.metrics.cluster import contingency_matrix  # noqa: PLC0415  (slow to import)

    return contingency_matrix(first, second, sparse=True)


def _row_sums(table: Any) -> Ints:
    return np.ravel(table.sum(axis=1))


def _pairs(counts: Ints) -> int:
    """Count the pairs within sets of these sizes."""
    return int(np.sum(counts * (counts - 1) // 2))
