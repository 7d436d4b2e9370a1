"""Arrays of any make as tensors."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


def as_tensor(values: Tensor | ArrayLike, device: torch.device | str | None = None) -> Tensor:
    """Return ``torch.as_tensor``, also of arrays that torch refuses or warns of.

    These are reversed, read-only (a memory map, say), or of another byte order; they are copied.

    >>> as_tensor(np.arange(3)[::-1])
    tensor([2, 1, 0])
    """
    plain: Any = values
    if isinstance(values, np.ndarray):
        plain = np.require(values, values.dtype.newbyteorder("="), ["C", "W"])
    return torch.as_tensor(plain, device=device)
