"""Pseudo labels that the neighbourhoods of student and teacher do not bear out are taken back.

Two views of one image err differently: where the neighbours agree in both, the label is likely
right. The idea of comparing neighbourhoods of two feature spaces is the cross agreement of PPLR
(Cho et al., CVPR 2022, arXiv 2203.14675), which compares global and part features and softens
targets by it; here it is student and teacher, and a label is kept or taken back.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common import checks
from dccc_lightning.neighbors.embeddings import Features
from dccc_lightning.neighbors.nearest import knn


def agreement(labels: NDArray[np.int64], indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return which share of its neighbours carries an image's label.

    In a cluster of m images only m - 1 neighbours can: the share is of the smaller of m - 1 and k.
    The only image of a cluster has share 1, an outlier 0.

    Args:
        labels: (N,) clusters, -1 for outliers.
        indices: (N, k) neighbours of each image, without itself.

    Returns:
        (N,) in [0, 1].

    >>> agreement(np.array([0, 0, 0, -1]), np.array([[1, 3], [0, 2], [3, 3], [0, 1]])).tolist()
    [0.5, 1.0, 0.0, 0.0]
    """
    sizes = np.bincount(labels + 1)[labels + 1]
    possible = np.minimum(sizes - 1, indices.shape[1])
    alike = (labels[indices] == labels[:, None]).sum(axis=1)
    shares = np.where(possible > 0, alike / np.maximum(possible, 1), 1.0)
    return np.where(labels < 0, 0.0, shares)


def refine(
    labels: NDArray[np.int64],
    views: Sequence[Features],
    share: float,
    neighbors: int = 10,
    backend: str = "auto",
) -> NDArray[np.int64]:
    """Make outliers of the images whose neighbours disagree with their label in any view.

    All images are judged by the labels that came in. An image that would be left alone in its
    cluster becomes an outlier as well: a batch would hold nothing but copies of it. Clusters keep
    their numbers.

    Args:
        labels: (N,) clusters, -1 for outliers.
        views: Embeddings (N, D) of the same images by several networks.
        share: The least ``agreement``, in every view, with which a label is kept, in [0, 1].
        neighbors: k, nearest neighbours asked, the image itself not counted; at most N - 1.
        backend: Neighbour search, see ``neighbors.knn``.

    Returns:
        (N,) labels, a new array.
    """
    checks.real("refine", share, 0, 1)
    checks.integer("refine_neighbors", neighbors, low=1)
    k = min(neighbors + 1, len(labels))
    agreed = [agreement(labels, knn(view, k, backend)[1][:, 1:]) >= share for view in views]
    kept = np.where(np.all(agreed, axis=0), labels, -1)
    sizes = np.bincount(kept[kept >= 0], minlength=1)
    return np.where((kept >= 0) & (sizes[kept] < 2), -1, kept)
