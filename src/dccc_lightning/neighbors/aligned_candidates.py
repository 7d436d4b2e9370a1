"""Candidates for the neighbours of images that turn, from their mean embeddings.

The product of the means is the frequency 0 of the similarity, see ``aligned``. Images whose means
are near are compared at the best turn too, but with the other frequencies projected to a few
directions; so few are left that exact distances cost little.
"""

import logging
import math
from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common.compiled import parallel, reduction
from dccc_lightning.neighbors import aligned_ranking, candidate_ranking
from dccc_lightning.neighbors.pairs_within import within

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
NearMeans = Callable[[Floats, int], tuple[Floats, NDArray[np.integer]]]
"""Search for about so many near rows of each, itself among them: squared distances and indices,
infinity and -1 where there are fewer."""

_log = logging.getLogger(__name__)

CANDIDATES = 8
"""Near means per neighbour, at least ``FEWEST``."""

FEWEST = 256

_DIRECTIONS = 96
"""Directions of the projection."""

_SAMPLE = 1024
"""Images that distances and directions are estimated from."""

_TRIED = 256
"""Images for which all near means are ranked exactly, to see how many are enough."""

_KEPT = 0.999
"""Share of the neighbours among the near means to keep."""

_ROWS = 4096
"""Rows estimated at once."""


def choose(
    spectra: Floats,
    norms: NDArray[np.float64],
    weights: NDArray[np.float64],
    k: int,
    near_means: NearMeans,
) -> Ints:
    """Return candidates (N, M) for the ``k`` nearest of each image, -1 where there are fewer.

    Args:
        spectra: (N, R, D), see ``aligned.spectrum``.
        norms: (N,) squared lengths of the spectra.
        weights: (R, R), see ``aligned.phases``.
        k: Neighbours, the image itself included.
        near_means: Search among the frequencies 0.
    """
    n = len(spectra)
    means = np.ascontiguousarray(spectra[:, 0])
    squares, found = near_means(means, min(n, max(CANDIDATES * k, FEWEST)))
    lost = np.flatnonzero(~(found == np.arange(n)[:, None]).any(axis=1))
    found[lost, -1], squares[lost, -1] = lost, 0.0  # many equal means
    halves = np.einsum("nd,nd->n", means, means, dtype=np.float64) / 2
    about = (_projected(spectra[:, 1:]), weights, norms, halves)
    tried = np.random.default_rng(0).permutation(n)[:_TRIED]
    estimates = _estimates(*about, tried, squares[tried], found[tried].astype(np.int64))
    nearest = np.argsort(estimates, axis=1, kind="stable")
    kept = _enough(spectra, norms, weights, tried, _taken(found[tried], nearest), k)
    _log.info("kNN: of %d near means, %d are compared exactly", found.shape[1], kept)
    candidates = np.empty((n, kept), dtype=np.int64)
    for first in range(0, n, _ROWS):
        rows = np.arange(first, min(n, first + _ROWS))
        near = found[rows].astype(np.int64)
        estimates = _estimates(*about, rows, squares[rows], near)
        best = np.argpartition(estimates, kept - 1, axis=1)[:, :kept]
        candidates[rows] = _taken(near, best)
    return candidates


def _taken(found: NDArray[np.integer], places: Ints) -> Ints:
    taken: Ints = np.take_along_axis(found, places, axis=1).astype(np.int64)
    return taken


def _enough(
    spectra: Floats,
    norms: NDArray[np.float64],
    weights: NDArray[np.float64],
    tried: Ints,
    ordered: Ints,
    k: int,
) -> int:
    """Return how many candidates of least estimate hold nearly all neighbours of all candidates.

    Args:
        spectra: (N, R, D), with ``norms`` and ``weights`` as for ``choose``.
        norms: (N,).
        weights: (R, R).
        tried: (B,) images.
        ordered: (B, W) their candidates, the least estimate first.
        k: Neighbours of each.
    """
    unbounded = np.full(len(tried), np.inf, dtype=np.float32)
    near = aligned_ranking.rank(spectra, norms, weights, tried, ordered, unbounded, k)[1]
    places = [
        np.flatnonzero(np.isin(row, best[best >= 0]))
        for row, best in zip(ordered, near, strict=True)
    ]
    last = np.sort(np.concatenate(places))[math.ceil(_KEPT * sum(map(len, places))) - 1]
    return min(int(ordered.shape[1]), max(int(last) + 1, k + candidate_ranking.SPARE))


