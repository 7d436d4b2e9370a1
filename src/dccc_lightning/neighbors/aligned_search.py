"""Nearest neighbours of images that turn, by the similarity of ``aligned``.

As in ``nearest``, a search in float32 finds candidates, and exact distances sort them. Compared
with plain embeddings the exact search takes five times the products for R = 4; the approximate one
takes its candidates from the mean embeddings.
"""

import logging
import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.common import checks, progress
from dccc_lightning.common.compiled import compiled, parallel, reduction
from dccc_lightning.common.tensors import as_tensor, full_precision
from dccc_lightning.neighbors import candidate_ranking
from dccc_lightning.neighbors.aligned import Columns, phases, spectrum
from dccc_lightning.neighbors.embeddings import UnitEmbeddings

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Neighbors = tuple[Floats, Ints]

_log = logging.getLogger(__name__)

CANDIDATES = 10
"""Candidates from the mean embeddings per neighbour, at least ``_FEWEST``."""

_FEWEST = 256
_BLOCK_BYTES = {"cpu": 1 << 25, "cuda": 1 << 29}

_CLOSE = 1e-3
"""Squared distance below which it is summed from differences, which is exact near 0."""

_SCANNED = 64
"""Rows compared with all others at once."""


def search(
    features: NDArray[Any] | Tensor,
    k: int,
    from_mean: Callable[[UnitEmbeddings, int], Ints] | None,
) -> Neighbors:
    """Find the ``k`` nearest neighbours of images (N, R, D); see ``nearest.knn``.

    Args:
        features: R embeddings of each image, turned by 0, 360/R, ... degrees.
        k: Neighbours per image, itself included.
        from_mean: Search for candidates (N, M) among the mean embeddings, in any order; None
            compares all pairs.
    """
    rows, device = _unit(features)
    k = checks.integer("k", k, low=1, high=len(rows))
    flat = rows.reshape(len(rows), -1)
    groups, members, starts = candidate_ranking.group_duplicates(flat)
    distinct = rows if len(starts) > len(rows) else rows[members[starts[:-1]]]
    found = _search_distinct(distinct, min(k, len(distinct)), from_mean, device)
    if len(distinct) == len(rows):
        return found
    return candidate_ranking.expand_groups(*found, groups, members, starts, k, True)


def _unit(features: NDArray[Any] | Tensor) -> tuple[Floats, torch.device]:
    """Return (N, R, D) embeddings of length 1 or 0, and their device."""
    shape = tuple(features.shape)
    if 0 in shape:
        raise ValueError(f"features must be a non-empty (N, R, D) array, got shape {shape}")
    tensor = features.detach() if isinstance(features, Tensor) else as_tensor(features)
    if tensor.is_floating_point():
        bad = ~tensor.isfinite().flatten(1).all(dim=1)
        checks.finite_rows("features", bad.nonzero()[:, 0].tolist())
    unit = UnitEmbeddings.of(tensor.reshape(-1, shape[2]))
    return unit.rows.reshape(shape), unit.device


def _search_distinct(
    rows: Floats,
    k: int,
    from_mean: Callable[[UnitEmbeddings, int], Ints] | None,
    device: torch.device,
) -> Neighbors:
    n, turns, dim = rows.shape
    centred = candidate_ranking.centred(rows.reshape(-1, dim)).reshape(rows.shape)
    spectra = spectrum(torch.from_numpy(centred)).numpy()
    norms = np.einsum("nrd,nrd->n", spectra, spectra, dtype=np.float64)
    weights = phases(turns)
    if from_mean is not None:
        width = min(n, max(CANDIDATES * k, _FEWEST))
        means = UnitEmbeddings.of(torch.from_numpy(rows.mean(axis=1)).to(device))
        candidates = from_mean(means, width)
        lost = np.flatnonzero(~(candidates == np.arange(n)[:, None]).any(axis=1))
        candidates[lost, -1] = lost  # many equal means
        bounds = np.full(n, np.inf, dtype=np.float32)
    else:
        candidates, bounds = _candidates(spectra, norms, k, device)
    everyone = np.arange(n)
    distances, indices, complete = _rank(spectra, norms, weights, everyone, candidates, bounds, k)
    unsure = np.flatnonzero(~complete)
    if unsure.size:
        _log.info("kNN: %d of %d rows have near ties and are scanned", unsure.size, n)
    for first in range(0, unsure.size, _SCANNED):
        some = unsure[first : first + _SCANNED]
        pool = np.broadcast_to(everyone, (some.size, n)).copy()
        distances[some], indices[some], _ = _rank(
            spectra, norms, weights, some, pool, bounds[some], k
        )
    return distances, indices


