"""Scores of a clustering for the log, by name."""

import numpy as np
from numpy.typing import ArrayLike

from dccc_lightning.metrics import cluster_quality
from dccc_lightning.metrics.compactness import compactness
from dccc_lightning.neighbors.embeddings import Features


def summarize(
    labels: ArrayLike,
    identities: ArrayLike | None = None,
    previous: ArrayLike | None = None,
    cameras: ArrayLike | None = None,
    features: Features | None = None,
) -> dict[str, float]:
    """Return all scores of a clustering that the given arrays allow.

    Args:
        labels: (N,) of this epoch.
        identities: (N,) true identities, -1 where unknown.
        previous: (N,) labels of the previous epoch.
        cameras: (N,) cameras, -1 where unknown.
        features: Clustered embeddings (N, D).

    Returns:
        num_clusters, outliers (a count), outlier_ratio, largest and mean_size (images per cluster,
        0 without clusters), and the clusters by size: size_1_3, size_4_7, ... size_128_up; with
        identities also ari, nmi, purity, pair_precision, pair_recall and pair_f; with previous also
        churn; with cameras also camera_entropy; with features also intra_distance, inter_distance
        and silhouette (of 1,000 images).

    >>> summarize([0, 0, 1, -1])["outlier_ratio"]
    0.25
    """
    array = np.asarray(labels)
    sizes = cluster_quality.cluster_sizes(array)
    summary = {
        "num_clusters": float(len(sizes)),
        "outliers": float(np.sum(array < 0)),
        "outlier_ratio": cluster_quality.outlier_ratio(array),
        "largest": float(sizes.max(initial=0)),
        "mean_size": float(sizes.mean()) if sizes.size else 0.0,
    }
    ends = [str(edge - 1) for edge in cluster_quality.SIZE_EDGES[1:]] + ["up"]
    for first, last, count in zip(
        cluster_quality.SIZE_EDGES, ends, cluster_quality.size_histogram(array), strict=True
    ):
        summary[f"size_{first}_{last}"] = float(count)
    if identities is not None:
        pairs = cluster_quality.pairwise_scores(array, identities)
        summary |= {
            "ari": cluster_quality.adjusted_rand_index(array, identities),
            "nmi": cluster_quality.normalized_mutual_information(array, identities),
            "purity": cluster_quality.purity(array, identities),
            "pair_precision": pairs.precision,
            "pair_recall": pairs.recall,
            "pair_f": pairs.f,
        }
    if previous is not None:
        summary["churn"] = cluster_quality.churn(array, previous)
    if cameras is not None:
        summary["camera_entropy"] = cluster_quality.camera_entropy(array, cameras)
    if features is not None:
        summary |= compactness(array, features)._asdict()
    return summary
