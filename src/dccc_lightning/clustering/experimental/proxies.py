"""Camera proxies: clusters within each camera, linked across cameras.

Within a camera, images differ by identity only, so its clusters, the proxies, are purer than those
of all cameras. Proxies are then linked by their centroids. The two stages are those of intra-inter
camera similarity (Xuan and Zhang, CVPR 2021, arXiv 2103.11658); the term is that of camera-aware
proxies (Wang et al., AAAI 2021, arXiv 2012.10674), which split clusters of all cameras by camera.
Distance and DBSCAN are DCCC's in both stages. Both use half of k1, because an identity has fewer
images per camera than overall, and fewer proxies than images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from dccc_lightning.clustering.algorithms import DBSCAN, OUTLIER, ClusteringAlgorithm
from dccc_lightning.clustering.experimental.attachment import centroids
from dccc_lightning.clustering.jaccard import jaccard_graph
from dccc_lightning.clustering.neighbor_graph import NeighborGraph
from dccc_lightning.clustering.outliers import number_without_gaps, outliers_to_clusters
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings
from dccc_lightning.neighbors.nearest import knn


def camera_graph(
    features: Features,
    cameras: NDArray[np.int64],
    k1: int,
    k2: int,
    max_distance: float,
    backend: str = "auto",
) -> NeighborGraph:
    """Compute the k-reciprocal Jaccard distances within each camera only.

    Args:
        features: Embeddings (N, D), NumPy or torch.
        cameras: (N,) cameras. An image has no neighbour if its camera is unknown (-1) or has at
            most k1 images, too few for neighbourhoods of k1 / 2.
        k1: Twice the size of a neighbourhood.
        k2: As in ``jaccard_graph``, at most k1 / 2.
        max_distance: Largest distance to store.
        backend: Neighbour search, see ``neighbors.knn``.
    """
    embeddings = UnitEmbeddings.of(features)
    names, places, sizes = np.unique(cameras, return_inverse=True, return_counts=True)
    is_whole = (names >= 0) & (sizes > k1)
    alone = np.flatnonzero(~is_whole[places])
    rows, columns = [alone], [alone]
    distances = [np.zeros(len(alone), dtype=np.float32)]
    for camera in np.flatnonzero(is_whole):
        images = np.flatnonzero(places == camera)
        part = _graph(embeddings[images], k1, k2, max_distance, backend).distances.tocoo()
        rows.append(images[part.row])
        columns.append(images[part.col])
        distances.append(part.data)
    pairs = np.concatenate(rows), np.concatenate(columns)
    matrix = csr_matrix((np.concatenate(distances), pairs), shape=(len(cameras), len(cameras)))
    matrix.sort_indices()
    return NeighborGraph(matrix, float(max_distance))


@dataclass(frozen=True, eq=False)
class LinkedProxies:
    """Clustering algorithm that clusters a ``camera_graph`` and links its proxies.

    A proxy is a cluster within a camera, or an image in no cluster. DBSCAN links the centroids of
    the proxies at the same eps, with two samples, because two cameras may have seen a person. A
    proxy without a link stays a cluster, a single image without one an outlier.

    Attributes:
        within: Clustering algorithm within a camera.
        features: Embeddings (N, D) of the graph.
        k1: Twice the size of a neighbourhood of centroids.
        k2: As in ``jaccard_graph``, at most k1 / 2.
        backend: Neighbour search.
    """

    within: ClusteringAlgorithm
    features: Features
    k1: int
    k2: int
    backend: str = "auto"

    def fit_predict(self, graph: NeighborGraph, eps: float) -> NDArray[np.int64]:
        """Return the labels (N,): clusters from 0 without gaps, or ``OUTLIER``.

        Raises:
            ValueError: ``eps`` is above ``graph.max_distance``.
        """
        proxies = outliers_to_clusters(self.within.fit_predict(graph, eps))
        sizes = np.bincount(proxies)
        middles = centroids(UnitEmbeddings.of(self.features).rows, proxies)
        links = _graph(middles, self.k1, self.k2, graph.max_distance, self.backend)
        linked = DBSCAN(min_samples=2).fit_predict(links, eps)
        labels: NDArray[np.int64] = outliers_to_clusters(linked)[proxies]
        labels[((linked == OUTLIER) & (sizes == 1))[proxies]] = OUTLIER
        return number_without_gaps(labels)


def _graph(
    features: Features, k1: int, k2: int, max_distance: float, backend: str
) -> NeighborGraph:
    k1 = min(max(k1 // 2, 1), len(features))
    k2 = min(k2, k1)
    embeddings = UnitEmbeddings.of(features)
    return jaccard_graph(embeddings, k1, k2, max_distance, knn(embeddings, k1, backend))
