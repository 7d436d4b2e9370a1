"""Candidates for the neighbours of images that turn, from their mean embeddings.

The product of the means is the frequency 0 of the similarity, see ``aligned``. Images whose means
are near are compared at the best turn too, but with the other frequencies rounded to 8 bits; so few
are left that exact distances cost little. A sample, compared with all images, tells how many near
means and how many of these are enough.
"""

import logging
import math
from collections.abc import Callable

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from dccc_lightning.common.compiled import compiled, parallel
from dccc_lightning.common.tensors import full_precision
from dccc_lightning.neighbors import candidate_ranking
from dccc_lightning.neighbors.aligned import Columns
from dccc_lightning.neighbors.inverted_file import recall
from dccc_lightning.neighbors.pairs_within import within

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
NearMeans = Callable[[Floats, int], tuple[Floats, NDArray[np.integer]]]
"""Search for about so many near rows of each, itself among them: squared distances and indices,
infinity and -1 where there are fewer."""

_log = logging.getLogger(__name__)

_MOST = 24
"""Most near means per neighbour."""

_FOUND = 0.993
"""Share of the neighbours to have among the near means."""

_KEPT = 0.999
"""Share of the neighbours among the near means to keep."""

_TRIED = 256
"""Images compared with all others, or a sixteenth of all, to see how many are enough."""

_SAMPLE = 1024
"""Images that distances of means are estimated from."""

_TOGETHER = 32
_ROWS = 4096
"""Rows compared with all others, and rows estimated, at once."""


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
    halves = np.einsum("nd,nd->n", means, means, dtype=np.float64) / 2
    tried = np.random.default_rng(0).permutation(n)[: max(16, min(_TRIED, n // 16))]
    nearest, places = _nearest(spectra, norms, means, halves, tried, k)
    width = min(n, max(_enough(places, _FOUND), k + candidate_ranking.SPARE))
    squares, found = near_means(means, width)
    lost = np.flatnonzero(~(found == np.arange(n)[:, None]).any(axis=1))
    found[lost, -1], squares[lost, -1] = lost, 0.0  # many equal means
    about = (*_rounded(spectra[:, 1:]), weights, norms, halves)

    def ordered(rows: Ints, kept: int) -> Ints:
        """Return the candidates of least estimate, in order if all are kept."""
        near = found[rows].astype(np.int64)
        estimates = _estimates(*about, rows, squares[rows], near)
        least = np.argpartition(estimates, kept - 1, axis=1)[:, :kept]
        if kept == near.shape[1]:
            least = np.argsort(estimates, axis=1, kind="stable")
        taken: Ints = np.take_along_axis(near, least, axis=1)
        return taken

    near = ordered(tried, found.shape[1])
    hits = [np.flatnonzero(np.isin(row, best)) for row, best in zip(near, nearest, strict=True)]
    kept = max(_enough(np.concatenate(hits), _KEPT), k + candidate_ranking.SPARE)
    kept = min(int(found.shape[1]), kept)
    _log.info(
        "kNN: of %d near means, %d are compared exactly; recall of the %d nearest %.4f on %d rows",
        *(width, kept, k, recall(near[:, :kept], nearest), len(tried)),
    )
    candidates = np.empty((n, kept), dtype=np.int64)
    for first in range(0, n, _ROWS):
        rows = np.arange(first, min(n, first + _ROWS))
        candidates[rows] = ordered(rows, kept)
    return candidates


def _enough(places: Ints, share: float) -> int:
    """Return how many of the first places hold this share."""
    return int(np.sort(places)[math.ceil(share * len(places)) - 1]) + 1


def _nearest(
    spectra: Floats,
    norms: NDArray[np.float64],
    means: Floats,
    halves: NDArray[np.float64],
    tried: Ints,
    k: int,
) -> tuple[Ints, Ints]:
    """Compare some images with all.

    Returns:
        Their neighbours (B, k), and the places (B k,) of these by the distance of their means, at
        most ``_MOST`` for each of the k.
    """
    most = min(len(spectra), _MOST * k)
    nearest, places = np.empty((len(tried), k), dtype=np.int64), []
    with full_precision(), torch.no_grad():
        columns, lengths = Columns(torch.from_numpy(spectra)), torch.from_numpy(norms).float()
        for first in range(0, len(tried), _TOGETHER):
            rows = tried[first : first + _TOGETHER]
            squares = lengths - 2 * columns.similarities(columns.spectra[rows])
            near = squares.topk(k, dim=1, largest=False).indices.numpy()
            nearest[first : first + _TOGETHER] = near
            distances = halves.astype(np.float32) - means[rows] @ means.T
            lowest = np.sort(np.partition(distances, most - 1, axis=1)[:, :most])
            wanted = np.take_along_axis(distances, near, axis=1)
            places += [np.searchsorted(*pair) for pair in zip(lowest, wanted, strict=True)]
    return nearest, np.minimum(np.concatenate(places), most - 1)


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


def _rounded(spectra: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Return spectra (N, R - 1, D) in 8 bits, and the unit (N,) of each image."""
    rounded = np.empty(spectra.shape, dtype=np.int8)
    units = np.empty(len(spectra), dtype=np.float32)
    for first in range(0, len(spectra), _ROWS):
        part = slice(first, first + _ROWS)
        units[part] = np.abs(spectra[part]).max(axis=(1, 2), initial=1e-30) / 127
        rounded[part] = np.rint(spectra[part] / units[part, None, None])
    return rounded, units


@compiled
def _product(rounded: NDArray[np.int8], i: int, f: int, j: int, g: int) -> np.int32:
    total = np.int32(0)
    for d in range(rounded.shape[2]):
        step = np.int32(rounded[i, f, d]) * np.int32(rounded[j, g, d])
        total = np.int32(total + step)  # all in 32 bits: vectorised
    return total


@parallel
def _estimates(
    rounded: NDArray[np.int8],
    units: Floats,
    weights: NDArray[np.float64],
    norms: NDArray[np.float64],
    halves: NDArray[np.float64],
    rows: Ints,
    squares: Floats,
    candidates: Ints,
) -> Floats:
    """Return squared distances (B, W) at the best turn, infinity for the candidate -1.

    Args:
        rounded: (N, R - 1, D) the frequencies from 1 on.
        units: (N,) of the rounded values.
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
            unit = np.float64(units[i]) * units[j]
            products[0] = halves[i] + halves[j] - squares[b, c] / 2
            for k in range(1, single):
                products[k] = unit * _product(rounded, i, k - 1, j, k - 1)
            for k in range(single, turns, 2):
                f, g = k - 1, k  # real and imaginary part
                both = _product(rounded, i, f, j, f) + _product(rounded, i, g, j, g)
                crossed = _product(rounded, i, f, j, g) - _product(rounded, i, g, j, f)
                products[k], products[k + 1] = unit * both, unit * crossed
            best = -np.inf
            for r in range(turns):
                similarity = 0.0
                for k in range(turns):
                    similarity += weights[r, k] * products[k]
                best = max(best, similarity)
            found[b, c] = norms[i] + norms[j] - 2 * best
    return found
