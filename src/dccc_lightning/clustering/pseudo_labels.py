"""The labels of an epoch: embeddings, a schedule and the epoch in, pseudo labels out."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dccc_lightning import checks
from dccc_lightning.clustering import quality
from dccc_lightning.clustering.algorithms import DBSCAN, ClusteringAlgorithm
from dccc_lightning.clustering.dcps import Schedule
from dccc_lightning.clustering.embeddings import Features
from dccc_lightning.clustering.jaccard import DenseGraphError, NeighborGraph, jaccard_graph
from dccc_lightning.clustering.neighbors import BACKENDS, knn
from dccc_lightning.errors import UserError

_log = logging.getLogger(__name__)

_LARGEST_DISTANCE = 0.999
"""A Jaccard distance of 1 means no common neighbour: no graph reaches that far."""


class NoClustersError(UserError):
    """No eps near the schedule gives two clusters; the caller may keep the previous labels."""


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """The clusters of an epoch, at least two.

    Attributes:
        labels: (N,) int64, clusters from 0, -1 for outliers.
        eps: Jaccard distance that was used.
        scheduled_eps: what the schedule said.
        num_clusters: number of clusters.
    """

    labels: NDArray[np.int64]
    eps: float
    scheduled_eps: float
    num_clusters: int

    @property
    def adjusted(self) -> bool:
        """Whether the scheduled eps gave less than two clusters, and a near one was taken."""
        return self.eps != self.scheduled_eps


@dataclass(frozen=True)
class PseudoLabeler:
    """Embeddings to labels: neighbours, Jaccard graph, clustering at the scheduled eps.

    Contrast needs two clusters. Where the scheduled eps gives less, eps moves in small steps: up
    when most images are outliers, down when one cluster holds most of them; then the other way.

    Attributes:
        k1: size of a neighbourhood, the image itself included; at most the number of images.
        k2: neighbours averaged in the query expansion.
        algorithm: what clusters the graph.
        backend: neighbour search, see ``neighbors.knn``.
        margin: how far eps may leave the bounds of the schedule.
        step: size of the steps.
    """

    k1: int = 30
    k2: int = 6
    algorithm: ClusteringAlgorithm = field(default_factory=DBSCAN)
    backend: str = "auto"
    margin: float = 0.05
    step: float = 0.01

    def __post_init__(self) -> None:
        checks.integer("k1", self.k1, low=1)
        checks.integer("k2", self.k2, low=1, high=self.k1)
        checks.choice("backend", self.backend, BACKENDS)
        checks.real("margin", self.margin, 0, 1, open_high=True)
        checks.real("step", self.step, 1e-4, 1)

    def __call__(self, features: Features, schedule: Schedule, epoch: int) -> PseudoLabels:
        """Cluster the embeddings of an epoch.

        Args:
            features: embeddings (N, D) of all training images, NumPy or torch.
            schedule: gives the eps of the epoch.
            epoch: from 0.

        Raises:
            ValueError: ``k1`` larger than N, or ``features`` not finite.
            NoClustersError: less than two clusters at every eps that was tried.
        """
        if self.k1 > len(features):
            raise ValueError(
                f"k1 must be at most the number of images, {len(features)}, got {self.k1}: "
                "lower clustering.k1 or add images"
            )
        scheduled = schedule(epoch)
        low, high = schedule.bounds
        top = max(high, min(high + self.margin, _LARGEST_DISTANCE))
        bottom = min(low, max(low - self.margin, self.step))
        neighbors = knn(features, self.k1, self.backend)
        try:
            graph = jaccard_graph(features, self.k1, self.k2, top, neighbors)
        except DenseGraphError as error:
            raise NoClustersError(str(error)) from error

        labels = self.algorithm.fit_predict(graph, scheduled)
        clusters = quality.num_clusters(labels)
        if clusters >= 2:
            return PseudoLabels(labels, scheduled, scheduled, clusters)
        sparse = quality.outlier_ratio(labels) > 0.5
        found = self._search(graph, scheduled, bottom, top, sparse)
        _log.warning(
            "epoch %d: eps %.4f gives less than two clusters: took %.4f, which gives %d",
            epoch, scheduled, found.eps, found.num_clusters,
        )  # fmt: skip
        return found

    def _search(
        self, graph: NeighborGraph, scheduled: float, bottom: float, top: float, sparse: bool
    ) -> PseudoLabels:
        """Take the first eps that gives two clusters, the likelier direction first."""
        up, down = self._steps(scheduled, top), self._steps(scheduled, bottom)
        for eps in (*up, *down) if sparse else (*down, *up):
            labels = self.algorithm.fit_predict(graph, eps)
            clusters = quality.num_clusters(labels)
            if clusters >= 2:
                return PseudoLabels(labels, eps, scheduled, clusters)
        found, start = ("outliers", "higher") if sparse else ("one cluster", "lower")
        raise NoClustersError(
            f"{len(graph)} images give nearly only {found} at every eps from {bottom:.3f} to "
            f"{top:.3f}: try a {start} scheduler.start, another clustering.k1 (now {self.k1}), a "
            "lower min_samples, or more images"
        )

    def _steps(self, start: float, end: float) -> Iterator[float]:
        """The values from ``start`` (left out) to ``end``, ``self.step`` apart."""
        count = int(abs(end - start) / self.step + 1e-9)
        direction = 1 if end > start else -1
        for number in range(1, count + 1):
            eps = start + direction * number * self.step
            yield min(eps, end) if direction > 0 else max(eps, end)
