"""Search of a gallery: exact if it is small, approximate if it is large."""

import logging
import time
from collections.abc import Mapping
from functools import cached_property
from io import BufferedReader
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dccc_lightning.common import checks, progress
from dccc_lightning.gallery import exact_search
from dccc_lightning.gallery.approximate_search import CandidateIndex, pick_kind
from dccc_lightning.gallery.exact_search import NONE, Scores
from dccc_lightning.gallery.search_pilot import share_compared
from dccc_lightning.gallery.storage import map_npy, npy
from dccc_lightning.neighbors.collapse import sampled, warn_of_collapse
from dccc_lightning.neighbors.similarity import Origin, origin_of

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

RECALL_AT = 10
"""Number of nearest images for the recall."""

TARGET = 0.95
"""Recall to reach by a broader search."""

SAMPLE = 500
"""Images of the gallery that are queries for the recall."""

MOST_COMPARED = 0.3
"""Largest share of candidates for which an approximate search can be faster."""

_PILOTS = 100  # queries for the estimate of that share
_TIMED = {"alone": 8, "at once": 64}  # queries


class GallerySearch:
    """Embeddings and, for large galleries, their faiss index.

    Attributes:
        embeddings: (N, D) float32 of length 1.
        ids: (N,) ascending.
        proposals: Index of an approximate search, None for an exact one.
        recall: Share of the ``RECALL_AT`` nearest images that a search finds.
        measured: Measurements for ``auto``, if made: ``share compared``, see ``share_compared``,
            and milliseconds per query of each kind.
    """

    def __init__(
        self, embeddings: Floats, ids: Ints, proposals: CandidateIndex | None, recall: float
    ) -> None:
        self.embeddings = embeddings
        self.ids = ids
        self.proposals = proposals
        self.recall = recall
        self.measured: dict[str, float] = {}
        self._is_collapsed = False

    @cached_property
    def origin(self) -> Origin | None:
        """Origin of the products with the gallery; logs one warning if the model collapsed."""
        rows = torch.from_numpy(self.embeddings)
        if not self._is_collapsed:
            self._is_collapsed = warn_of_collapse(sampled(rows), "images of the gallery", log)
        return origin_of(rows)

    @property
    def kind(self) -> str:
        """``flat``, ``ivf``, ``hnsw`` or ``pq``, see ``approximate_search``."""
        return "flat" if self.proposals is None else self.proposals.kind

    @classmethod
    def build(cls, kind: str, embeddings: Floats, ids: Ints) -> "GallerySearch":
        """Build the search of a kind; ``auto`` chooses it by size and speed.

        Raises:
            ValueError: Too few images for the kind.
        """
        search = cls(embeddings, ids, None, 1.0)
        _ = search.origin  # warns of a collapsed model when the gallery is built
        chosen = pick_kind(len(ids)) if kind == "auto" else kind
        if chosen == "flat":
            return search
        if kind != "auto":
            search._build_index(chosen)
        elif search._may_gain():
            search._time()
            search._build_index(chosen)
            search._keep_the_faster()
        return search

    def _may_gain(self) -> bool:
        """Return True if an approximate search compares so little that it could be faster."""
        with progress.announced("choosing a kind of search"):
            share = share_compared(self.embeddings, *self._neighbors(_PILOTS), TARGET)
        self.measured["share compared"] = share
        return share <= MOST_COMPARED

    def _build_index(self, kind: str) -> None:
        """Build the index and broaden it until it finds ``TARGET`` of the neighbours."""
        proposals = self.proposals = CandidateIndex.build(kind, self.embeddings, self.ids)
        with progress.announced("measuring the recall"):
            own, others = self._neighbors(SAMPLE)
            while self._recall(own, others) < TARGET and proposals.breadth < proposals.most:
                proposals.breadth = min(2 * proposals.breadth, proposals.most)

    def _keep_the_faster(self) -> None:
        """Drop the index unless it is faster both for one query and for many."""
        approximate = self.kind
        self._time()
        times = self.measured
        if any(times[f"{approximate} ms {how}"] >= times[f"flat ms {how}"] for how in _TIMED):
            self.proposals, self.recall = None, 1.0

    def _time(self) -> None:
        for how, count in _TIMED.items():
            self.measured[f"{self.kind} ms {how}"] = self.milliseconds(count, how == "alone")

    def milliseconds(self, count: int, is_alone: bool) -> float:
        """Measure the milliseconds per query.

        Args:
            count: Number of queries, which are images of the gallery.
            is_alone: Search one after the other instead of all at once.
        """
        step = max(1, len(self.ids) // count)
        queries = np.ascontiguousarray(self.embeddings[::step][:count])
        seen, excluded = np.zeros((len(self.ids), 1), dtype=np.int64), np.full((count, 1), NONE)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            for part in queries[:, None] if is_alone else [queries]:
                self.nearest(part, RECALL_AT, seen, excluded[: len(part)])
            times.append(time.perf_counter() - start)
        return 1000 * min(times) / len(queries)

    def add(self, embeddings: Floats, ids: Ints) -> None:
        """Add images, whose ids follow the present ones."""
        if self.proposals is not None:
            self.proposals.add(embeddings, ids)
        self.embeddings = np.concatenate([self.embeddings, embeddings])
        self.ids = np.concatenate([self.ids, ids])
        self.__dict__.pop("origin", None)

    def remove(self, is_leaving: NDArray[np.bool_]) -> None:
        """Remove the images under the mask (N,)."""
        leaving = self.ids[is_leaving]
        self.embeddings = self.embeddings[~is_leaving]
        self.ids = self.ids[~is_leaving]
        if self.proposals is not None:
            self.proposals.remove(leaving, self.ids)
        self.__dict__.pop("origin", None)

    def nearest(self, queries: Floats, k: int, seen: Ints, excluded: Ints) -> tuple[Scores, Ints]:
        """Find the images of highest cosine, as ``exact_search.search``.

        An approximate search may miss images. Its candidates may hold any of equally near images,
        so a query whose last result is as near as the last candidate is searched exactly.
        """
        if self.proposals is None:
            return self._search_exactly(queries, k, seen, excluded)
        scores, found = exact_search.empty_results(len(queries), k)
        for values in np.unique(excluded, axis=0):
            mine = np.flatnonzero((excluded == values).all(axis=1))
            ids = self.ids[~((seen == values) & (values != NONE)).any(axis=1)]
            near, positions = self._search_approximately(queries[mine], k, ids)
            scores[mine], found[mine] = near[:, :k], positions[:, :k]
            number = (positions != NONE).sum(axis=1)
            last = near[np.arange(len(mine)), np.maximum(number - 1, 0)]
            is_tied = (number < len(ids)) & (last == near[:, k - 1])
            again = mine[(number < min(k, len(ids))) | is_tied]
            if again.size:
                scores[again], found[again] = self._search_exactly(
                    queries[again], k, seen, excluded[again]
                )
        return scores, found

    def measure_recall(self) -> float:
        """Measure ``recall`` with up to ``SAMPLE`` images of the gallery as queries."""
        return 1.0 if self.proposals is None else self._recall(*self._neighbors(SAMPLE))

    def _neighbors(self, count: int) -> tuple[Ints, list[Ints]]:
        """Return the positions of some images of the gallery, and of the nearest others of each."""
        n = len(self.ids)
        own = np.sort(np.random.default_rng(0).choice(n, min(n, count), replace=False))
        k = min(RECALL_AT + 1, n)  # an image finds itself, which does not count
        nowhere, anywhere = np.zeros((n, 1), dtype=np.int64), np.full((len(own), 1), NONE)
        exact = self._search_exactly(self.embeddings[own], k, nowhere, anywhere)[1]
        return own, [row[row != mine][: k - 1] for mine, row in zip(own, exact, strict=True)]

    def _recall(self, own: Ints, others: list[Ints]) -> float:
        wanted = sum(map(len, others))
        self.recall = 1.0
        if wanted:
            k = len(others[0]) + 1
            found = self._search_approximately(self.embeddings[own], k, self.ids)[1][:, :k]
            hits = sum(np.isin(row, mine).sum() for row, mine in zip(others, found, strict=True))
            self.recall = float(hits / wanted)
        return self.recall

    def pack(self) -> tuple[dict[str, Any], dict[str, bytes | memoryview]]:
        """Return the manifest entries of the search, and the contents of its files."""
        facts: dict[str, Any] = {
            "feature_dim": self.embeddings.shape[1],
            "kind": self.kind,
            "recall": self.recall,
        }
        parts: dict[str, bytes | memoryview] = {"embeddings": npy(self.embeddings)}
        if self.proposals is not None:
            facts["breadth"] = self.proposals.breadth
            parts["proposals"] = self.proposals.to_bytes()
        return facts, parts

    @classmethod
    def unpack(
        cls, facts: Mapping[str, Any], files: Mapping[str, BufferedReader], ids: Ints
    ) -> "GallerySearch":
        """Restore the result of ``pack`` from files; embeddings are memory-mapped.

        Raises:
            KeyError: An entry or a file is missing.
            ValueError, TypeError, OSError, EOFError: They cannot be read, or do not fit together.
        """
        embeddings = map_npy(files["embeddings"])
        dim, kind = facts["feature_dim"], facts["kind"]
        if embeddings.shape != (len(ids), dim):
            raise ValueError("its parts do not belong together")
        proposals = None
        if kind != "flat":
            content = files["proposals"].read()
            proposals = CandidateIndex.from_bytes(kind, content, facts["breadth"], dim)
        return cls(embeddings, ids, proposals, checks.real("recall", facts["recall"], 0, 1))

    def _search_exactly(
        self, queries: Floats, k: int, seen: Ints, excluded: Ints
    ) -> tuple[Scores, Ints]:
        """Search exactly."""
        return exact_search.search(queries, self.embeddings, k, seen, excluded, self.origin)

    def _search_approximately(self, queries: Floats, k: int, allowed: Ints) -> tuple[Scores, Ints]:
        """Rank at least ``k`` candidates among the ``allowed`` ids by exact scores."""
        assert self.proposals is not None
        ids = self.proposals.candidates(queries, k + exact_search.SPARE, allowed)
        positions = np.where(ids >= 0, np.searchsorted(self.ids, ids), NONE)
        nothing_left_out = np.full(len(queries), np.inf)
        width = positions.shape[1]
        return exact_search.rank(queries, self.embeddings, positions, nothing_left_out, width)[:2]
