"""Adaptive DCPS: the eps of an epoch from the distances of that epoch instead of from the clock.

Not in the paper, whose schedules follow the clock though the idea is that clustering should follow
the feature distribution. Every eps of a grid gets a score by one of three criteria, and the highest
score wins. Nothing is remembered from epoch to epoch and nothing is drawn, so a resumed run chooses
as an uninterrupted one.

``knee``: the share of images whose ``neighbors``-th nearest image is within eps rises fast as eps
reaches the dense images, then slowly among the sparse ones. The score is its height above the chord
from eps = 0 to ``start``, both axes scaled to 1: the k-distance curve of DBSCAN (Ester et al., KDD
1996), read by Kneedle (Satopaa et al., ICDCSW 2011) without its smoothing.

``valley``: distances within a person and between persons are two overlapping hills, and the density
of all distances that the graph stores has a valley between them (the mode method of thresholding,
Prewitt and Mendelsohn, 1966). The density is smoothed by a normal kernel of ``reach`` grid steps,
corrected at both ends of what the graph knows. The score is how far it has fallen below the lower
of the two hills, the highest places between ``floor`` and eps and beyond eps: 0 on a slope.

``stability``: clusters that persons make should not hinge on the last digit of eps (the stability
of Ben-Hur, Elisseeff and Guyon, PSB 2002, with eps in the place of resampling). The score is the
mean adjusted Rand index of the labels at eps with those ``reach`` steps below and, as far as the
graph knows, above, every outlier being a cluster of its own; 0 where there are not two clusters,
which is stable indeed.

Of equal scores the largest eps wins: without a valley, ``start``.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.clustering.algorithms import ClusteringAlgorithm
from dccc_lightning.clustering.dcps import Choice
from dccc_lightning.clustering.experimental.core_distances import core_distances
from dccc_lightning.clustering.jaccard import NeighborGraph
from dccc_lightning.clustering.outliers import as_singles
from dccc_lightning.common import checks, ranges
from dccc_lightning.metrics import cluster_quality

Floats = NDArray[np.float64]

_BINS = 20
"""Bins of the histogram to a step of the grid."""

_ROUNDING = 1e-9
"""Of sums of steps."""


@dataclass(frozen=True)
class AdaptiveSchedule:
    """Choose eps between ``floor`` and ``start`` by a criterion; see the module for each.

    Attributes:
        start: the largest eps; also what is said without any distances to look at.
        floor: the smallest.
        criterion: one of ``ranges.CRITERIA``.
        step: between two candidates, about: the grid has both ends.
        neighbors: of ``knee``: which nearest image, the image itself counted as the first. With the
            ``min_samples`` of DBSCAN it is a neighbour of the same camera, and eps is too small.
        reach: of ``valley`` and ``stability``, in steps; no further than from 0 to ``start``.
    """

    start: float = 0.7
    floor: float = 0.399
    criterion: str = "knee"
    step: float = 0.01
    neighbors: int = 10
    reach: int = 3

    def __post_init__(self) -> None:
        ranges.adaptive_schedule(**asdict(self))

    def __call__(self, epoch: int) -> float:
        """Return ``start``: what holds where there is no graph."""
        checks.integer("epoch", epoch, low=0)
        return float(self.start)

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest eps."""
        return float(self.floor), float(self.start)

    def choose(self, graph: NeighborGraph, algorithm: ClusteringAlgorithm, epoch: int) -> Choice:
        """Score every candidate.

        Args:
            graph: distances of the epoch, at least up to ``start``.
            algorithm: what will cluster it; asked by ``stability`` alone.
            epoch: from 0; without influence.
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
    if 2 * (high - low) < len(distances) - low:  # of those not at 0, too few
        return np.zeros(len(grid))
    shares = np.searchsorted(distances, grid.astype(np.float32), side="right")
    return np.asarray((shares - low) / max(high - low, 1) - grid / schedule.start)


def _valley(schedule: AdaptiveSchedule, graph: NeighborGraph, _: ClusteringAlgorithm) -> Floats:
    """How far the smoothed density of the distances has fallen below the hills around it."""
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
    every = [as_singles(found) for found in labels]
    pairs = zip(every, every[reach:], strict=False)
    agreement = np.array([cluster_quality.adjusted_rand_index(*pair) for pair in pairs])
    some = np.array([cluster_quality.num_clusters(found) >= 2 for found in labels[reach:-reach]])
    below, above = known[: -2 * reach].astype(int), known[2 * reach :].astype(int)
    sums = agreement[:-reach] * below + agreement[reach:] * above
    return np.asarray(np.where(some, sums / np.maximum(below + above, 1), 0.0))


CRITERIA: dict[str, Callable[[AdaptiveSchedule, NeighborGraph, ClusteringAlgorithm], Floats]] = {
    "knee": _knee,
    "valley": _valley,
    "stability": _stability,
}
"""What ``criterion`` may be."""
