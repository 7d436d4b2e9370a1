"""Rows times the symmetric inverse root of a covariance, in float32.

An orthogonal Q makes the covariance tridiagonal: C = Q T Q'. The root of T is a short sum of
inverses, so that rows x become x Q (sum_p w_p (T + s_p)^-1) Q' without eigenvectors, which take
longer and are less exact. Q is applied in blocks of reflectors (Bischof and Van Loan, SIAM J. Sci.
Stat. Comput. 1987); weights and shifts are those of Hale, Higham and Trefethen (SIAM J. Numer.
Anal. 2008, method 3).
"""

import math
from collections.abc import Iterable

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh_tridiagonal, lapack, solve_triangular
from scipy.linalg.blas import sgemm
from scipy.special import ellipj, ellipkm1

from dccc_lightning.common.compiled import compiled, parallel

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

FARTHEST = 2e4
"""Largest over least eigenvalue for which float32 will do: at 1.5e4, with 2,048 dimensions, the
distances of whitened embeddings differed from those of float64 by at most 5e-5 of their size."""

_ERROR = 1e-8
"""Largest relative error of the sum of inverses, below the rounding of float32."""

_PANEL = 64
"""Columns that LAPACK may gather in its work space; without, it takes one at a time."""

_REFLECTORS = 192
"""Reflectors applied by one matrix product."""

_LANES = 32
"""Rows that a thread solves for at a time."""


def times_inverse_root(rows: Floats, covariance: Floats) -> Floats | None:
    """Return ``rows @ covariance**(-1/2)``.

    Args:
        rows: (n, D).
        covariance: (D, D), symmetric.

    Returns:
        (n, D); None if the eigenvalues are not positive, or too far apart for float32.
    """
    reflected, diagonal, beside, scales, _ = lapack.ssytrd(
        covariance.T, lower=1, lwork=_PANEL * len(covariance)
    )
    diagonal, beside = diagonal.astype(np.float64), beside.astype(np.float64)
    least, largest = (
        float(eigvalsh_tridiagonal(diagonal, beside, select="i", select_range=(at, at))[0])
        for at in (0, len(diagonal) - 1)
    )
    if not largest < FARTHEST * least:
        return None
    columns = np.array(rows.T, order="C")  # a copy, even of one row
    blocks = _blocks(reflected, scales)
    _reflect(columns, blocks, transposed=True)
    _solve(columns, *_factors(diagonal, beside, *inverse_sum(least, largest)))
    _reflect(columns, reversed(blocks), transposed=False)
    return np.ascontiguousarray(columns.T)


def inverse_sum(least: float, largest: float) -> tuple[Doubles, Doubles]:
    """Return shifts s and weights w (P,), so that x**(-1/2) is the sum of w / (x + s).

    The relative error is below 1e-8 for every x from ``least`` > 0 to ``largest``.

    >>> shifts, weights = inverse_sum(1, 100)
    >>> round(float((weights / (25 + shifts)).sum()), 7)
    0.2
    """
    ratio = least / largest
    count = math.ceil((3 - math.log(ratio)) * math.log(4 / _ERROR) / (2 * math.pi**2))
    period = float(ellipkm1(ratio))
    points = (np.arange(count) + 0.5) * (period / count)
    sn, cn, dn, _ = (np.asarray(part, np.float64) for part in ellipj(points, 1 - ratio))
    weights = dn / cn**2 * (2 * period * math.sqrt(least) / (math.pi * count))
    return least * (sn / cn) ** 2, weights


_Block = tuple[int, Floats, Floats]
"""First coordinate, reflectors V (D - first, k) and G (k, k): their product is 1 - V G^-1 V'."""


def _blocks(reflected: Floats, scales: Floats) -> list[_Block]:
    """Return the reflectors of LAPACK's ``sytrd`` in blocks."""
    blocks = []
    for start in range(0, len(scales), _REFLECTORS):
        chosen = slice(start, min(start + _REFLECTORS, len(scales)))
        vectors = np.tril(reflected[start + 1 :, chosen], -1)
        used = scales[chosen] != 0
        at = np.arange(len(used))
        vectors[at, at] = 1
        vectors *= used
        inverse = np.triu(vectors.T @ vectors, 1)
        inverse[at, at] = 1 / np.where(used, scales[chosen], 1)
        blocks.append((start + 1, vectors, inverse))
    return blocks


def _reflect(columns: Floats, blocks: Iterable[_Block], transposed: bool) -> None:
    """Multiply columns (D, n) by Q or, transposed, by Q', in place."""
    for first, vectors, inverse in blocks:
        below = columns[first:]
        shares = solve_triangular(
            inverse, vectors.T @ below, trans=1 if transposed else 0, check_finite=False
        )
        sgemm(-1, shares.T, vectors.T, 1, below.T, overwrite_c=1)


@compiled
def _factors(
    diagonal: Doubles, beside: Doubles, shifts: Doubles, weights: Doubles
) -> tuple[Doubles, Doubles]:
    """Factor each ``T + shift`` into L D L'.

    Args:
        diagonal: (D,) of T.
        beside: (D - 1,) entries beside the diagonal.
        shifts: (P,) positive.
        weights: (P,).

    Returns:
        Entries of L below its diagonal (P, D - 1), and weights over the entries of D (P, D).
    """
    lower = np.empty((shifts.size, beside.size))
    scaled = np.empty((shifts.size, diagonal.size))
    for p in range(shifts.size):
        pivot = diagonal[0] + shifts[p]
        scaled[p, 0] = weights[p] / pivot
        for i in range(beside.size):
            lower[p, i] = beside[i] / pivot
            pivot = diagonal[i + 1] + shifts[p] - beside[i] * lower[p, i]
            scaled[p, i + 1] = weights[p] / pivot
    return lower, scaled


@parallel
def _solve(columns: Floats, lower: Doubles, scaled: Doubles) -> None:
    """Replace columns (D, n) by the weighted sum of their solutions, in place."""
    dim, n = columns.shape
    for block in numba.prange((n + _LANES - 1) // _LANES):
        first = block * _LANES
        lanes = min(_LANES, n - first)
        part = np.empty((dim, lanes))
        total = np.zeros((dim, lanes))
        for p in range(lower.shape[0]):
            for r in range(lanes):
                part[0, r] = columns[0, first + r]
            for i in range(1, dim):
                for r in range(lanes):
                    part[i, r] = columns[i, first + r] - lower[p, i - 1] * part[i - 1, r]
            for r in range(lanes):
                part[dim - 1, r] *= scaled[p, dim - 1]
                total[dim - 1, r] += part[dim - 1, r]
            for i in range(dim - 2, -1, -1):
                for r in range(lanes):
                    part[i, r] = part[i, r] * scaled[p, i] - lower[p, i] * part[i + 1, r]
                    total[i, r] += part[i, r]
        for i in range(dim):
            for r in range(lanes):
                columns[i, first + r] = total[i, r]
