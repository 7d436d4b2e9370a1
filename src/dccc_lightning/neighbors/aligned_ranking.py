"""Exact ranking of candidates for images that turn: by distance, then by index, itself first.

Products of spectra are summed in float64 at each turn; see ``aligned``.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common.compiled import compiled, parallel, reduction

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_CLOSE = 1e-3
"""Squared distance below which it is summed from differences, which is exact near 0."""


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
def rank(
    spectra: Floats,
    norms: NDArray[np.float64],
    weights: NDArray[np.float64],
    rows: Ints,
    candidates: Ints,
    bounds: Floats,
    k: int,
) -> tuple[Floats, Ints, NDArray[np.bool_]]:
    """Sort candidates by exact distance and keep the nearest ``k``.

    Args:
        spectra: (N, R, D), see ``aligned.spectrum``.
        norms: (N,) squared lengths of the spectra.
        weights: (R, R), see ``aligned.phases``.
        rows: (B,) images whose neighbours are sought.
        candidates: (B, M) images, all different within a row; -1 pads a row of fewer.
        bounds: (B,) lower bound of the squared distance of every image that is no candidate.
        k: Neighbours to keep.

    Returns:
        distances (B, k) float32; indices (B, k), -1 where a row has fewer candidates; complete
        (B,), False where an image that is no candidate could be among them.
    """
    distances = np.full((rows.size, k), np.inf, dtype=np.float32)
    indices = np.full((rows.size, k), -1, dtype=np.int64)
    complete = np.empty(rows.size, dtype=np.bool_)
    for r in numba.prange(rows.size):
        i = rows[r]
        products = np.empty(spectra.shape[1])
        row = np.sort(candidates[r])
        row = row[np.searchsorted(row, 0) :]
        exact = np.empty(row.size, dtype=np.float32)
        for c in range(row.size):
            exact[c] = (
                -1 if row[c] == i else _distance(spectra, norms, weights, products, i, row[c])
            )
        order = np.argsort(exact, kind="mergesort")[:k]  # stable: ties by index
        for c in range(order.size):
            distances[r, c] = max(exact[order[c]], np.float32(0))
            indices[r, c] = row[order[c]]
        complete[r] = row.size == spectra.shape[0] or distances[r, k - 1] ** 2 < bounds[r]
    return distances, indices, complete
