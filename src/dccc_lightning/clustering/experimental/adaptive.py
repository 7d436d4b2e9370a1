"""Adaptive DCPS: the eps of an epoch from the distances of that epoch.

Not in the paper, whose schedules depend on the epoch only. Every eps of a grid gets a score by one
of four criteria, and the highest score wins; of equal scores the largest eps. The choice has no
memory and no randomness, so a resumed run chooses as an uninterrupted one.

``knee``: the share of images whose ``neighbors``-th nearest image is within eps rises fast among
dense images, then slowly among sparse ones. The score is its height above the chord from eps = 0 to
``start``, both axes scaled to 1: the k-distance curve of DBSCAN (Ester et al., KDD 1996), read by
Kneedle (Satopaa et al., ICDCSW 2011) without its smoothing.

``valley``: distances within and between identities form two overlapping modes, and the density of
all stored distances has a valley between them (the mode method of thresholding, Prewitt and
Mendelsohn, 1966). The density is smoothed by a normal kernel of ``reach`` grid steps, corrected at
both ends of the stored distances. The score is the depth below the lower of the two modes, which
are the maxima between ``floor`` and eps and above eps: 0 on a slope.

``stability``: good clusters should not depend on the last digit of eps (Ben-Hur, Elisseeff and
Guyon, PSB 2002, with eps in the place of resampling). The score is the mean adjusted Rand index
between the labels at eps and those ``reach`` steps below and above, as far as the graph has
distances, with every outlier a cluster of its own; 0 for fewer than two clusters.

``largest_share``: DBSCAN joins identities through chains of images, at first into one cluster. The
score is ``share`` less the share of the images in the largest cluster, at most 0: the choice is the
largest eps at which no cluster has more than ``share`` of the images.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.clustering.algorithms import ClusteringAlgorithm
from dccc_lightning.clustering.dcps import Choice
from dccc_lightning.clustering.experimental.core_distances import core_distances
from dccc_lightning.clustering.neighbor_graph import NeighborGraph
from dccc_lightning.clustering.outliers import outliers_to_clusters
from dccc_lightning.common import checks, ranges
from dccc_lightning.metrics import cluster_quality

Floats = NDArray[np.float64]

_BINS = 20
"""Bins of the histogram per step of the grid."""

_ROUNDING = 1e-9
"""Bound on the rounding error of a sum of steps."""


@dataclass(frozen=True)
class AdaptiveSchedule:
    """Schedule that chooses eps between ``floor`` and ``start`` by a criterion of this module.

    Attributes:
        start: Largest eps; also the eps without distances.
        floor: Smallest eps.
        criterion: One of ``ranges.CRITERIA``.
        step: Approximate difference between candidates; the grid includes both ends.
        neighbors: Rank of the nearest image for ``knee``, the image itself being 1. With the
            ``min_samples`` of DBSCAN it is an image of the same camera, and eps is too small.
        reach: Steps around a candidate for ``valley`` and ``stability``, at most from 0 to
            ``start``.
        share: Largest share of the images in a cluster, for ``largest_share``.
    """

    start: float = 0.7
    floor: float = 0.399
    criterion: str = "knee"
    step: float = 0.01
    neighbors: int = 10
    reach: int = 3
    share: float = 0.1

    def __post_init__(self) -> None:
        ranges.adaptive_schedule(**asdict(self))

    def __call__(self, epoch: int) -> float:
        """Return ``start``, the eps without a graph."""
        checks.integer("epoch", epoch, low=0)
        return float(self.start)

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest eps."""
        return float(self.floor), float(self.start)

    def choose(self, graph: NeighborGraph, algorithm: ClusteringAlgorithm, epoch: int) -> Choice:
        """Return the best candidate for the distances of an epoch.

        Args:
            graph: Distances of the epoch, at least up to ``start``.
            algorithm: Clustering algorithm; used by ``stability`` and ``largest_share``.
            epoch: From 0; without influence.
        """
        checks.integer("epoch", epoch, low=0)
        candidates = self._grid
        scores = CRITERIA[self.criterion](self, graph, algorithm)
        best = len(scores) - 1 - int(np.argmax(scores[::-1]))
        return Choice(
            float(candidates[best]), self.criterion, tuple(candidates.tolist()),
            tuple(scores.tolist()),
        )  # fmt: skip

    @property
    def _grid(self) -> Floats:
        count = round((self.start - self.floor) / self.step) + 1
        return np.linspace(self.floor, self.start, max(count, 2 if self.floor < self.start else 1))


