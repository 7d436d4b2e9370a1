"""Board of rankings: queries and their first hits, by falling average precision."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.data.records import UNKNOWN, Records
from dccc_lightning.reports.boards.board import BoardRow, Tile, facts
from dccc_lightning.reports.boards.thumbnails import key

QUERIES, HITS = 8, 10

_CANDIDATES = 200
"""Queries that are ranked at most; all of a large split would take minutes."""


class Split(NamedTuple):
    """Unit embeddings (n, D) of images and their records."""

    rows: NDArray[np.float32]
    records: Records


class _Ranked(NamedTuple):
    query: int
    precision: float
    hits: NDArray[np.int64]
    scores: NDArray[np.float32]


def ranking_rows(query: Split, gallery: Split, camera_names: Sequence[str] = ()) -> list[BoardRow]:
    """Return rows of a query and its first hits under the Market-1501 protocol.

    Gallery images with the query's identity and camera are left out. Of evenly spaced queries that
    have a match, evenly spaced ones by average precision are shown, the best first.

    Args:
        query: The queries.
        gallery: What is searched.
        camera_names: Of the cameras, where they have names.
    """
    step = max(1, len(query.rows) // _CANDIDATES)
    ranked = [
        found
        for index in range(0, len(query.rows), step)
        if (found := _rank(query, gallery, index)) is not None
    ]
    ranked.sort(key=lambda found: (-found.precision, found.query))
    places = np.unique(np.linspace(0, len(ranked) - 1, QUERIES).round().astype(int))
    return [_row(ranked[place], query, gallery, camera_names) for place in places if ranked]


def _rank(query: Split, gallery: Split, index: int) -> _Ranked | None:
    """Rank the gallery for one query; None if it has no match."""
    identity, camera = query.records.identities[index], query.records.cameras[index]
    match = (gallery.records.identities == identity) & (identity != UNKNOWN)
    match &= (gallery.records.cameras != camera) | (camera == UNKNOWN)
    if not match.any():
        return None
    same_view = (gallery.records.identities == identity) & ~match
    scores = gallery.rows @ query.rows[index]
    scores[same_view] = -np.inf
    order = np.argsort(-scores, kind="stable")
    ranks = np.flatnonzero(match[order]) + 1
    precision = float(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    hits = order[: min(HITS, len(order) - int(same_view.sum()))]
    return _Ranked(index, precision, hits, scores[hits])


def _row(found: _Ranked, query: Split, gallery: Split, camera_names: Sequence[str]) -> BoardRow:
    records, identity = gallery.records, query.records.identities[found.query]
    tiles = [Tile(key("query", found.query), facts(query.records, found.query, camera_names),
                  "query")]  # fmt: skip
    for hit, score in zip(found.hits.tolist(), found.scores.tolist(), strict=True):
        text = f"{score:.3f}\n{facts(records, hit, camera_names)}"
        right = records.identities[hit] == identity
        tiles.append(Tile(key("gallery", hit), text, "right" if right else "wrong"))
    return BoardRow(f"average precision {found.precision:.1%}", tuple(tiles))
