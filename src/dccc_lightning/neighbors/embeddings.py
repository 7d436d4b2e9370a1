"""Embeddings as the clustering takes them: checked, on the host, float32, rows of length one."""

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from dccc_lightning.common import checks

Features: TypeAlias = NDArray[Any] | torch.Tensor
"""Embeddings (N, D), NumPy or torch, on any device, of any real type."""

_BLOCK_BYTES = 1 << 24

_ROUNDING = 2.0**-23
"""How far from one the length of a float32 row of length one may be, and more."""


def unit_rows(
    features: Features, name: str = "features", may_be_empty: bool = False
) -> NDArray[np.float32]:
    """Return the L2-normalised rows of ``features``; a zero row stays zero.

    Norms are taken in float64, so rows that are multiples of each other become equal in nearly all
    bits, and very large and very small rows keep their direction. What this function returned it
    returns again: rows of length one up to rounding stay as they are.

    Args:
        features: embeddings (N, D), N and D at least 1.
        name: what to call the argument in errors.
        may_be_empty: accept N = 0, as of a frame without detections.

    Returns:
        (N, D) float32, C-contiguous; a new array.

    Raises:
        TypeError: the entries are no real numbers.
        ValueError: not two-dimensional, empty, or with NaN or infinite entries.
    """
    rows = _as_array(features, name)
    if rows.ndim != 2 or 0 in rows.shape[may_be_empty:]:
        wanted = "an" if may_be_empty else "a non-empty"
        raise ValueError(f"{name} must be {wanted} (N, D) array, got shape {rows.shape}")
    unit = np.empty(rows.shape, dtype=np.float32)
    block = max(1, _BLOCK_BYTES // (8 * rows.shape[1]))
    bad: list[int] = []
    for first in range(0, len(rows), block):
        part = rows[first : first + block].astype(np.float64)
        norms = np.sqrt(np.einsum("nd,nd->n", part, part))
        if not np.isfinite(norms).all():
            bad.extend(int(row) + first for row in np.flatnonzero(~np.isfinite(norms)))
            continue
        kept = (norms == 0) | (np.abs(norms - 1) <= _ROUNDING)
        part /= np.where(kept, 1.0, norms)[:, None]
        part += 0.0  # -0.0 becomes 0.0: equal rows are equal in every bit
        unit[first : first + block] = part
    checks.finite_rows(name, bad)
    return unit


def _as_array(features: Features, name: str) -> NDArray[Any]:
    if isinstance(features, torch.Tensor):
        tensor = features.detach()
        if tensor.is_floating_point() and tensor.dtype != torch.float64:
            tensor = tensor.float()  # NumPy knows no bfloat16
        rows = tensor.cpu().numpy()
    else:
        rows = np.asarray(features)
    if rows.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, got dtype {rows.dtype}")
    return rows
