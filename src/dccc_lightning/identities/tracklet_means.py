"""Tracklets as points: one mean embedding each, so that neighbours are other tracklets.

The images of a tracklet are near-duplicates, which would fill each other's neighbourhoods, and they
are of one individual anyway. Their mean is steadier than any of them.
"""

from typing import NamedTuple

import numpy as np

from dccc_lightning.clustering.constraints import Apart, Ints
from dccc_lightning.neighbors.embeddings import UnitEmbeddings

_CANCELLED = 1e-6
"""Length of a mean below which it is rounding error: its first image stands for the tracklet."""


class TrackletPoints(NamedTuple):
    """Points of a clustering of tracklets.

    Attributes:
        points: (T, D) mean embeddings, in the order of the first images.
        of_image: (N,) tracklet of each image.
        start: (T,) first tracklet of the group of each tracklet.
        apart: Groups that are never joined.
    """

    points: UnitEmbeddings
    of_image: Ints
    start: Ints
    apart: Apart


def tracklet_points(
    unit: UnitEmbeddings, tracklets: Ints, start: Ints, apart: Apart
) -> TrackletPoints:
    """Average the embeddings of each tracklet.

    Args:
        unit: Embeddings (N, D).
        tracklets: (N,) first image of the tracklet of each image, itself without a tracklet.
        start: (N,) first image of the group of each image; tracklets lie within groups.
        apart: Groups that are never joined.
    """
    first, of_image = np.unique(tracklets, return_inverse=True)
    images = np.bincount(of_image)
    rows = unit.rows[np.argsort(of_image, kind="stable")].astype(np.float64)
    means = np.add.reduceat(rows, np.cumsum(images) - images) / images[:, None]
    cancelled = np.linalg.norm(means, axis=1) < _CANCELLED
    means[cancelled] = unit.rows[first[cancelled]]
    points = UnitEmbeddings(UnitEmbeddings.of(means).rows, unit.device)
    ends = of_image[apart.first], of_image[apart.second]
    return TrackletPoints(points, of_image, of_image[start[first]], Apart.of(*ends))
