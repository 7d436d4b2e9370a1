"""Pseudo labels of an epoch from embeddings and a schedule."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from dccc_lightning.clustering import outliers
from dccc_lightning.clustering.algorithms import DBSCAN, ClusteringAlgorithm
from dccc_lightning.clustering.ca_jaccard import ca_jaccard_graph
from dccc_lightning.clustering.constrained import constrained
from dccc_lightning.clustering.constraints import Constraints
from dccc_lightning.clustering.dcps import Choice, GraphSchedule, Schedule
from dccc_lightning.clustering.experimental import refinement
from dccc_lightning.clustering.experimental.attachment import attach
from dccc_lightning.clustering.experimental.camera_penalty import penalize
from dccc_lightning.clustering.experimental.proxies import LinkedProxies, camera_graph
from dccc_lightning.clustering.jaccard import DenseGraphError, jaccard_graph
from dccc_lightning.clustering.neighbor_graph import NeighborGraph
from dccc_lightning.common import ranges
from dccc_lightning.errors import UserError
from dccc_lightning.metrics import cluster_quality
from dccc_lightning.neighbors.camera_normalization import check_cameras, normalize_by_camera
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings
from dccc_lightning.neighbors.nearest import knn

_log = logging.getLogger(__name__)

ONE_EMBEDDING = ("proxies", "ca_jaccard")
"""Treatments of cameras that cannot compare the turns of an image aligned."""

NOT_ALIGNED = (
    "compares one embedding an image: choose embedding.match=mean, or another treatment of cameras"
)

_LARGEST_DISTANCE = 0.999
"""Largest ``max_distance`` of a graph; a distance of 1 means no common neighbour."""

_FIRST_K2 = (3, 3)
"""``k2_intra`` and ``k2_inter`` of epoch 0, whose embeddings are not yet trained, as published."""


class NoClustersError(UserError):
    """No eps near the schedule gives two clusters; callers may keep the previous labels."""


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """Clusters of an epoch, at least two.

    Attributes:
        labels: (N,) int64, clusters from 0, -1 for outliers.
        eps: eps of the clustering, a Jaccard distance.
        scheduled_eps: eps of the schedule.
        num_clusters: Number of clusters.
        attached: Number of outliers attached to the nearest cluster.
        refined: Number of labels removed by the refinement.
        choice: Scores of ``scheduled_eps``, if a ``GraphSchedule`` chose it.
        neighbors: (N, N) distances up to ``neighbors_within``, if that was given.
    """

    labels: NDArray[np.int64]
    eps: float
    scheduled_eps: float
    num_clusters: int
    attached: int = 0
    refined: int = 0
    choice: Choice | None = None
    neighbors: csr_matrix | None = None

    @property
    def adjusted(self) -> bool:
        """True if the scheduled eps gave fewer than two clusters and another one was used."""
        return self.eps != self.scheduled_eps


@dataclass(frozen=True)
class PseudoLabeler:
    """Clustering of embeddings: neighbours, Jaccard graph, clusters at the scheduled eps.

    The defaults are the paper's method; cameras, outliers and refinement are additions.

    The loss needs two clusters. Where the scheduled eps gives fewer, eps moves in small steps: up
    if most images are outliers, down if most are in one cluster; then in the other direction.

    Attributes:
        k1: Size of a neighbourhood, the image itself included; at most the number of images.
        k2: Neighbours averaged in the query expansion.
        algorithm: Clustering algorithm of the graph.
        backend: Neighbour search, see ``neighbors.knn``.
        margin: Largest distance of eps from the bounds of the schedule.
        step: Size of the steps of eps.
        camera: Handling of cameras, one of ``ranges.CAMERA_MODES``.
        penalty: Addition to the distances within a camera, with ``camera="penalty"``.
        k1_intra: Neighbours within the camera, with ``camera="ca_jaccard"``, instead of ``k1``.
        k1_inter: Neighbours of other cameras.
        k2_intra: Images of the camera in the query expansion, instead of ``k2``; 3 in epoch 0.
        k2_inter: Images of other cameras in it; 3 in epoch 0.
        outliers: Handling of outliers, one of ``ranges.OUTLIERS``. With "single" they stay outliers
            here, and the memory gives each a centroid.
        attach_within: Largest relative distance of an attached outlier, see ``attach``.
        refine: Least agreement of the neighbours with a label, see ``refine``; 0 keeps all labels.
        refine_neighbors: Number of these neighbours.
        features: Network whose embeddings to pass, one of ``ranges.FEATURES``.
        constraints: Source of the constraints to pass, see ``constraint_file.constraints_of``.
    """

    k1: int = 30
    k2: int = 6
    algorithm: ClusteringAlgorithm = field(default_factory=DBSCAN)
    backend: str = "auto"
    margin: float = 0.05
    step: float = 0.01
    camera: str = "none"
    penalty: float = 0.1
    k1_intra: int = 5
    k1_inter: int = 20
    k2_intra: int = 2
    k2_inter: int = 4
    outliers: str = "drop"
    attach_within: float = 1.3
    refine: float = 0.0
    refine_neighbors: int = 10
    features: str = "student"
    constraints: str | list[str] | None = None

    def __post_init__(self) -> None:
        ranges.labeler(**{item.name: getattr(self, item.name) for item in fields(self)})

    def __call__(
        self,
        features: Features,
        schedule: Schedule,
        epoch: int,
        cameras: ArrayLike | None = None,
        views: Sequence[Features] = (),
        constraints: Constraints | None = None,
        neighbors_within: float | None = None,
    ) -> PseudoLabels:
        """Cluster the embeddings of an epoch.

        Args:
            features: Embeddings (N, D) of all training images; with ``turned`` they are compared
                aligned.
            schedule: Schedule of eps; a ``GraphSchedule`` chooses it from the distances.
            epoch: From 0.
            cameras: (N,) cameras, -1 where unknown; needed unless ``camera="none"``.
            views: Embeddings (N, D) by several networks; needed for ``refine``.
            constraints: Of the images; applied last, see ``constrained``.
            neighbors_within: Largest distance of the neighbours to return; None returns none.

        Raises:
            ValueError: Neighbourhoods are larger than N, ``features`` is not finite, or cameras or
                views are missing.
            NoClustersError: Fewer than two clusters at every eps tried.
        """
        ranges.images_of_neighborhoods(len(features), vars(self))
        scheduled = schedule(epoch)
        low, high = schedule.bounds
        top = max(high, min(high + self.margin, _LARGEST_DISTANCE))
        bottom = min(low, max(low - self.margin, self.step))
        points = self._points(features, cameras)
        try:
            reach = max(top, neighbors_within or 0)
            graph, algorithm = self._graph(points, cameras, reach, epoch)
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
                "epoch %d: eps %.4f gives fewer than two clusters; used %.4f, which gives %d",
                epoch, scheduled, found.eps, found.num_clusters,
            )  # fmt: skip
        adapted = [points if view is features else self._points(view, cameras) for view in views]
        near = None if neighbors_within is None else graph.up_to(neighbors_within)
        found = replace(found, choice=choice, neighbors=near)
        found = self._corrected(found, points, adapted, epoch)
        if constraints is None:
            return found
        labels = constrained(found.labels, graph, constraints)
        if (clusters := cluster_quality.num_clusters(labels)) < 2:
            raise NoClustersError("the constraints leave fewer than two clusters: check them")
        return replace(found, labels=labels, num_clusters=clusters)

    def distances(
        self, features: Features, cameras: ArrayLike | None, reach: float, epoch: int
    ) -> NeighborGraph:
        """Return the graph up to the distance ``reach``; arguments as in a call."""
        return self._graph(self._points(features, cameras), cameras, reach, epoch)[0]

    def _points(self, features: Features, cameras: ArrayLike | None) -> UnitEmbeddings:
        """Return the embeddings to search, normalised by camera."""
        return normalize_by_camera(UnitEmbeddings.of(features), cameras, self.camera)

    def _graph(
        self, points: UnitEmbeddings, cameras: ArrayLike | None, top: float, epoch: int
    ) -> tuple[NeighborGraph, ClusteringAlgorithm]:
        """Return the distances up to ``top`` and the algorithm for them."""
        if points.turned is not None and self.camera in ONE_EMBEDDING:
            raise ValueError(f"camera={self.camera} {NOT_ALIGNED}")
        if self.camera == "proxies":
            known = check_cameras(cameras, len(points))
            graph = camera_graph(points, known, self.k1, self.k2, top, self.backend)
            return graph, LinkedProxies(self.algorithm, points, self.k1, self.k2, self.backend)
        if self.camera == "ca_jaccard":
            averaged = _FIRST_K2 if epoch == 0 else (self.k2_intra, self.k2_inter)
            known = check_cameras(cameras, len(points))
            graph = ca_jaccard_graph(
                points, known, self.k1_intra, self.k1_inter, *averaged, max_distance=top
            )
            return graph, self.algorithm
        neighbors = knn(points, self.k1, self.backend)
        graph = jaccard_graph(points, self.k1, self.k2, top, neighbors)
        if self.camera == "penalty":
            graph = penalize(graph, cameras, self.penalty)
        return graph, self.algorithm

    def _corrected(
        self,
        found: PseudoLabels,
        points: UnitEmbeddings,
        views: Sequence[UnitEmbeddings],
        epoch: int,
    ) -> PseudoLabels:
        """Attach outliers, then refine labels, as configured."""
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
                labels = outliers.number_without_gaps(kept)
            else:
                _log.warning(
                    "epoch %d: refinement would leave fewer than two clusters; skipped", epoch
                )
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
        """Return the clusters of the first eps with at least two, the likelier direction first."""
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
