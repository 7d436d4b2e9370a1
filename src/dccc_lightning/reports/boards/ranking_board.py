"""Board of rankings: queries and their first hits, by falling average precision."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.data.records import UNKNOWN, Records
from dccc_lightning.metrics.protocol_arrangement import known_labels
from dccc_lightning.metrics.protocols import MARKET1501, Labels, Protocol
from dccc_lightning.neighbors import aligned_similarity
from dccc_lightning.reports.boards.board import NO_NAMES, BoardRow, LabelNames, Tile, facts
from dccc_lightning.reports.boards.thumbnails import key

Floats = NDArray[np.float32]

QUERIES, HITS = 8, 10

_CANDIDATES = 200
"""Queries that are ranked at most; all of a large split would take minutes."""


class Split(NamedTuple):
    """Unit embeddings (n, D) of images, or of their turns (n, R, D), and their records."""

    rows: Floats
    records: Records


class _Rules(NamedTuple):
    """Protocol, and labels of query and gallery by name."""

    protocol: Protocol
    query: Labels
    gallery: Labels

    def left_out(self, index: int) -> NDArray[np.bool_]:
        """Return a mask (G,) of the images left out for a query."""
        one = {name: values[index : index + 1] for name, values in self.query.items()}
        hidden = self.protocol.hidden_images(one, self.gallery)
        size = len(self.gallery["identity"])
        mask = np.zeros(size, dtype=bool) if hidden is None else np.broadcast_to(hidden[0], size)
        same = np.flatnonzero(self.gallery["identity"] == one["identity"])
        pairs = self.protocol.left_out(one, self.gallery, np.zeros_like(same), same)
        mask = mask.copy()
        mask[same] |= pairs
        return mask


class _Ranked(NamedTuple):
    query: int
    precision: float
    hits: NDArray[np.int64]
    scores: Floats


def ranking_rows(
    query: Split,
    gallery: Split,
    names: LabelNames = NO_NAMES,
    protocol: Protocol = MARKET1501,
) -> list[BoardRow]:
    """Return rows of a query and its first hits.

    Gallery images that the protocol leaves out are not shown. Of evenly spaced queries that
    have a match, evenly spaced ones by average precision are shown, the best first.

    Args:
        query: The queries.
        gallery: What is searched.
        names: Of cameras and identities.
        protocol: Evaluation protocol.
    """
    rules = _Rules(protocol, known_labels(query.records), known_labels(gallery.records))
    asked = np.arange(0, len(query.rows), max(1, len(query.rows) // _CANDIDATES))
    scores = _scores(query.rows[asked], gallery.rows)
    ranked = [
        found
        for index, own in zip(asked.tolist(), scores, strict=True)
        if (found := _rank(query, gallery, index, own, rules)) is not None
    ]
    ranked.sort(key=lambda found: (-found.precision, found.query))
    places = np.unique(np.linspace(0, len(ranked) - 1, QUERIES).round().astype(int))
    return [_row(ranked[place], query, gallery, names) for place in places if ranked]


def _scores(query: Floats, gallery: Floats) -> Iterable[Floats]:
    """Return the cosines (G,) of the gallery for each query; those of turns all at once."""
    if gallery.ndim == 3:
        return aligned_similarity(query, gallery)
    return (gallery @ row for row in query)


def _rank(
    query: Split, gallery: Split, index: int, scores: Floats, rules: _Rules
) -> _Ranked | None:
    """Rank the gallery for one query by its scores (G,); None if it has no match."""
    left_out = rules.left_out(index)
    identity = query.records.identities[index]
    match = (gallery.records.identities == identity) & (identity != UNKNOWN) & ~left_out
    if not match.any():
        return None
    scores[left_out] = -np.inf
    order = np.argsort(-scores, kind="stable")
    ranks = np.flatnonzero(match[order]) + 1
    precision = float(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    hits = order[: min(HITS, len(order) - int(left_out.sum()))]
    return _Ranked(index, precision, hits, scores[hits])


def _row(found: _Ranked, query: Split, gallery: Split, names: LabelNames) -> BoardRow:
    records, identity = gallery.records, query.records.identities[found.query]
    tiles = [Tile(key("query", found.query), facts(query.records, found.query, names),
                  "query")]  # fmt: skip
    for hit, score in zip(found.hits.tolist(), found.scores.tolist(), strict=True):
        text = f"{score:.3f}\n{facts(records, hit, names)}"
        right = records.identities[hit] == identity
        tiles.append(Tile(key("gallery", hit), text, "right" if right else "wrong"))
    return BoardRow(f"average precision {found.precision:.1%}", tuple(tiles))
