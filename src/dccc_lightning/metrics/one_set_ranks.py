"""Ranks of the matches of every image among all others of one set, without a GPU.

Similarities are symmetric, so only blocks on and above the diagonal of their matrix are computed,
half of the products. Images are sorted by identity: the scores of matches are then in few blocks
near the diagonal, which are computed first. Every block is counted twice: which of its columns rank
above the matches of its rows, and which of its rows above the matches of its columns.
"""

from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.common import progress
from dccc_lightning.common.compiled import compiled, parallel
from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.metrics.gallery_matches import Gallery, Matches
from dccc_lightning.neighbors.similarity import origin_of

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

_BLOCK = 256

_NARROWEST = 512
"""Dimensions from which half of the products is more than counting the others twice costs."""

_BYTES = 32
"""Bytes of a pair of one identity."""

_LEAST_BYTES = 1 << 28
"""Bytes that all pairs may take, or as much as the embeddings."""


class _Set(NamedTuple):
    """Images sorted by identity, then by position.

    Attributes:
        rows: (N, D) embeddings.
        halves: (N,) subtracted from the products with each.
        first: (N,) first image of the same identity.
        sizes: (N,) images of the same identity; 0 where it is unknown.
    """

    rows: Floats
    halves: Floats
    first: Ints
    sizes: Ints


