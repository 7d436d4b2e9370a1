"""Refinement: removal of pseudo labels that the neighbours of an image contradict.

Two networks make different errors, so a label that the neighbours share in both feature spaces is
likely right. Comparing the neighbourhoods of two feature spaces is the cross agreement of PPLR (Cho
et al., CVPR 2022, arXiv 2203.14675), which compares global and part features and softens targets;
here student and teacher are compared, and labels are kept or removed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common import checks
from dccc_lightning.neighbors.embeddings import Features
from dccc_lightning.neighbors.nearest import knn


def agreement(labels: NDArray[np.int64], indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of the neighbours of each image that have its label.

    Shares are of min(m - 1, k) neighbours in a cluster of m images. The only image of a cluster has
    share 1, an outlier 0.

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

    Shares are computed from the labels passed in. An image left alone in its cluster becomes an
    outlier as well, because a batch would hold copies of it only. Clusters keep their numbers.

    Args:
        labels: (N,) clusters, -1 for outliers.
        views: Embeddings (N, D) of the same images by several networks.
        share: Least ``agreement`` in every view to keep a label, in [0, 1].
        neighbors: Number of neighbours, the image itself excluded; at most N - 1.
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
