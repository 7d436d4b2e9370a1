"""Labels of outliers, the images in no cluster.

The paper leaves them out of the epoch. SpCL (Ge et al., NeurIPS 2020, arXiv 2006.02713) makes each
a class of its own, so that they still push the other images away.
"""

import numpy as np
from numpy.typing import NDArray


def outliers_to_clusters(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Assign every outlier a cluster of its own, after the others in the order of the images.

    >>> outliers_to_clusters(np.array([-1, 0, 0, 1, -1])).tolist()
    [2, 0, 0, 1, 3]
    """
    single = labels < 0
    return np.where(single, labels.max(initial=-1) + np.cumsum(single), labels)


def number_without_gaps(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Renumber the clusters from 0 without gaps, in their order; outliers stay -1.

    >>> number_without_gaps(np.array([7, -1, 3, 7])).tolist()
    [1, -1, 0, 1]
    """
    names = np.unique(labels[labels >= 0])
    return np.where(labels < 0, -1, np.searchsorted(names, labels))
