"""Identification: images into individuals, by a threshold whose origin is known."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dccc_lightning.clustering.average_linkage import Ints, average_linkage
from dccc_lightning.clustering.constraints import NONE_APART, Apart
from dccc_lightning.clustering.jaccard import jaccard_graph
from dccc_lightning.common import score_ranges
from dccc_lightning.gallery.cross_camera_pairs import count_pairs
from dccc_lightning.identities.cosine_linkage import cosine_linkage
from dccc_lightning.identities.tracklet_means import tracklet_points
from dccc_lightning.neighbors.camera_normalization import normalize_by_camera
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings
from dccc_lightning.neighbors.nearest import knn


@dataclass(frozen=True)
class Identifier:
    """Identification by average linkage.

    Attributes:
        threshold: Largest mean Jaccard distance, in (0, ``score_ranges.LARGEST_MEAN``], or lowest
            mean cosine, of two groups of images that become one identity. A mean of exactly
            ``threshold`` joins.
        distance: "jaccard" or "cosine".
        k1: Size of a neighbourhood, the image itself included; at most all images are used. With
            tracklets, both numbers count tracklets.
        k2: Neighbours averaged in the query expansion.
        camera: Treatment of cameras, "none", "center" or "whiten"; "none" for the cosine.
        backend: Neighbour search, see ``neighbors.knn``.
    """

    threshold: float = 0.7
    distance: str = "jaccard"
    k1: int = 20
    k2: int = 6
    camera: str = "none"
    backend: str = "auto"

    def __post_init__(self) -> None:
        score_ranges.identifier(**asdict(self))

    def __call__(
        self,
        features: Features,
        cameras: ArrayLike | None = None,
        start: Ints | None = None,
        apart: Apart = NONE_APART,
        tracklets: Ints | None = None,
    ) -> NDArray[np.int64]:
        """Return the identities (N,), numbered by their first image; none is an outlier.

        With Jaccard distances, tracklets are compared by the means of their embeddings, after the
        treatment of cameras; with cosines, the mean of all pairs is that of their means. Those of
        images that turn are compared by their means over all turns, since they turn within one.

        Args:
            features: Embeddings (N, D).
            cameras: (N,) cameras, -1 where unknown; needed unless ``camera="none"``.
            start: (N,) first image of the group of each image, for groups that are never split.
            apart: Groups of ``start`` that are never joined.
            tracklets: (N,) first image of the tracklet of each image, itself without a tracklet;
                each lies within a group of ``start``. None if there are no tracklets.
        """
        unit = UnitEmbeddings.of(features)
        if self.distance == "cosine":
            if unit.turned is not None:
                raise ValueError(score_ranges.ONE_COSINE)
            return cosine_linkage(unit, self.threshold, start, apart)
        points = normalize_by_camera(unit, cameras, self.camera)
        if tracklets is None:
            return self._linked(points, start, apart)
        own = tracklet_points(points, tracklets, tracklets if start is None else start, apart)
        return self._linked(own.points, own.start, own.apart)[own.of_image]

    def _linked(
        self, points: UnitEmbeddings, start: Ints | None, apart: Apart
    ) -> NDArray[np.int64]:
        k1, largest = min(self.k1, len(points)), score_ranges.LARGEST_MEAN
        neighbors = knn(points, k1, self.backend)
        graph = jaccard_graph(points, k1, min(self.k2, k1), largest, neighbors)
        return average_linkage(graph, self.threshold, start, apart)


def between_cameras(cameras: ArrayLike, sightings: ArrayLike) -> int:
    """Return the number of pairs of images of different cameras and sightings.

    -1 differs from all.

    >>> between_cameras([0, 0, 1, -1], [-1] * 4), between_cameras([0, 0, 1, -1], [3, 4, 4, 3])
    (5, 3)
    """
    views = np.asarray(cameras), np.asarray(sightings)
    return count_pairs(np.zeros(len(views[0]), dtype=np.int64), *views).genuine
