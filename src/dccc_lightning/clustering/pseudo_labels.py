"""The labels of an epoch: embeddings, a schedule and the epoch in, pseudo labels out."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dccc_lightning.clustering import outliers
from dccc_lightning.clustering.algorithms import DBSCAN, ClusteringAlgorithm
from dccc_lightning.clustering.dcps import Choice, GraphSchedule, Schedule
from dccc_lightning.clustering.experimental import refinement
from dccc_lightning.clustering.experimental.attachment import attach
from dccc_lightning.clustering.experimental.camera_penalty import penalize
from dccc_lightning.clustering.experimental.proxies import LinkedProxies, camera_graph
from dccc_lightning.clustering.jaccard import DenseGraphError, NeighborGraph, jaccard_graph
from dccc_lightning.common import ranges
from dccc_lightning.errors import UserError
from dccc_lightning.metrics import cluster_quality
from dccc_lightning.neighbors.camera_normalization import checked_cameras, normalized_by_camera
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings
from dccc_lightning.neighbors.nearest import knn

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
        attached: outliers that were put into the nearest cluster.
        refined: labels that the neighbourhoods did not bear out, and that were taken back.
        choice: how a schedule that looks at the distances came to ``scheduled_eps``.
    """

    labels: NDArray[np.int64]
    eps: float
    scheduled_eps: float
    num_clusters: int
    attached: int = 0
    refined: int = 0
    choice: Choice | None = None

    @property
    def adjusted(self) -> bool:
        """Whether the scheduled eps gave less than two clusters, and a near one was taken."""
        return self.eps != self.scheduled_eps


