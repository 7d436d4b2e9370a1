"""Embeddings as neighbour search, clustering, metrics and gallery take them."""

from dataclasses import dataclass
from typing import Any, TypeAlias, Union

import numpy as np
import torch
from numpy.typing import NDArray

from dccc_lightning.common import checks
from dccc_lightning.common.tensors import as_tensor

Features: TypeAlias = Union[NDArray[Any], torch.Tensor, "UnitEmbeddings"]
"""Embeddings (N, D): NumPy or torch, on any device and of any real type, or normalised already."""

_BLOCK_BYTES = 1 << 24

_ROUNDING = 2.0**-23
"""Bound on the distance from 1 of the length of a normalised float32 row."""

_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class UnitEmbeddings:
    """Normalised embeddings in host memory; ``of`` makes them of an array or a tensor.

    Normalise once and pass the result on: every function of the package that takes ``features``
    uses a ``UnitEmbeddings`` as it is, without a copy.

    Attributes:
        rows: (N, D) float32, C-contiguous, each row of length 1 or 0. Do not write to it.
        device: Device of the tensor that ``rows`` were made of; searches with torch run there.
        turned: (N, R, D) float32, the normalised embeddings of R turns of each image, of which
            ``rows`` are the means: ``knn`` compares these aligned. None for upright images.

    >>> UnitEmbeddings.of(np.array([[3.0, 4.0], [0.0, 0.0]])).rows.tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """

    rows: NDArray[np.float32]
    device: torch.device = _CPU
    turned: NDArray[np.float32] | None = None

    @classmethod
    def of(
        cls, features: Features, name: str = "features", may_be_empty: bool = False
    ) -> "UnitEmbeddings":
        """Normalise the rows of ``features``; return a ``UnitEmbeddings`` unchanged.

        Norms are taken in float64, so rows that are multiples of each other become equal in nearly
        all bits, and very large and very small rows keep their direction. Rows of length 1 up to
        rounding stay as they are: normalising again changes no bit. A zero row stays zero.

        Args:
            features: Embeddings (N, D), N and D at least 1.
            name: Name of the argument in errors.
            may_be_empty: Accept N = 0, as of a frame without detections.

        Raises:
            TypeError: The entries are no real numbers.
            ValueError: Not two-dimensional, empty, or with NaN or infinite entries.
        """
        rows = features.rows if isinstance(features, UnitEmbeddings) else _as_array(features, name)
        if rows.ndim != 2 or 0 in rows.shape[may_be_empty:]:
            wanted = "an" if may_be_empty else "a non-empty"
            raise ValueError(f"{name} must be {wanted} (N, D) array, got shape {rows.shape}")
        if isinstance(features, UnitEmbeddings):
            return features
        device = features.device if isinstance(features, torch.Tensor) else _CPU
        return cls(_normalized(rows, name), device)

    @classmethod
    def of_turns(
        cls, features: NDArray[Any] | torch.Tensor, name: str = "features"
    ) -> "UnitEmbeddings":
        """Normalise (N, R, D), R embeddings of each image, turned by 0, 360/R, ... degrees.

        Raises:
            TypeError: The entries are no real numbers.
            ValueError: Not three-dimensional, empty, or with NaN or infinite entries.
        """
        shape = tuple(features.shape)
        if len(shape) != 3 or 0 in shape:
            raise ValueError(f"{name} must be a non-empty (N, R, D) array, got shape {shape}")
        unit = cls.of(features.reshape(-1, shape[2]), name)
        turned = unit.rows.reshape(shape)
        return cls(cls.of(turned.mean(axis=1, dtype=np.float64)).rows, unit.device, turned)

    def __post_init__(self) -> None:
        rows = self.rows
        if rows.dtype != np.float32 or rows.ndim != 2 or not rows.flags.c_contiguous:
            raise ValueError(
                f"rows must be C-contiguous float32 (N, D), got {rows.dtype} {rows.shape}; "
                "UnitEmbeddings.of makes them of any embeddings"
            )

    @property
    def compared(self) -> NDArray[np.float32]:
        """The turns (N, R, D) of images that turn, else the rows (N, D)."""
        return self.rows if self.turned is None else self.turned

    def tensor(self) -> torch.Tensor:
        """Return the rows on ``device``; on the CPU without a copy."""
        return torch.from_numpy(self.rows).to(self.device)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: Any) -> "UnitEmbeddings":
        """Return the chosen embeddings; ``chosen`` indexes the first axis and keeps it."""
        turned = None if self.turned is None else np.ascontiguousarray(self.turned[chosen])
        return UnitEmbeddings(np.ascontiguousarray(self.rows[chosen]), self.device, turned)


def compared_tensor(features: Features) -> torch.Tensor:
    """Return embeddings (N, D) or turns (N, R, D) as they are compared, on their device."""
    if isinstance(features, UnitEmbeddings):
        return torch.from_numpy(features.compared).to(features.device)
    return as_tensor(features).detach()


def _normalized(rows: NDArray[Any], name: str) -> NDArray[np.float32]:
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


def _as_array(features: NDArray[Any] | torch.Tensor, name: str) -> NDArray[Any]:
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
