"""The camera-aware Jaccard distance: neighbours ranked within and across cameras.

Source: "CA-Jaccard: Camera-aware Jaccard Distance for Person Re-identification" (Chen et al., CVPR
2024, arXiv 2311.10605). Images of one camera look alike, so the nearest neighbours of an image are
mostly from its own camera. Here each kind of neighbour has a ranking and a size of its own.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dccc_lightning.clustering import jaccard
from dccc_lightning.clustering.neighbor_graph import NeighborGraph
from dccc_lightning.common import checks
from dccc_lightning.neighbors.camera_normalization import check_cameras
from dccc_lightning.neighbors.camera_ranking import camera_neighborhoods
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings
from dccc_lightning.neighbors.nearest import knn
from dccc_lightning.neighbors.reciprocal import half_size

PARTS = ("camera", "global")
"""Rankings of the reciprocal neighbours and of the query expansion."""


def ca_jaccard_graph(
    features: Features,
    cameras: ArrayLike,
    k1_intra: int = 5,
    k1_inter: int = 20,
    k2_intra: int = 2,
    k2_inter: int = 4,
    max_distance: float = 0.8,
    reciprocal: str = "camera",
    expansion: str = "camera",
    k1: int = 30,
    k2: int = 6,
    backend: str = "auto",
) -> NeighborGraph:
    """Compute all camera-aware Jaccard distances up to ``max_distance``.

    An image has two rankings: images of its own camera, itself first, and images of other cameras.
    Ties go to the lower index. Where a camera, or all others together, has fewer images than a
    ranking needs, the ranking goes on with the nearest images of the other kind. An image of an
    unknown camera counts as alone under a camera of its own. With one camera for all images both
    rankings are the usual one, with the image itself in the first only.

    The result is exact and does not depend on the number of threads; the backends agree up to the
    rounding of float32.

    Args:
        features: Embeddings (N, D), NumPy, torch or ``UnitEmbeddings``; normalised inside.
        cameras: (N,) cameras, -1 where unknown.
        k1_intra: Neighbours considered for reciprocity: the first ``k1_intra + 1`` images of the
            ranking of the own camera.
        k1_inter: The same of the other cameras, the first ``k1_inter + 1``.
        k2_intra: Images of the own camera averaged in the query expansion, the image included.
        k2_inter: Images of other cameras averaged. The paper takes 3 and 3 in the first epoch.
        max_distance: Largest distance to store, in (0, 1).
        reciprocal: "camera", or "global" for the reciprocal neighbours of the usual distance.
        expansion: "camera", or "global" for the usual query expansion.
        k1: Neighbours with ``reciprocal="global"``, the image itself excluded.
        k2: Images averaged with ``expansion="global"``, the image included; 1 is no expansion.
        backend: As in ``jaccard_graph``.

    Raises:
        TypeError: An argument of a wrong type.
        ValueError: An argument outside its range, fewer images than a ranking needs, or no camera
            is known.
        DenseGraphError: More than ``MAX_ENTRIES`` distances to store.

    >>> points = np.repeat(np.eye(3), 4, axis=0)
    >>> graph = ca_jaccard_graph(points, np.arange(12) % 2, 1, 1, 1, 1)
    >>> graph.distances.nnz, float(graph.distances.max())
    (48, 0.0)
    """
    checks.real("max_distance", max_distance, 0, 1, open_low=True, open_high=True)
    checks.choice("reciprocal", reciprocal, PARTS)
    checks.choice("expansion", expansion, PARTS)
    checks.choice("backend", backend, jaccard.BACKENDS)
    unit = UnitEmbeddings.of(features)
    n = len(unit)
    known = check_cameras(cameras, n)
    parts: dict[str, tuple[tuple[list[NDArray[np.int64]], int], NDArray[np.int64] | None]] = {}
    if "camera" in (reciprocal, expansion):
        own, mean_of = camera_neighborhoods(unit, known, k1_intra, k1_inter, k2_intra, k2_inter)
        parts["camera"] = (own, 0), mean_of
    if "global" in (reciprocal, expansion):
        k1 = checks.integer("k1", k1, low=1, high=n - 1)
        k2 = checks.integer("k2", k2, low=1, high=k1 + 1)
        ranks = knn(unit, k1 + 1)[1]
        parts["global"] = ([ranks], half_size(k1)), ranks[:, :k2] if k2 > 1 else None
    (rankings, half), averaged = parts[reciprocal][0], parts[expansion][1]
    return jaccard.neighborhood_graph(unit, rankings, half, averaged, max_distance, backend)
