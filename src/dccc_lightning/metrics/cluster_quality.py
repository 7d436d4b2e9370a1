"""How good a clustering is: with identities, without, and beside the previous one.

Labels, identities and cameras are (N,) integers, negative for outliers and for unknown ones.
Every score that needs identities or cameras leaves out the images where they are unknown; a score
without anything to count is NaN. Fractions, not per cent. ``summary`` puts it all together.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]

SIZE_EDGES = (1, 4, 8, 16, 32, 64, 128)
"""Where the bins of ``size_histogram`` begin, in images; the last one is open."""


class PairScores(NamedTuple):
    """Precision, recall and their harmonic mean over pairs of images."""

    precision: float
    recall: float
    f: float


class _Contingency(NamedTuple):
    """Counts of the (row, column) pairs that occur; rows and columns renumbered from 0."""

    counts: Ints
    rows: Ints
    columns: Ints

    @property
    def row_sums(self) -> Ints:
        return _sums(self.rows, self.counts)

    @property
    def column_sums(self) -> Ints:
        return _sums(self.columns, self.counts)


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
    """Return how many clusters there are of each size, in the bins of ``SIZE_EDGES``.

    >>> size_histogram([0, 0, 1, 1, 1, 1, 2, -1]).tolist()
    [2, 1, 0, 0, 0, 0, 0]
    """
    bins = np.searchsorted(SIZE_EDGES, cluster_sizes(labels), side="right") - 1
    return np.bincount(bins, minlength=len(SIZE_EDGES))


def camera_entropy(labels: ArrayLike, cameras: ArrayLike) -> float:
    """Return the mean over the clusters of the entropy of their cameras, in nats.

    A cluster that lies within one camera has entropy 0, one spread evenly over m cameras has ln m:
    clusters that follow cameras instead of persons show as a low figure.

    >>> round(camera_entropy([0, 0, 1, 1, -1], [1, 2, 3, 3, 1]) / float(np.log(2)), 6)
    0.5
    """
    table = _contingency(*_same_length("labels", labels, "cameras", cameras))
    if table.counts.size == 0:
        return float("nan")
    shares = table.counts / table.row_sums[table.rows]
    return float(np.bincount(table.rows, weights=-shares * np.log(shares)).mean())


def adjusted_rand_index(labels: ArrayLike, identities: ArrayLike) -> float:
    """Return the adjusted Rand index (Hubert and Arabie, 1985) over the clustered images.

    Outliers are left out: this is the purity of what training sees; ``pairwise_scores`` holds the
    outliers against the clustering.

    >>> adjusted_rand_index([0, 0, 1, 1, -1], [7, 7, 8, 8, 8])
    1.0
    """
    table = _clustered(labels, identities)
    n = int(table.counts.sum())
    if n == 0:
        return float("nan")
    together = _pairs(table.counts)
    rows, columns = _pairs(table.row_sums), _pairs(table.column_sums)
    expected = rows * columns / max(n * (n - 1) / 2, 1)
    largest = (rows + columns) / 2
    return 1.0 if largest == expected else (together - expected) / (largest - expected)


def normalized_mutual_information(labels: ArrayLike, identities: ArrayLike) -> float:
    """Return mutual information over the mean of the two entropies, clustered images only.

    >>> normalized_mutual_information([0, 0, 1, 1, -1], [7, 7, 8, 8, 8])
    1.0
    """
    table = _clustered(labels, identities)
    n = int(table.counts.sum())
    if n == 0:
        return float("nan")
    rows, columns = table.row_sums, table.column_sums
    entropies = _entropy(rows) + _entropy(columns)
    if entropies == 0:
        return 1.0
    information = max(entropies - _entropy(table.counts), 0.0)
    return float(min(2 * information / entropies, 1.0))


def purity(labels: ArrayLike, identities: ArrayLike) -> float:
    """Return the share of clustered images that have the commonest identity of their cluster.

    >>> purity([0, 0, 0, 1, -1], [7, 7, 8, 8, 8])
    0.75
    """
    table = _clustered(labels, identities)
    if table.counts.size == 0:
        return float("nan")
    commonest = np.zeros(table.rows.max() + 1, dtype=np.int64)
    np.maximum.at(commonest, table.rows, table.counts)
    return float(commonest.sum() / table.counts.sum())


def pairwise_scores(labels: ArrayLike, identities: ArrayLike) -> PairScores:
    """Return how pairs in one cluster agree with pairs of one identity.

    Precision: of the pairs in one cluster, the share with one identity. Recall: of *all* pairs with
    one identity, those of outliers included, the share in one cluster.

    >>> pairwise_scores([0, 0, 0, -1], [7, 7, 8, 8])
    PairScores(precision=0.3333333333333333, recall=0.5, f=0.4)
    """
    known = _vector("identities", identities)
    table = _clustered(labels, known)
    both, clustered = _pairs(table.counts), _pairs(table.row_sums)
    alike = _pairs(cluster_sizes(known))
    nan = float("nan")
    return PairScores(
        both / clustered if clustered else nan,
        both / alike if alike else nan,
        2 * both / (clustered + alike) if clustered + alike else nan,
    )


def churn(labels: ArrayLike, previous: ArrayLike) -> float:
    """Return the share of images that are in another cluster than before.

    Clusters of the two clusterings are matched one to one, greedily by the number of images they
    share, ties by label; renumbering clusters costs nothing. An image has stayed if its clusters
    are matched, or if it is an outlier in both.

    >>> churn([0, 0, 1, 1, -1], [5, 5, 3, -1, -1])
    0.2
    """
    now, before = _same_length("labels", labels, "previous", previous)
    if now.size == 0:
        return float("nan")
    stayed = int(np.sum((now < 0) & (before < 0)))
    table = _contingency(now, before)
    matched_rows: set[int] = set()
    matched_columns: set[int] = set()
    for pair in np.argsort(-table.counts, kind="stable"):
        row, column = int(table.rows[pair]), int(table.columns[pair])
        if row not in matched_rows and column not in matched_columns:
            matched_rows.add(row)
            matched_columns.add(column)
            stayed += int(table.counts[pair])
    return (now.size - stayed) / now.size


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


def _clustered(labels: ArrayLike, identities: ArrayLike) -> _Contingency:
    """Clusters against identities."""
    return _contingency(*_same_length("labels", labels, "identities", identities))


def _contingency(first: Ints, second: Ints) -> _Contingency:
    """Count the pairs of non-negative values; sparse, for 10,000 clusters are usual."""
    kept = (first >= 0) & (second >= 0)
    _, rows = np.unique(first[kept], return_inverse=True)
    _, columns = np.unique(second[kept], return_inverse=True)
    width = int(columns.max(initial=0)) + 1
    codes, counts = np.unique(rows * width + columns, return_counts=True)
    return _Contingency(counts, codes // width, codes % width)


def _sums(positions: Ints, counts: Ints) -> Ints:
    return np.bincount(positions, weights=counts).astype(np.int64)


def _pairs(counts: Ints) -> int:
    """How many pairs there are within sets of these sizes."""
    return int(np.sum(counts * (counts - 1) // 2))


def _entropy(counts: Ints) -> float:
    shares = counts / counts.sum()
    return float(-np.sum(shares * np.log(shares)))
