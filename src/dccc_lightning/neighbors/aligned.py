"""Similarity of images that turn: each is R embeddings, compared at the best common turn.

    s(a, b) = max_r 1/R sum_s cos(a_s, b_(s + r))

with a_s the embedding of a, turned by s 360/R degrees. The sums over s are a circular correlation.
In the Fourier basis of the R turns, where frequencies k and R - k are conjugate, they cost one
product of embeddings for k = 0 and k = R / 2 and three (as a complex product) for each other pair:
five for R = 4, in place of R^2 = 16. The frequency 0 alone is the product of the mean embeddings.
"""

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.common import checks
from dccc_lightning.common.tensors import as_tensor, full_precision

FeaturesT = TypeVar("FeaturesT", NDArray[Any], Tensor)

_ROWS = 256
"""Rows of ``a`` compared at once."""


def aligned_similarity(a: FeaturesT, b: FeaturesT) -> FeaturesT:
    """Return the similarity at the best common turn of all pairs of images.

    Symmetric, in [-1, 1], and the same when the images of ``a`` or ``b`` are turned. Summed in
    float64, so the result does not depend on the number of threads. Each embedding is L2-normalised
    first; a zero embedding stays zero.

    Args:
        a: (N, R, D): R embeddings of an image turned by 0, 360/R, ... degrees, NumPy or torch.
        b: (M, R, D), of the same kind and on the same device.

    Returns:
        (N, M) float32, of the kind of ``a``.

    Raises:
        TypeError: The entries are no real numbers.
        ValueError: Shapes that do not fit, or entries that are not finite.

    >>> a = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    >>> aligned_similarity(a, np.stack([a[0, ::-1], a[0, [0, 0]]])).tolist()
    [[1.0, 0.5]]
    """
    first, second = _turned("a", a), _turned("b", b)
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(
            f"a and b must have the same turns and size, got {tuple(first.shape[1:])} and "
            f"{tuple(second.shape[1:])}"
        )
    with torch.no_grad(), full_precision(), torch.autocast(first.device.type, enabled=False):
        rows, columns = spectrum(first), Columns(spectrum(second))
        found = torch.empty((len(rows), len(second)), device=first.device)
        for start in range(0, len(rows), _ROWS):
            part = slice(start, start + _ROWS)
            found[part] = columns.similarities(rows[part])
    return found if isinstance(a, Tensor) else found.numpy()


def _turned(name: str, features: NDArray[Any] | Tensor) -> Tensor:
    """Return (N, R, D) embeddings of length 1 or 0 as float64."""
    rows = as_tensor(features).detach()
    if rows.ndim != 3 or 0 in rows.shape[1:]:
        raise ValueError(f"{name} must be (images, turns, D), got {tuple(rows.shape)}")
    if rows.is_complex() or rows.dtype == torch.bool:
        raise TypeError(f"{name} must hold real numbers, got {rows.dtype}")
    rows = rows.double()
    bad = ~rows.isfinite().flatten(1).all(dim=1)
    checks.finite_rows(name, bad.nonzero()[:, 0].tolist())
    norms: Tensor = rows.norm(dim=2, keepdim=True)
    return rows / torch.where(norms > 0, norms, 1.0)