def _knee(schedule: AdaptiveSchedule, graph: NeighborGraph, _: ClusteringAlgorithm) -> Floats:
    """Return the height of the share of images with neighbours above its chord."""
    grid = schedule._grid
    distances = np.sort(core_distances(graph, schedule.neighbors))
    # In float32, as DBSCAN compares.
    ends = np.array([0.0, schedule.start], dtype=np.float32)
    low, high = np.searchsorted(distances, ends, side="right")
    if 2 * (high - low) < len(distances) - low:  # fewer than half of those above 0
        return np.zeros(len(grid))
    shares = np.searchsorted(distances, grid.astype(np.float32), side="right")
    return np.asarray((shares - low) / max(high - low, 1) - grid / schedule.start)


def _valley(schedule: AdaptiveSchedule, graph: NeighborGraph, _: ClusteringAlgorithm) -> Floats:
    """Return the depth of the smoothed density of the distances below both modes."""
    grid, width = schedule._grid, schedule.step / _BINS
    beyond = np.arange(grid[-1], graph.max_distance, schedule.step)
    places = np.concatenate([grid, beyond])
    edges = np.linspace(0, graph.max_distance, max(2, round(graph.max_distance / width) + 1))
    counts, _edges = np.histogram(graph.distances.data, edges)
    counts[0] -= len(graph)  # an image's distance from itself
    middles = (edges[1:] + edges[:-1]) / 2
    kernel = np.exp(-(((places[:, None] - middles) / (schedule.reach * schedule.step)) ** 2) / 2)
    mass = max(counts.sum(), 1) * (edges[1] - edges[0])
    density = kernel @ counts / (kernel.sum(axis=1) * mass)
    left = np.maximum.accumulate(density)
    right = np.maximum.accumulate(density[::-1])[::-1]
    return np.asarray((np.minimum(left, right) - density)[: len(grid)])


def _stability(
    schedule: AdaptiveSchedule, graph: NeighborGraph, algorithm: ClusteringAlgorithm
) -> Floats:
    """Return the agreement of the labels at each eps with those slightly below and above."""
    grid, reach = schedule._grid, schedule.reach
    step = grid[1] - grid[0] if len(grid) > 1 else schedule.step
    around = schedule.floor + step * np.arange(-reach, len(grid) + reach)
    known = (around > _ROUNDING) & (around <= graph.max_distance + _ROUNDING)
    around = np.clip(around, min(step, schedule.floor, around[known].min()), graph.max_distance)
    labels = [algorithm.fit_predict(graph, float(eps)) for eps in around]
    every = [outliers_to_clusters(found) for found in labels]
    pairs = zip(every, every[reach:], strict=False)
    agreement = np.array([cluster_quality.adjusted_rand_index(*pair) for pair in pairs])
    some = np.array([cluster_quality.num_clusters(found) >= 2 for found in labels[reach:-reach]])
    below, above = known[: -2 * reach].astype(int), known[2 * reach :].astype(int)
    sums = agreement[:-reach] * below + agreement[reach:] * above
    return np.asarray(np.where(some, sums / np.maximum(below + above, 1), 0.0))


def _largest_share(
    schedule: AdaptiveSchedule, graph: NeighborGraph, algorithm: ClusteringAlgorithm
) -> Floats:
    """Return ``share`` less the share of the largest cluster at each eps, at most 0."""
    labels = [algorithm.fit_predict(graph, float(eps)) for eps in schedule._grid]
    largest = [cluster_quality.cluster_sizes(found).max(initial=0) for found in labels]
    return np.minimum(schedule.share - np.array(largest) / len(graph), 0.0)


CRITERIA: dict[str, Callable[[AdaptiveSchedule, NeighborGraph, ClusteringAlgorithm], Floats]] = {
    "knee": _knee,
    "valley": _valley,
    "stability": _stability,
    "largest_share": _largest_share,
}
"""Scores by ``criterion``."""
