"""Boards of clusters and outliers: selection, order and captions."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dccc_lightning.data.records import UNKNOWN, Records
from dccc_lightning.reports.boards.board import NO_NAMES, BoardRow, Frame, LabelNames, Tile, facts
from dccc_lightning.reports.boards.thumbnails import key

CLUSTERS, IMAGES = 6, 10
"""Rows of a board, and images of a row, at most."""

MOST_COMPARED = 2**27
"""Most outliers times clusters; of more outliers, evenly spaced ones are compared."""

_BLOCK = 2**22
"""Numbers of 8 bytes in a block."""

KINDS = {
    "largest": "largest clusters",
    "tightest": "tightest clusters",
    "loosest": "loosest clusters",
    "mixed": "most mixed clusters",
}


@dataclass(frozen=True, eq=False)
class ClusterFigures:
    """Statistics of each of the C clusters.

    Attributes:
        rows: (N, D) unit embeddings.
        labels: (N,) with clusters from 0 without gaps, -1 for outliers.
        records: Of the N images.
        sizes: (C,) images.
        spreads: (C,) mean cosine distance of the pairs of a cluster; 0 for a single image.
        centroids: (C, D) of length one.
        commonest: (C,) the identity most images have, ``UNKNOWN`` where none is known.
        shares: (C,) share of it among the images whose identity is known; 1 where none is.
    """

    rows: NDArray[np.float32]
    labels: NDArray[np.int64]
    records: Records
    sizes: NDArray[np.int64] = field(init=False)
    spreads: NDArray[np.float64] = field(init=False)
    centroids: NDArray[np.float64] = field(init=False)
    commonest: NDArray[np.int64] = field(init=False)
    shares: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        clustered = np.flatnonzero(self.labels >= 0)
        labels = self.labels[clustered]
        sizes = np.bincount(labels)
        sums, own = np.zeros((len(sizes), self.rows.shape[1])), np.zeros(len(sizes))
        for part in _blocks(len(clustered), self.rows.shape[1]):
            rows, mine = self.rows[clustered[part]].astype(np.float64), labels[part]
            here, places = np.unique(mine, return_inverse=True)
            ones = np.ones(len(mine)), (places, np.arange(len(mine)))
            ones_by_cluster = csr_array(ones, shape=(len(here), len(mine)))
            sums[here] += np.asarray(ones_by_cluster @ rows)
            own += np.bincount(mine, np.einsum("nd,nd->n", rows, rows), len(sizes))
        products = np.einsum("cd,cd->c", sums, sums) - own
        spreads = np.where(sizes > 1, 1 - products / np.maximum(sizes * (sizes - 1), 1), 0.0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        commonest, shares = _commonest(labels, self.records.identities[clustered], len(sizes))
        values = {"sizes": sizes, "spreads": np.maximum(spreads, 0), "commonest": commonest,
                  "centroids": sums / np.maximum(lengths, 1e-12), "shares": shares}  # fmt: skip
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def order(self, kind: str) -> NDArray[np.int64]:
        """Return the clusters of a board in its order; ties by label."""
        if kind == "mixed":
            order = np.lexsort((-self.sizes, self.shares))
            return order[self.shares[order] < 1][:CLUSTERS]
        by = {"largest": -self.sizes, "tightest": self.spreads, "loosest": -self.spreads}
        return np.argsort(by[kind], kind="stable")[:CLUSTERS]


def cluster_rows(
    figures: ClusterFigures, kind: str, names: LabelNames = NO_NAMES
) -> list[BoardRow]:
    """Return the rows of a board of ``KINDS``: images from the nearest to the centroid outwards."""
    return [_cluster_row(figures, int(c), names) for c in figures.order(kind)]


def outlier_rows(figures: ClusterFigures, names: LabelNames = NO_NAMES) -> list[BoardRow]:
    """Return the outliers nearest to the centroid of a cluster, and those farthest from all.

    Memory grows with neither the outliers nor the clusters.
    """
    outliers = np.flatnonzero(figures.labels < 0)
    if not len(outliers):
        return []
    step = -(-len(outliers) * len(figures.sizes) // MOST_COMPARED)
    outliers = outliers[::step]
    cosines = np.concatenate(
        [
            (figures.rows[outliers[part]].astype(np.float64) @ figures.centroids.T).max(axis=1)
            for part in _blocks(len(outliers), figures.rows.shape[1] + len(figures.sizes))
        ]
    )
    order = np.argsort(1 - cosines, kind="stable")
    rows = []
    for title, chosen in (
        ("nearest to a cluster", order[: 2 * IMAGES]),
        ("farthest from every cluster", order[2 * IMAGES :][::-1][: 2 * IMAGES]),
    ):
        for first in range(0, len(chosen), IMAGES):
            tiles = []
            for place in chosen[first : first + IMAGES]:
                index, distance = int(outliers[place]), 1 - cosines[place]
                text = f"{distance:.2f}\n" + facts(figures.records, index, names)
                tiles.append(Tile(key("train", index), text.strip()))
            rows.append(BoardRow(title if first == 0 else "", tuple(tiles)))
    return rows


def _cluster_row(figures: ClusterFigures, cluster: int, names: LabelNames) -> BoardRow:
    members = np.flatnonzero(figures.labels == cluster)
    cosines = np.concatenate(
        [
            figures.rows[members[part]].astype(np.float64) @ figures.centroids[cluster]
            for part in _blocks(len(members), figures.rows.shape[1])
        ]
    )
    outwards = members[np.argsort(-cosines, kind="stable")]
    shown = outwards[np.unique(np.linspace(0, len(members) - 1, IMAGES).round().astype(int))]
    commonest = figures.commonest[cluster]
    tiles = []
    for index in shown.tolist():
        identity, frame = figures.records.identities[index], ""
        if identity != UNKNOWN:
            frame = "right" if identity == commonest else "wrong"
        tiles.append(_tile(figures.records, index, names, frame))
    title = f"cluster {cluster} · {len(members)} images · spread {figures.spreads[cluster]:.3f}"
    if commonest != UNKNOWN:
        known = figures.records.identities[members]
        number = len(np.unique(known[known != UNKNOWN]))
        share = f", {figures.shares[cluster]:.0%} of one" if number > 1 else ""
        title += f" · {number} identit{'ies' if number > 1 else 'y'}{share}"
    return BoardRow(title, tuple(tiles))


def _blocks(length: int, width: int) -> Iterator[slice]:
    """Cut ``range(length)`` into slices of about ``_BLOCK`` numbers, ``width`` a row."""
    size = max(1, _BLOCK // max(1, width))
    return (slice(first, first + size) for first in range(0, length, size))


def _tile(records: Records, index: int, names: LabelNames, frame: str) -> Tile:
    kind: Frame = "right" if frame == "right" else "wrong" if frame == "wrong" else ""
    return Tile(key("train", index), facts(records, index, names), kind)


def _commonest(
    labels: NDArray[np.int64], identities: NDArray[np.int64], clusters: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the commonest known identity of each cluster and its share; ties go to the lowest."""
    commonest, shares = np.full(clusters, UNKNOWN), np.ones(clusters)
    known = identities != UNKNOWN
    pairs, counts = np.unique(
        np.stack([labels[known], identities[known]]), axis=1, return_counts=True
    )
    totals = np.bincount(labels[known], minlength=clusters)
    for place in np.lexsort((-pairs[1], counts)):  # the last one that writes is the commonest
        cluster = pairs[0, place]
        commonest[cluster] = pairs[1, place]
        shares[cluster] = counts[place] / totals[cluster]
    return commonest, shares
