"""Pseudo labels before any training: ways of comparing, k1 and rules for eps against identities."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dccc_lightning import DBSCAN, jaccard_graph, knn
from dccc_lightning.clustering.dcps import FixedSchedule
from dccc_lightning.clustering.experimental.adaptive import AdaptiveSchedule
from dccc_lightning.clustering.outliers import outliers_to_clusters
from dccc_lightning.metrics.cluster_quality import adjusted_rand_index

K2 = 6
REACH = 0.8
GRID = np.linspace(0.3, 0.75, 10)
"""Every eps of which the best by the identities is shown, as a ceiling."""

EPS = 0.6
SAMPLES = (60, 120, 250, 500, 1000)
SAMPLE_K1 = (6, 10, 15, 20, 30, 60)
DRAWN = 3
"""Samples of each size."""

RULES = {
    "0.70": FixedSchedule(0.7),
    "0.55": FixedSchedule(0.55),
    "largest share 10 %": AdaptiveSchedule(criterion="largest_share"),
}
"""Choices of eps without identities."""


class Found(NamedTuple):
    """Labels of one setting: agreement with the identities, the largest cluster's share."""

    way: str
    k1: int
    rule: str
    eps: float
    ari: float
    largest: float


def label_rows(
    turned: Tensor, identities: Sequence[str], sizes: Sequence[int], min_samples: int
) -> list[dict[str, Any]]:
    """Cluster images (N, 4, D) by every way of comparing, k1 and rule."""
    truth = np.unique(identities, return_inverse=True)[1]
    mean = F.normalize(turned.mean(dim=1), dim=1).numpy()
    ways = {"plain": turned[:, 0].numpy(), "mean": mean, "aligned": turned.numpy()}
    algorithm, found = DBSCAN(min_samples), []
    for way, features in ways.items():
        for k1 in sizes:
            graph = jaccard_graph(mean, k1, min(K2, k1), REACH, knn(features, k1))
            for rule, schedule in RULES.items():
                eps = schedule(0)
                if isinstance(schedule, AdaptiveSchedule):
                    eps = schedule.choose(graph, algorithm, 0).eps
                found.append(_found(way, k1, rule, eps, algorithm.fit_predict(graph, eps), truth))
            tried = [
                _found(way, k1, "best", eps, algorithm.fit_predict(graph, eps), truth)
                for eps in GRID
            ]
            found.append(max(tried, key=lambda row: row.ari))
    return [row._asdict() for row in found]


def _found(
    way: str, k1: int, rule: str, eps: float, labels: NDArray[np.int64], truth: NDArray[np.int64]
) -> Found:
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    return Found(way, k1, rule, float(eps), _ari(labels, truth), float(sizes.max() / len(labels)))


def _ari(labels: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Return the agreement over all images; every outlier is a cluster of its own."""
    return float(adjusted_rand_index(outliers_to_clusters(labels), truth))


def sample_rows(turned: Tensor, identities: Sequence[str], min_samples: int) -> list[list[float]]:
    """Cluster samples of images, upright: size, k1, agreement at ``EPS`` and at the best eps."""
    truth = np.unique(identities, return_inverse=True)[1]
    features, algorithm = turned[:, 0].numpy(), DBSCAN(min_samples)
    rows = []
    for size in (size for size in SAMPLES if size <= len(features)):
        for k1 in (k1 for k1 in SAMPLE_K1 if k1 <= size // 2):
            scores = []
            for number in range(DRAWN):
                drawn = np.random.default_rng(number).permutation(len(features))[:size]
                points = features[drawn]
                graph = jaccard_graph(points, k1, min(K2, k1), REACH, knn(points, k1))
                at = [_ari(algorithm.fit_predict(graph, eps), truth[drawn]) for eps in (EPS, *GRID)]
                scores.append((at[0], max(at)))
            rows.append([size, k1, *np.mean(scores, axis=0).tolist()])
    return rows