def spectrum(turned: Tensor) -> Tensor:
    """Return the Fourier transform over the turns as R real rows an image.

    Rows are the frequency 0, R / 2 (for even R), and the real and imaginary parts of the others,
    scaled so that the product of two spectra is the mean cosine without a turn.

    Args:
        turned: (N, R, D) embeddings.

    Returns:
        (N, R, D) of the same type.
    """
    n, turns, dim = turned.shape
    result = torch.empty_like(turned)
    if turns == 4:  # sums in this order are exact under turns: equal bits for a turned image
        even, odd = turned[:, 0] + turned[:, 2], turned[:, 1] + turned[:, 3]
        result[:, 0], result[:, 1] = even + odd, even - odd
        result[:, 2] = turned[:, 0] - turned[:, 2]
        result[:, 3] = turned[:, 3] - turned[:, 1]
    else:
        whole = torch.fft.fft(turned.double(), dim=1)
        single = single_frequencies(turns)
        result[:, :single] = whole[:, [0, turns // 2][:single]].real.to(turned.dtype)
        pairs = whole[:, 1 : (turns + 1) // 2]
        both = torch.stack([pairs.real, pairs.imag], dim=2)
        result[:, single:] = both.reshape(n, turns - single, dim).to(turned.dtype)
    result[:, single_frequencies(turns) :] *= 2**0.5
    return result.div_(turns)


def single_frequencies(turns: int) -> int:
    """Return the number of real frequencies: 0, and R / 2 for even R."""
    return min(turns, 2 - turns % 2)


def phases(turns: int) -> NDArray[np.float64]:
    """Return the weights (R, R) of the products of frequencies at each turn.

    Rows are turns; columns the real frequencies, then products in phase and in quadrature of each
    pair.
    """
    single = single_frequencies(turns)
    angles = 2 * np.pi * np.arange(turns)[:, None] * np.arange(1, (turns + 1) // 2) / turns
    weights = np.empty((turns, turns))
    weights[:, 0] = 1
    weights[:, 1:single] = (-1.0) ** np.arange(turns)[:, None]
    weights[:, single::2], weights[:, single + 1 :: 2] = np.cos(angles), -np.sin(angles)
    return np.where(np.abs(weights) < 1e-12, 0, weights)


class Columns:
    """Spectra (M, R, D) that others are compared with, by matrix products.

    Args:
        spectra: Of images, see ``spectrum``; kept without a copy, beside the sum of real and
            imaginary part of each pair.
    """

    def __init__(self, spectra: Tensor) -> None:
        self.turns = spectra.shape[1]
        self.weights = phases(self.turns)
        self.spectra = spectra
        single = single_frequencies(self.turns)
        self.sums = spectra[:, single::2] + spectra[:, single + 1 :: 2]

    def similarities(self, rows: Tensor, columns: slice = slice(None)) -> Tensor:
        """Return the similarity (B, columns) of spectra ``rows`` (B, R, D), at the best turn."""
        spectra, turns = self.spectra[columns], self.turns
        single = single_frequencies(turns)
        products = [rows[:, k] @ spectra[:, k].T for k in range(single)]
        for pair, k in enumerate(range(single, turns, 2)):
            real, imaginary = rows[:, k], rows[:, k + 1]
            both = real @ self.sums[columns, pair].T
            in_phase = both - (real - imaginary) @ spectra[:, k + 1].T
            products += [in_phase, both.sub_((real + imaginary) @ spectra[:, k].T)]
        return _best(products, self.weights)


def _best(products: list[Tensor], weights: NDArray[np.float64]) -> Tensor:
    """Return the largest of the weighted sums of products over the turns.

    For even R, half a turn changes the sign of the odd frequencies: the better of both is the sum
    of the even ones plus the absolute value of that of the odd ones. Overwrites ``products``.
    """
    turns = len(weights)
    if turns % 2:
        return torch.stack([_weighted(products, row) for row in weights]).amax(dim=0)
    half = turns // 2
    odd = np.isclose(weights[:half], -weights[half:]).all(axis=0)
    best: Tensor | None = None
    for row in weights[:half]:
        here = _weighted(products, np.where(odd, row, 0)).abs_()
        here += _weighted(products, np.where(odd, 0, row))
        best = here if best is None else torch.maximum(best, here, out=best)
    assert best is not None
    return best


def _weighted(products: list[Tensor], weights: NDArray[np.float64]) -> Tensor:
    total = torch.zeros_like(products[0])
    for product, weight in zip(products, weights, strict=True):
        if weight:
            total.add_(product, alpha=float(weight))
    return total
