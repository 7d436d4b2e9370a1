"""Clusters of any algorithm, made to agree with constraints."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dccc_lightning.clustering.algorithms import OUTLIER, number_clusters
from dccc_lightning.clustering.average_linkage import nearest_linkage
from dccc_lightning.clustering.constraints import Apart, Constraints, Ints
from dccc_lightning.clustering.neighbor_graph import NeighborGraph


def constrained(labels: Ints, graph: NeighborGraph, constraints: Constraints) -> Ints:
    """Return the clusters of ``labels``, changed as little as the constraints ask.

    First, clusters and outliers that hold images of one group become one cluster. Then every
    cluster with groups that are kept apart is divided: its groups are joined again along the
    distances of the graph, the shortest first, except where that would join two that are kept
    apart (``nearest_linkage``). A part of a single image becomes an outlier; other clusters stay.

    Args:
        labels: (N,) clusters from 0, -1 for outliers.
        graph: Distances that the clusters were made of.
        constraints: Of the same images.

    Returns:
        (N,) int64, clusters numbered by their first image, -1 for outliers.
    """
    n, groups = len(labels), constraints.groups
    images = np.arange(n)
    inside = labels >= 0
    ends = np.concatenate([images, images[inside]]), np.concatenate([groups, n + labels[inside]])
    nodes = n + int(labels.max(initial=-1)) + 1
    links = coo_matrix((np.ones(len(ends[0])), ends), shape=(nodes, nodes))
    found = connected_components(links, directed=False)[1][:n].astype(np.int64)
    first, second = constraints.apart
    divided = np.unique(found[first[found[first] == found[second]]])
    chosen = np.flatnonzero(np.isin(found, divided))
    if len(chosen):
        places = np.full(n, -1, dtype=np.int64)
        places[chosen] = np.arange(len(chosen))
        kept = (places[first] >= 0) & (places[second] >= 0)
        apart = Apart.of(places[first[kept]], places[second[kept]])
        part = graph.distances[chosen][:, chosen].tocoo()
        within = found[chosen][part.row] == found[chosen][part.col]  # of one cluster only
        ends = part.row[within], part.col[within]
        inner = coo_matrix((part.data[within], ends), shape=part.shape).tocsr()
        parts = NeighborGraph(inner, graph.max_distance)
        found[chosen] = found.max() + 1 + nearest_linkage(parts, places[groups[chosen]], apart)
    result = number_clusters(found, min_samples=1)
    changed = ~inside
    changed[chosen] = True
    result[changed & (np.bincount(result)[result] == 1)] = OUTLIER
    return number_clusters(result, min_samples=1)
