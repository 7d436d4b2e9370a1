"""Score a clustering without identities: the silhouette over all images."""

import math
from collections.abc import Mapping

LEAST = -1.0
"""Score of a clustering that has no silhouette: fewer than two clusters."""


def overall_silhouette(figures: Mapping[str, float]) -> float:
    """Return the mean silhouette over all images; outliers, which have none, count 0.

    The silhouette alone, over the clustered images, also rises when more and more of the images are
    left out, and training on what is left is how a run goes wrong without a sign.

    Args:
        figures: Of a clustering, as metrics.csv has them: ``cluster/silhouette`` (absent where
            there are fewer than two clusters) and ``cluster/outlier_ratio``.

    Returns:
        Within [-1, 1].

    >>> overall_silhouette({"cluster/silhouette": 0.5, "cluster/outlier_ratio": 0.2})
    0.4
    """
    silhouette = figures.get("cluster/silhouette", math.nan)
    return LEAST if math.isnan(silhouette) else silhouette * (1 - figures["cluster/outlier_ratio"])