def near_pairs(rows: Floats, width: int) -> tuple[Floats, NDArray[np.int32]]:
    """Find about ``width`` near rows of each (N, D), itself among them, from all pairs.

    The squared distance within which they lie is that of a sample, so that no lists are sorted.

    Returns:
        Squared distances and indices (N, up to 5 ``width``), infinity and -1 where there are fewer.
    """
    n = len(rows)
    if width >= n:
        return within(rows, np.full(n, np.inf, dtype=np.float32), n)
    size = min(n, max(_SAMPLE, 16 * n // width))
    sample = np.sort(np.random.default_rng(0).permutation(n)[:size])
    halves = np.einsum("nd,nd->n", rows, rows, dtype=np.float64).astype(np.float32) / 2
    place = min(size - 1, max(1, round(width * size / n)))
    bounds = np.empty(n, dtype=np.float32)
    block = max(1, (1 << 24) // size)
    for first in range(0, n, block):
        part = slice(first, first + block)
        scores = rows[part] @ rows[sample].T
        scores -= halves[sample]
        inner = np.searchsorted(sample, [first, first + len(scores)])
        own = np.arange(*inner)
        scores[sample[own] - first, own] = -np.inf
        bounds[part] = np.partition(scores, size - place, axis=1)[:, size - place] - halves[part]
    most = min(n, round(width * (1 + 4 / math.sqrt(place))))
    return within(rows, -2 * bounds, most)


def _projected(spectra: Floats) -> Floats:
    """Return spectra (N, R - 1, D) in the ``_DIRECTIONS`` of largest variance of a sample."""
    n, frequencies, dim = spectra.shape
    if dim <= _DIRECTIONS or not frequencies:
        return np.ascontiguousarray(spectra)
    rng = np.random.default_rng(0)
    sample = spectra[rng.permutation(n)[:_SAMPLE]].reshape(-1, dim)
    directions = rng.standard_normal((dim, _DIRECTIONS), dtype=np.float32)
    for _ in range(2):
        directions = np.linalg.qr(sample.T @ (sample @ directions))[0]
    return np.stack([spectra[:, f] @ directions for f in range(frequencies)], axis=1)


@reduction
def _product(low: Floats, i: int, j: int, f: int) -> np.float32:
    total = np.float32(0)
    for d in range(low.shape[2]):
        total += low[i, f, d] * low[j, f, d]
    return total


@reduction
def _crossed(low: Floats, i: int, j: int, f: int) -> np.float32:
    """Return the product of frequency pair ``f`` in quadrature."""
    total = np.float32(0)
    for d in range(low.shape[2]):
        total += low[i, f, d] * low[j, f + 1, d] - low[i, f + 1, d] * low[j, f, d]
    return total


@parallel
def _estimates(
    low: Floats,
    weights: NDArray[np.float64],
    norms: NDArray[np.float64],
    halves: NDArray[np.float64],
    rows: Ints,
    squares: Floats,
    candidates: Ints,
) -> Floats:
    """Return squared distances (B, W) at the best turn, infinity for the candidate -1.

    Args:
        low: (N, R - 1, d) the frequencies from 1 on, projected.
        weights: (R, R), see ``aligned.phases``.
        norms: (N,) squared lengths of the whole spectra.
        halves: (N,) half the squared lengths of the frequencies 0.
        rows: (B,) images.
        squares: (B, W) squared distances of the frequencies 0.
        candidates: (B, W) images.
    """
    turns = weights.shape[0]
    single = min(turns, 2 - turns % 2)
    found = np.full(candidates.shape, np.inf, dtype=np.float32)
    for b in numba.prange(rows.size):
        products, i = np.empty(turns), rows[b]
        for c in range(candidates.shape[1]):
            j = candidates[b, c]
            if j < 0:
                continue
            products[0] = halves[i] + halves[j] - squares[b, c] / 2
            for k in range(1, single):
                products[k] = _product(low, i, j, k - 1)
            for k in range(single, turns, 2):
                products[k] = _product(low, i, j, k - 1) + _product(low, i, j, k)
                products[k + 1] = _crossed(low, i, j, k - 1)
            best = -np.inf
            for r in range(turns):
                similarity = 0.0
                for k in range(turns):
                    similarity += weights[r, k] * products[k]
                best = max(best, similarity)
            found[b, c] = norms[i] + norms[j] - 2 * best
    return found