def matches_in_one_set(features: Tensor, gallery: Gallery, block: int) -> list[Matches] | None:
    """Return the true matches of every image of a gallery, each a query against all.

    Ranks are those that ``Gallery.matches`` gives, apart from the rounding of products.

    Args:
        features: (N, D) of length 1.
        gallery: Labels of the same images.
        block: Queries at a time.

    Returns:
        The matches of ``block`` queries each; None on a GPU, for images that turn, for embeddings
        of few dimensions, for a protocol that ranks identities or hides images, and where so many
        images share an identity that their pairs would take too much memory.
    """
    protocol = gallery.protocol
    if features.ndim != 2 or features.device.type != "cpu" or protocol.cmc != "image":
        return None
    if protocol.crosses_modalities or protocol.hidden or features.shape[1] < _NARROWEST:
        return None
    identities = gallery.sorted_identities.numpy()
    first, sizes = _groups(identities)
    if sizes.sum() * _BYTES > max(_LEAST_BYTES, features.nbytes):
        return None
    order = gallery.by_identity
    origin = origin_of(features)
    rows, halves = features[order], features.new_zeros(len(features))
    if origin is not None:
        rows, halves = rows.sub_(origin.point), origin.halves[order]
    images = _Set(rows.numpy(), halves.numpy(), first, sizes)

    queries = np.repeat(np.arange(len(sizes)), sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    others = np.arange(len(queries)) - starts[queries] + first[queries]
    places = order.numpy()
    pairs = torch.from_numpy(places[queries]), torch.from_numpy(places[others])
    out = protocol.left_out(gallery.labels, gallery.labels, *pairs).numpy()
    scores = _pair_scores(images, starts)
    ascending = np.lexsort((scores, queries))
    ascending = ascending[~out[ascending]]
    wanted = scores[ascending], places[others[ascending]]
    kept = np.bincount(queries[ascending], minlength=len(sizes))
    kept_starts = np.concatenate([[0], np.cumsum(kept)])
    before = np.zeros(len(ascending), dtype=np.int64)  # differences, see _count
    ties = np.zeros(len(ascending), dtype=np.int64)
    counted = kept_starts, *wanted, before, ties
    _discount(queries[out], scores[out], places[others[out]], *counted)
    with progress.announced("ranking the gallery", len(sizes), "queries") as phase:
        for start in range(0, len(sizes), _BLOCK):
            for other in range(start, len(sizes), _BLOCK):
                products, own, theirs = _products(images, start, other)
                _count(products - images.halves[theirs], own.start, places[theirs], *counted)
                if start != other:
                    columns = np.ascontiguousarray(products.T) - images.halves[own]
                    _count(columns, theirs.start, places[own], *counted)
            phase.advance(min(_BLOCK, len(sizes) - start))
    _accumulate(kept_starts, before)
    found = (before + ties + 1, places[queries[ascending]], wanted[1])
    by_query = np.argsort(found[1], kind="stable")
    every = Matches(*(torch.from_numpy(column[by_query]) for column in found))
    bounds = torch.searchsorted(every.rows, torch.arange(0, len(sizes) + block, block)).tolist()
    return [Matches(*(column[low:high] for column in every)) for low, high in pairwise(bounds)]


def _groups(identities: Ints) -> tuple[Ints, Ints]:
    """Return the first image of each one's identity, and the number of its images."""
    first = np.searchsorted(identities, identities)
    sizes = np.searchsorted(identities, identities, side="right") - first
    return first, np.where(identities == UNKNOWN, 0, sizes)


def _products(images: _Set, start: int, other: int) -> tuple[Floats, slice, slice]:
    """Return the products of two blocks of images, the same bits in every call."""
    own, theirs = slice(start, start + _BLOCK), slice(other, other + _BLOCK)
    right = images.rows[theirs]
    if start == other:
        right = right.copy()  # NumPy would call another kernel, whose rounding may differ
    return images.rows[own] @ right.T, own, theirs


def _pair_scores(images: _Set, starts: Ints) -> Floats:
    """Return the scores of all pairs of one identity, from ``starts[i]`` on those of image i."""
    scores = np.empty(starts[-1], dtype=images.rows.dtype)
    stops = images.first + images.sizes
    for start in range(0, len(images.rows), _BLOCK):
        last = stops[start : start + _BLOCK].max()
        for other in range(start, max(start + 1, int(last)), _BLOCK):
            block, own, theirs = _products(images, start, other)
            _take(block, own.start, theirs.start, images.halves, images.first, starts, scores)
    return scores


@compiled
def _take(
    block: Floats,
    start: int,
    other: int,
    halves: Floats,
    first: Ints,
    starts: Ints,
    scores: Floats,
) -> None:
    """Write the scores of the pairs of one identity in a block, for rows and for columns."""
    for i in range(block.shape[0]):
        row = start + i
        low, high = first[row], first[row] + starts[row + 1] - starts[row]
        for j in range(max(low - other, 0), min(high - other, block.shape[1])):
            column = other + j
            scores[starts[row] + column - low] = block[i, j] - halves[column]
            if start != other:
                scores[starts[column] + row - low] = block[i, j] - halves[row]


@compiled
def _below(scores: Floats, score: float) -> int:
    """Return how many of ascending ``scores`` are below ``score``."""
    low, high = 0, scores.size
    while low < high:
        middle = (low + high) // 2
        if scores[middle] < score:
            low = middle + 1
        else:
            high = middle
    return low


@parallel
def _count(
    block: Floats,
    start: int,
    columns: Ints,
    starts: Ints,
    wanted: Floats,
    matches: Ints,
    before: Ints,
    ties: Ints,
) -> None:
    """Count the columns (B, M) that rank above the matches of the rows from ``start`` on.

    Args:
        block: Scores.
        start: First row.
        columns: Positions of the columns in the gallery, which order equal scores.
        starts: Offsets of the matches of each row.
        wanted: Scores of the matches, ascending within a row.
        matches: Their positions in the gallery.
        before: Of each match, the columns above it, but not above the next higher match.
        ties: Of each match, the columns with the same score and an earlier position.
    """
    for i in numba.prange(block.shape[0]):
        low, high = starts[start + i], starts[start + i + 1]
        if low == high:
            continue
        scores = wanted[low:high]
        least = scores[0]
        for j in range(block.shape[1]):
            score = block[i, j]
            if score < least:
                continue
            place = low + _below(scores, score)
            if place > low:
                before[place - 1] += 1
            while place < high and wanted[place] == score:
                ties[place] += columns[j] < matches[place]
                place += 1


@compiled
def _discount(
    queries: Ints,
    scores: Floats,
    columns: Ints,
    starts: Ints,
    wanted: Floats,
    matches: Ints,
    before: Ints,
    ties: Ints,
) -> None:
    """Take pairs that do not count out of the counts of ``_count``."""
    for pair in range(queries.size):
        low, high = starts[queries[pair]], starts[queries[pair] + 1]
        place = low + _below(wanted[low:high], scores[pair])
        if place > low:
            before[place - 1] -= 1
        while place < high and wanted[place] == scores[pair]:
            ties[place] -= columns[pair] < matches[place]
            place += 1


@compiled
def _accumulate(starts: Ints, before: Ints) -> None:
    """Add to each match the counts of those with higher scores, in place."""
    for i in range(starts.size - 1):
        for place in range(starts[i + 1] - 2, starts[i] - 1, -1):
            before[place] += before[place + 1]
