"""Compactness and separation of clusters among the embeddings; no identity is needed.

Distances are cosine distances, 1 - cos, between all pairs of clustered images. A sum of products
over pairs is a product of sums, so each score follows from the sums of the clusters: exactly, in
time and memory linear in the number of images.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dccc_lightning.common import checks
from dccc_lightning.common.compiled import compiled
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings

Ints = NDArray[np.int64]


class Compactness(NamedTuple):
    """Mean distances and silhouette; NaN where undefined."""

    intra_distance: float
    inter_distance: float
    silhouette: float


class _Clusters(NamedTuple):
    """Clustered images and the sums of their embeddings.

    Attributes:
        rows: (N, D) of length 1, of all images.
        images: (n,) indices of the clustered ones.
        numbers: (n,) clusters from 0.
        sums: (C, D) over the rows of each cluster.
        sizes: (C,) images of each cluster.
    """

    rows: NDArray[np.float32]
    images: Ints
    numbers: Ints
    sums: NDArray[np.float64]
    sizes: Ints


def intra_distance(labels: ArrayLike, features: Features) -> float:
    """Return the mean distance over the pairs of images in one cluster.

    Args:
        labels: (N,) integers, negative for outliers, which do not count.
        features: Embeddings (N, D); normalised inside.

    >>> intra_distance([0, 0, 1, 1, -1], np.eye(5))
    1.0
    """
    return _intra(_clusters(labels, features))


def inter_distance(labels: ArrayLike, features: Features) -> float:
    """Return the mean distance over the pairs of clustered images in different clusters.

    >>> inter_distance([0, 0, 1], np.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]]))
    2.0
    """
    return _inter(_clusters(labels, features))


def silhouette(labels: ArrayLike, features: Features, sample: int = 1000, seed: int = 0) -> float:
    """Return the mean silhouette (Rousseeuw, 1987) of a sample of the clustered images.

    Each sampled image is compared with *all* clustered images, so that sampling adds variance and
    no bias. An image alone in its cluster counts 0.

    Args:
        labels: (N,) integers, negative for outliers, which do not count.
        features: Embeddings (N, D); normalised inside.
        sample: Most images in the sample.
        seed: Seed of the sample.

    Returns:
        Within [-1, 1]; NaN with fewer than two clusters.

    >>> silhouette([0, 0, 1, 1], np.repeat(np.eye(2), 2, axis=0))
    1.0
    """
    return _silhouette(_clusters(labels, features), sample, seed)


def compactness(
    labels: ArrayLike, features: Features, sample: int = 1000, seed: int = 0
) -> Compactness:
    """Return all three scores from one pass over the embeddings."""
    clusters = _clusters(labels, features)
    return Compactness(_intra(clusters), _inter(clusters), _silhouette(clusters, sample, seed))


def _clusters(labels: ArrayLike, features: Features) -> _Clusters:
    numbers = np.asarray(labels)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise ValueError(f"labels must be (N,) integers, got {numbers.dtype} {numbers.shape}")
    if len(numbers) != len(features):
        raise ValueError(
            f"labels and features must have one length, got {len(numbers)} and {len(features)}"
        )
    rows = UnitEmbeddings.of(features).rows
    images = np.flatnonzero(numbers >= 0)
    _, numbers, sizes = np.unique(numbers[images], return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), rows.shape[1]))
    _add_rows(rows, images, numbers, sums)
    return _Clusters(rows, images, numbers, sums, sizes)


@compiled
def _add_rows(
    rows: NDArray[np.float32], images: Ints, numbers: Ints, sums: NDArray[np.float64]
) -> None:
    for i in range(images.size):
        for d in range(rows.shape[1]):
            sums[numbers[i], d] += rows[images[i], d]


def _intra(clusters: _Clusters) -> float:
    rows, images, _, sums, sizes = clusters
    pairs = float(np.sum(sizes * (sizes - 1)))
    own = float(np.einsum("nd,nd->n", rows, rows)[images].sum(dtype=np.float64))
    return 1 - (float(np.sum(sums**2)) - own) / pairs if pairs else float("nan")


def _inter(clusters: _Clusters) -> float:
    sums, sizes = clusters.sums, clusters.sizes
    pairs = float(sizes.sum()) ** 2 - float(np.sum(sizes**2))
    within = float(np.sum(sums**2))
    return 1 - (float(np.sum(sums.sum(axis=0) ** 2)) - within) / pairs if pairs else float("nan")


def _silhouette(clusters: _Clusters, sample: int, seed: int) -> float:
    checks.integer("sample", sample, low=1)
    rows, images, numbers, sums, sizes = clusters
    if len(sizes) < 2:
        return float("nan")
    n = len(images)
    chosen = np.random.default_rng(seed).choice(n, min(sample, n), replace=False)
    # float64: distances within clusters may be far smaller than the rounding of float32
    points, own = rows[images[chosen]].astype(np.float64), numbers[chosen]
    order = np.arange(len(chosen))
    others = 1 - points @ (sums / sizes[:, None]).T  # mean distance from each point to each cluster
    size = sizes[own]
    products = np.einsum("nd,nd->n", points, sums[own]) - np.einsum("nd,nd->n", points, points)
    inner = np.maximum(1 - products / np.maximum(size - 1, 1), 0)
    others[order, own] = np.inf
    outer = np.maximum(others.min(axis=1), 0)
    larger = np.maximum(inner, outer)
    counts = (size > 1) & (larger > 0)
    return float(np.mean(np.where(counts, (outer - inner) / np.where(counts, larger, 1), 0.0)))
