"""Silhouette over all images: a score of a clustering without identities."""

import math
from collections.abc import Mapping

LEAST = -1.0
"""Score of fewer than two clusters, whose silhouette is undefined."""


def overall_silhouette(figures: Mapping[str, float]) -> float:
    """Return the mean silhouette over all images, outliers counted as 0.

    The silhouette of the clustered images alone also rises when more and more images become
    outliers, which is a failing run that looks like a good one.

    Args:
        figures: Columns of metrics.csv: ``cluster/silhouette`` (absent with fewer than two
            clusters) and ``cluster/outlier_ratio``.

    Returns:
        Within [-1, 1].

    >>> overall_silhouette({"cluster/silhouette": 0.5, "cluster/outlier_ratio": 0.2})
    0.4
    """
    silhouette = figures.get("cluster/silhouette", math.nan)
    return LEAST if math.isnan(silhouette) else silhouette * (1 - figures["cluster/outlier_ratio"])
