"""Condensed single-linkage hierarchy, and selection of its best clusters.

Source: Campello, Moulavi and Sander, "Density-Based Clustering Based on Hierarchical Density
Estimates", PAKDD 2013. As there, edges of equal length are cut at once, so a cluster may split into
more than two parts, and the result does not depend on the order of points or edges.
"""

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common.compiled import compiled

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NOWHERE = -1
"""No node, no cluster or no parent."""


def densest_clusters(
    rows: NDArray[np.int32], columns: NDArray[np.int32], lengths: Floats, n: int, size: int,
    longest: float,
) -> Ints:  # fmt: skip
    """Return the cluster of each point, selected by excess of mass.

    Args:
        rows: First point of each edge.
        columns: Second point of each edge.
        lengths: Length of each edge, above 0.
        n: Number of points.
        size: Least size of a cluster, at least 2.
        longest: Length at which connected parts are born; at least every length.

    Returns:
        (n,) cluster numbers from 0 in any order, or ``NOWHERE``.
    """
    order = np.argsort(lengths, kind="stable")
    children, merged_at, sizes, tops = _linked(rows[order], columns[order], lengths[order], n)
    of_point, parents, masses = _condensed(children, merged_at, sizes, tops, n, size, longest)
    return _chosen(parents, masses)[of_point]


@compiled
def _root(links: Ints, node: int) -> int:
    while links[node] != node:
        links[node] = links[links[node]]
        node = links[node]
    return node


@compiled
def _linked(
    rows: NDArray[np.int32], columns: NDArray[np.int32], lengths: Floats, n: int
) -> tuple[Ints, Floats, Ints, Ints]:
    """Merge points and clusters in the order of the edges.

    Returns:
        The two children of each node above the n points, and the length of their merge; the number
        of points of every node; the nodes without a parent.
    """
    links = np.arange(2 * n)
    children = np.empty((n, 2), dtype=np.int64)
    merged_at = np.empty(n, dtype=np.float64)
    sizes = np.ones(2 * n, dtype=np.int64)
    made = n
    for edge in range(lengths.size):
        one, other = _root(links, rows[edge]), _root(links, columns[edge])
        if one != other:
            children[made - n] = min(one, other), max(one, other)
            merged_at[made - n] = lengths[edge]
            sizes[made] = sizes[one] + sizes[other]
            links[one] = links[other] = made
            made += 1
    nodes = np.arange(made)
    return children[: made - n], merged_at[: made - n], sizes[:made], nodes[links[:made] == nodes]


@compiled
def _leave(node: int, cluster: int, children: Ints, waiting: Ints, of_point: Ints) -> None:
    """Set ``cluster`` as the last cluster of all points of a node."""
    n, left = of_point.size, 1
    waiting[0] = node
    while left:
        left -= 1
        member = waiting[left]
        if member < n:
            of_point[member] = cluster
        else:
            waiting[left], waiting[left + 1] = children[member - n]
            left += 2


@compiled
def _condensed(
    children: Ints, merged_at: Floats, sizes: Ints, tops: Ints, n: int, size: int, longest: float
) -> tuple[Ints, Ints, Floats]:
    """Follow each cluster as it loses points, until it splits or vanishes.

    Returns:
        The last cluster of each point, or ``NOWHERE``; the parent of each cluster, or ``NOWHERE``;
        the excess of mass of each cluster, the sum of 1 / length over its life and points.
    """
    of_point = np.full(n, NOWHERE, dtype=np.int64)
    parents = np.empty(sizes.size, dtype=np.int64)
    masses = np.zeros(sizes.size)
    births = np.empty(sizes.size)
    # Stack of nodes with at least ``size`` points, and their clusters.
    nodes, clusters = np.empty(sizes.size, dtype=np.int64), np.empty(sizes.size, dtype=np.int64)
    inner, parts = np.empty(sizes.size, dtype=np.int64), np.empty(sizes.size, dtype=np.int64)
    waiting = known = 0
    for top in tops:
        if sizes[top] >= size:
            parents[known], births[known] = NOWHERE, 1 / longest
            nodes[waiting], clusters[waiting] = top, known
            waiting, known = waiting + 1, known + 1
    while waiting:
        waiting -= 1
        node, cluster = nodes[waiting], clusters[waiting]
        length = merged_at[node - n]
        density = 1 / length
        # Merges of equal length split at once, in any order.
        found, left, large = 0, 1, 0
        inner[0] = node
        while left:
            left -= 1
            for child in children[inner[left] - n]:
                if child >= n and merged_at[child - n] == length:
                    inner[left] = child
                    left += 1
                else:
                    parts[found] = child
                    found += 1
                    large += sizes[child] >= size
        stays = 1 if large == 1 else 0
        for part in parts[:found]:
            if sizes[part] >= size:
                if not stays:
                    parents[known], births[known] = cluster, density
                    masses[cluster] += (density - births[cluster]) * sizes[part]
                nodes[waiting], clusters[waiting] = part, cluster if stays else known
                waiting, known = waiting + 1, known + 1 - stays
                continue
            masses[cluster] += (density - births[cluster]) * sizes[part]
            _leave(part, cluster, children, inner, of_point)
    return of_point, parents[:known], masses[:known]


@compiled
def _chosen(parents: Ints, masses: Floats) -> Ints:
    """Return the selected cluster around each cluster; the last entry, ``NOWHERE``, is for none."""
    inside = np.zeros(parents.size)
    whole = np.zeros(parents.size, dtype=np.bool_)
    for cluster in range(parents.size - 1, -1, -1):  # children follow their parents
        whole[cluster] = masses[cluster] >= inside[cluster]
        if parents[cluster] != NOWHERE:
            inside[parents[cluster]] += max(masses[cluster], inside[cluster])
    chosen = np.full(parents.size + 1, NOWHERE, dtype=np.int64)
    for cluster in range(parents.size):
        above = NOWHERE if parents[cluster] == NOWHERE else chosen[parents[cluster]]
        chosen[cluster] = above if above != NOWHERE else cluster if whole[cluster] else NOWHERE
    return chosen
