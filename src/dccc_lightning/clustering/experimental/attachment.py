"""Attachment of outliers to the nearest cluster."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from dccc_lightning.common import checks
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings

_BLOCK = 1 << 22
"""Products of outliers and centroids per block."""

_ROUNDING = 1e-12
"""Bound on the rounding error of a cosine in double precision."""


def centroids(unit: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the normalised mean (C, D) of each cluster of unit rows (N, D), summed in float64.

    Clusters are numbered without gaps; outliers do not count.
    """
    members = np.flatnonzero(labels >= 0)
    shape = int(labels.max()) + 1, len(labels)
    indicator = csr_matrix((np.ones(len(members)), (labels[members], members)), shape=shape)
    sums: NDArray[np.float64] = indicator @ unit.astype(np.float64)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return sums / np.where(norms == 0, 1, norms)


def attach(labels: NDArray[np.int64], features: Features, within: float = 1.3) -> NDArray[np.int64]:
    """Assign outliers to the cluster of the nearest centroid, if close enough.

    The largest distance is ``within`` times the mean distance of the cluster's images from the
    centroid (Euclidean, rows of length 1). Attached images change neither, so the order of the
    images does not matter. Of equally near clusters the first is used.

    Args:
        labels: (N,) clusters from 0 without gaps, -1 for outliers; at least one cluster.
        features: Clustered embeddings (N, D).
        within: At least 0; with 1 few outliers are close enough.

    Returns:
        (N,) labels, a new array.

    >>> rows = np.array([[1.0, 0.1], [1.0, -0.1], [1.0, 0.02], [1.0, 0.3]])
    >>> attach(np.array([0, 0, -1, -1]), rows).tolist()
    [0, 0, 0, -1]
    """
    checks.real("attach_within", within, 0)
    unit = UnitEmbeddings.of(features).rows
    middles = centroids(unit, labels)
    clustered, others = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    own = labels[clustered]
    distances = np.linalg.norm(unit[clustered] - middles[own], axis=1)
    reach = within * np.bincount(own, weights=distances) / np.bincount(own)
    attached = labels.copy()
    block = max(1, _BLOCK // len(middles))
    for first in range(0, len(others), block):
        images = others[first : first + block]
        cosines = unit[images].astype(np.float64) @ middles.T
        # First of equals up to rounding, which varies with the processor.
        nearest = np.argmax(cosines >= cosines.max(axis=1, keepdims=True) - _ROUNDING, axis=1)
        close = np.linalg.norm(unit[images] - middles[nearest], axis=1) <= reach[nearest]
        attached[images[close]] = nearest[close]
    return attached
