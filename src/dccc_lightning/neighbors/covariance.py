"""Covariances of centred embeddings: shrunk towards a target, and rows whitened by them.

All is float64; or float32 where the rows are, with sums in float64 of products of ``_ROWS`` rows.
"""

from typing import NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.common.compiled import compiled, parallel
from dccc_lightning.neighbors.inverse_root import times_inverse_root

Floats = NDArray[np.float32]

_ROWS = 4096


class Moments(NamedTuple):
    """Sums over n centred rows.

    Attributes:
        n: Number of rows.
        second: (D, D), of the outer products, of the type of the rows.
        fourth: Of the fourth powers of the lengths, float64.
    """

    n: int
    second: Tensor
    fourth: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> "Moments":
        """Sum over rows (n, D), float32 or float64."""
        fourth = rows.square().sum(dim=1, dtype=torch.float64).square().sum()
        if rows.dtype == torch.float64:
            return cls(len(rows), rows.T @ rows, fourth)
        parts = [part.numpy() for part in torch.split(rows, _ROWS)]
        products = (torch.from_numpy(part.T @ part) for part in parts)  # symmetric: half the time
        second = next(products)
        for product in products:
            second = second.double() + product
        return cls(len(rows), second.float(), fourth)

    def plus(self, other: "Moments") -> "Moments":
        """Return the sums over the rows of both, in float64."""
        second = self.second.double() + other.second
        return Moments(self.n + other.n, second, self.fourth + other.fourth)

    def shrunk(self, target: Tensor | None = None) -> Tensor:
        """Return the covariance (D, D), shrunk towards ``target`` (Ledoit and Wolf).

        It is ``target`` itself where nothing of the covariance is left.

        Args:
            target: (D, D); None for the multiple of the identity of the same trace.
        """
        covariance = self.second / self.n
        if target is None:
            target = torch.eye(len(covariance)).to(covariance) * covariance.diagonal().mean()
        # Sampling error: variance of the mean over n rows, summed over the entries.
        error = (self.fourth / self.n - _squares(covariance)) / self.n
        distance = _squares(covariance - target)
        share = 1.0 if distance == 0 else float((error / distance).clamp(0, 1))
        return target if share == 1 else (1 - share) * covariance + share * target


def _squares(matrix: Tensor) -> Tensor:
    return matrix.square().sum(dtype=torch.float64)


def times_root(rows: Tensor, covariance: Tensor, least: float) -> Tensor | None:
    """Return ``rows @ covariance**(-1/2)``, (n, D).

    Args:
        rows: (n, D), of the type of ``covariance``.
        covariance: (D, D) float64; or float32, on a processor.
        least: Lower eigenvalues are raised to it.

    Returns:
        As ``rows``; None if they are float32 and the eigenvalues lie too far apart for that.
    """
    if covariance.dtype == torch.float32:
        found = times_inverse_root(rows.numpy(), covariance.numpy())
        return None if found is None else torch.from_numpy(found)
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = vectors * values.clamp(min=least).rsqrt() @ vectors.T
    return rows @ root


@compiled
def differ(
    rows: Floats, images: NDArray[np.int64], mean: NDArray[np.float64], least: float
) -> bool:
    """Return True if an entry of ``rows[images]`` differs from its mean by more than ``least``."""
    for i in images:
        for d in range(mean.size):
            if abs(rows[i, d] - mean[d]) > least:
                return True
    return False


@parallel
def subtract(
    rows: Floats, images: NDArray[np.int64], mean: NDArray[np.float64], least: float
) -> Floats:
    """Return ``rows[images] - mean`` as float32; a row without an entry above ``least`` is 0."""
    remainder = np.empty((images.size, rows.shape[1]), dtype=np.float32)
    for i in numba.prange(images.size):
        largest = 0.0
        for d in range(rows.shape[1]):
            value = rows[images[i], d] - mean[d]
            remainder[i, d] = value
            largest = max(largest, abs(value))
        if largest <= least:
            remainder[i] = 0
    return remainder