def _candidates(
    spectra: Floats, norms: NDArray[np.float64], k: int, device: torch.device
) -> tuple[Ints, Floats]:
    """Return candidates (N, M) from all pairs, and bounds (N,) of the squares of the others.

    The similarity is symmetric, so a block of rows is compared with the rows from its start on; the
    nearest of its columns are merged with those found before.
    """
    n = len(spectra)
    width = min(k + candidate_ranking.SPARE, n)
    error = candidate_ranking.rounding_error(spectra.reshape(n, -1))
    kind = device.type if device.type == "cuda" else "cpu"
    block = max(1, _BLOCK_BYTES[kind] // (4 * n))
    with full_precision(), torch.no_grad(), torch.autocast(kind, enabled=False):
        points = torch.from_numpy(spectra).to(kind)
        lengths = torch.from_numpy(norms.astype(np.float32)).to(kind)
        columns = Columns(points)
        squares = torch.full((n, width), torch.inf, device=kind)
        indices = torch.full((n, width), -1, device=kind)

        def merge(rows: slice, found: Tensor, first: int) -> None:
            """Merge the columns (rows, M), which are the images from ``first`` on."""
            near = found.topk(min(width, found.shape[1]), dim=1, largest=False)
            both = torch.cat([squares[rows], near.values], dim=1)
            names = torch.cat([indices[rows], near.indices + first], dim=1)
            kept = both.topk(width, dim=1, largest=False)
            squares[rows], indices[rows] = kept.values, names.gather(1, kept.indices)

        for part in progress.blocks("finding neighbours", n, block):
            rest = slice(part.start, n)
            found = columns.similarities(points[part], rest).mul_(-2)
            found.add_(lengths[rest]).add_(lengths[part, None])
            merge(part, found, part.start)
            if part.stop < n:
                after = found[:, part.stop - part.start :].T.contiguous()
                merge(slice(part.stop, n), after, part.start)
    return indices.cpu().numpy(), squares[:, -1].cpu().numpy() - error


@reduction
def _product(spectra: Floats, i: int, j: int, k: int) -> float:
    total = 0.0
    for d in range(spectra.shape[2]):
        total += np.float64(spectra[i, k, d]) * np.float64(spectra[j, k, d])
    return total


@reduction
def _products(spectra: Floats, i: int, j: int, k: int) -> tuple[float, float]:
    """Return the products of frequency pair ``k`` in phase and in quadrature."""
    together, later = 0.0, 0.0
    for d in range(spectra.shape[2]):
        real, imaginary = np.float64(spectra[i, k, d]), np.float64(spectra[i, k + 1, d])
        other, turned = np.float64(spectra[j, k, d]), np.float64(spectra[j, k + 1, d])
        together += real * other + imaginary * turned
        later += real * turned - imaginary * other
    return together, later


@reduction
def _difference(spectra: Floats, weights: NDArray[np.float64], i: int, j: int) -> float:
    """Return the squared distance at one turn, whose weights (R,) these are."""
    turns = spectra.shape[1]
    single = min(turns, 2 - turns % 2)
    total = 0.0
    for k in range(single):
        for d in range(spectra.shape[2]):
            gap = np.float64(spectra[i, k, d]) - weights[k] * np.float64(spectra[j, k, d])
            total += gap * gap
    for k in range(single, turns, 2):
        cosine, sine = weights[k], -weights[k + 1]
        for d in range(spectra.shape[2]):
            real, imaginary = np.float64(spectra[j, k, d]), np.float64(spectra[j, k + 1, d])
            first = np.float64(spectra[i, k, d]) - (cosine * real - sine * imaginary)
            second = np.float64(spectra[i, k + 1, d]) - (sine * real + cosine * imaginary)
            total += first * first + second * second
    return total


@compiled
def _distance(
    spectra: Floats,
    norms: NDArray[np.float64],
    weights: NDArray[np.float64],
    products: NDArray[np.float64],
    i: int,
    j: int,
) -> float:
    """Return the distance at the best turn; ``products`` (R,) is room to compute in."""
    turns = spectra.shape[1]
    single = min(turns, 2 - turns % 2)
    for k in range(single):
        products[k] = _product(spectra, i, j, k)
    for k in range(single, turns, 2):
        products[k], products[k + 1] = _products(spectra, i, j, k)
    best, turn = -np.inf, 0
    for r in range(turns):
        similarity = 0.0
        for k in range(turns):
            similarity += weights[r, k] * products[k]
        if similarity > best:
            best, turn = similarity, r
    square = norms[i] + norms[j] - 2 * best
    if square < _CLOSE:
        square = _difference(spectra, weights[turn], i, j)
    return math.sqrt(max(square, 0.0))


@parallel
def _rank(
    spectra: Floats,
    norms: NDArray[np.float64],
    weights: NDArray[np.float64],
    rows: Ints,
    candidates: Ints,
    bounds: Floats,
    k: int,
) -> tuple[Floats, Ints, NDArray[np.bool_]]:
    """Sort the candidates (rows, M) by exact distance, the point itself first; see ``nearest``."""
    m = candidates.shape[1]
    distances = np.empty((rows.size, k), dtype=np.float32)
    indices = np.empty((rows.size, k), dtype=np.int64)
    complete = np.empty(rows.size, dtype=np.bool_)
    for r in numba.prange(rows.size):
        i = rows[r]
        products = np.empty(spectra.shape[1])
        row = np.sort(candidates[r])
        exact = np.empty(m, dtype=np.float32)
        for c in range(m):
            exact[c] = (
                -1 if row[c] == i else _distance(spectra, norms, weights, products, i, row[c])
            )
        order = np.argsort(exact, kind="mergesort")[:k]  # stable: ties by index
        for c in range(k):
            distances[r, c] = max(exact[order[c]], np.float32(0))
            indices[r, c] = row[order[c]]
        complete[r] = m == spectra.shape[0] or distances[r, k - 1] ** 2 < bounds[r]
    return distances, indices, complete