@dataclass(frozen=True)
class PseudoLabeler:
    """Embeddings to labels: neighbours, Jaccard graph, clustering at the scheduled eps.

    The paper's road is the default; cameras, outliers and refinement leave it where they are set.

    Contrast needs two clusters. Where the scheduled eps gives less, eps moves in small steps: up
    when most images are outliers, down when one cluster holds most of them; then the other way.

    Attributes:
        k1: size of a neighbourhood, the image itself included; at most the number of images.
        k2: neighbours averaged in the query expansion.
        algorithm: what clusters the graph.
        backend: neighbour search, see ``neighbors.knn``.
        margin: how far eps may leave the bounds of the schedule.
        step: size of the steps.
        camera: what is done about cameras, one of ``ranges.CAMERA_MODES``.
        penalty: added to the distances within a camera, with ``camera="penalty"``.
        outliers: what becomes of outliers, one of ``ranges.OUTLIERS``. Single centroids are the
            memory's: here such an image stays an outlier.
        attach_within: how close is close enough, see ``attach``.
        refine: the least agreement with which a label is kept, see ``refinement``; 0 keeps all.
        refine_neighbors: how many neighbours have to agree.
        features: whose embeddings the caller should pass, one of ``ranges.FEATURES``.
    """

    k1: int = 30
    k2: int = 6
    algorithm: ClusteringAlgorithm = field(default_factory=DBSCAN)
    backend: str = "auto"
    margin: float = 0.05
    step: float = 0.01
    camera: str = "none"
    penalty: float = 0.1
    outliers: str = "drop"
    attach_within: float = 1.3
    refine: float = 0.0
    refine_neighbors: int = 10
    features: str = "student"

    def __post_init__(self) -> None:
        ranges.labeler(**{item.name: getattr(self, item.name) for item in fields(self)})

    def __call__(
        self,
        features: Features,
        schedule: Schedule,
        epoch: int,
        cameras: ArrayLike | None = None,
        views: Sequence[Features] = (),
    ) -> PseudoLabels:
        """Cluster the embeddings of an epoch.

        Args:
            features: embeddings (N, D) of all training images, NumPy or torch.
            schedule: gives the eps of the epoch; a ``GraphSchedule`` is shown the distances first.
            epoch: from 0.
            cameras: (N,) of the images, -1 for an unknown one; of use with ``camera`` alone.
            views: embeddings (N, D) by several networks, whose neighbourhoods ``refine`` asks.

        Raises:
            ValueError: ``k1`` larger than N, ``features`` not finite, or no cameras or views where
                a setting needs them.
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
        points = self._points(features, cameras)
        try:
            graph, algorithm = self._graph(points, cameras, top)
        except DenseGraphError as error:
            raise NoClustersError(str(error)) from error

        choice = None
        if isinstance(schedule, GraphSchedule):
            choice = schedule.choose(graph, algorithm, epoch)
            scheduled = choice.eps
        labels = algorithm.fit_predict(graph, scheduled)
        found = PseudoLabels(labels, scheduled, scheduled, cluster_quality.num_clusters(labels))
        if found.num_clusters < 2:
            sparse = cluster_quality.outlier_ratio(labels) > 0.5
            found = self._search(graph, algorithm, scheduled, bottom, top, sparse)
            _log.warning(
                "epoch %d: eps %.4f gives less than two clusters: took %.4f, which gives %d",
                epoch, scheduled, found.eps, found.num_clusters,
            )  # fmt: skip
        adapted = [points if view is features else self._points(view, cameras) for view in views]
        return self._reconsidered(replace(found, choice=choice), points, adapted, epoch)

    def distances(
        self, features: Features, cameras: ArrayLike | None, reach: float
    ) -> NeighborGraph:
        """Return the distances up to ``reach`` that are clustered; arguments as in a call."""
        return self._graph(self._points(features, cameras), cameras, reach)[0]

    def _points(self, features: Features, cameras: ArrayLike | None) -> UnitEmbeddings:
        """Return the embeddings whose neighbours are searched."""
        return normalized_by_camera(UnitEmbeddings.of(features), cameras, self.camera)

    def _graph(
        self, points: UnitEmbeddings, cameras: ArrayLike | None, top: float
    ) -> tuple[NeighborGraph, ClusteringAlgorithm]:
        """Return the distances up to ``top`` and the algorithm for them."""
        if self.camera == "proxies":
            known = checked_cameras(cameras, len(points))
            graph = camera_graph(points, known, self.k1, self.k2, top, self.backend)
            return graph, LinkedProxies(self.algorithm, points, self.k1, self.k2, self.backend)
        neighbors = knn(points, self.k1, self.backend)
        graph = jaccard_graph(points, self.k1, self.k2, top, neighbors)
        if self.camera == "penalty":
            graph = penalize(graph, cameras, self.penalty)
        return graph, self.algorithm

    def _reconsidered(
        self,
        found: PseudoLabels,
        points: UnitEmbeddings,
        views: Sequence[UnitEmbeddings],
        epoch: int,
    ) -> PseudoLabels:
        """Take outliers in and doubtful labels back, in this order, where the settings say so."""
        labels, attached, refined = found.labels, 0, 0
        if self.outliers == "attach":
            labels = attach(labels, points, self.attach_within)
            attached = int(np.sum(labels != found.labels))
        if self.refine > 0:
            if not views:
                raise ValueError("refine needs views: embeddings of student and teacher")
            kept = refinement.refine(
                labels, views, self.refine, self.refine_neighbors, self.backend
            )
            if cluster_quality.num_clusters(kept) >= 2:
                refined = int(np.sum(kept != labels))
                labels = outliers.renumbered(kept)
            else:
                _log.warning("epoch %d: refinement would leave no two clusters: left out", epoch)
        clusters = cluster_quality.num_clusters(labels)
        return replace(
            found, labels=labels, num_clusters=clusters, attached=attached, refined=refined
        )

    def _search(
        self,
        graph: NeighborGraph,
        algorithm: ClusteringAlgorithm,
        scheduled: float,
        bottom: float,
        top: float,
        sparse: bool,
    ) -> PseudoLabels:
        """Take the first eps that gives two clusters, the likelier direction first."""
        up, down = self._steps(scheduled, top), self._steps(scheduled, bottom)
        for eps in (*up, *down) if sparse else (*down, *up):
            labels = algorithm.fit_predict(graph, eps)
            clusters = cluster_quality.num_clusters(labels)
            if clusters >= 2:
                return PseudoLabels(labels, eps, scheduled, clusters)
        found, start = ("outliers", "higher") if sparse else ("one cluster", "lower")
        penalized = sparse and self.camera == "penalty"
        less = f"a lower clustering.penalty (now {self.penalty}), " if penalized else ""
        raise NoClustersError(
            f"{len(graph)} images give nearly only {found} at every eps from {bottom:.3f} to "
            f"{top:.3f}: try {less}a {start} scheduler.start, another clustering.k1 (now "
            f"{self.k1}), a lower min_samples, or more images"
        )

    def _steps(self, start: float, end: float) -> Iterator[float]:
        """Return the values after ``start`` up to ``end``, at distances of ``self.step``."""
        count = int(abs(end - start) / self.step + 1e-9)
        direction = 1 if end > start else -1
        for number in range(1, count + 1):
            eps = start + direction * number * self.step
            yield min(eps, end) if direction > 0 else max(eps, end)
