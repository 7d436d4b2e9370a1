"""Conversion of arrays to tensors, and matrix products in full float32 precision."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F


def as_tensor(values: Tensor | ArrayLike, device: torch.device | str | None = None) -> Tensor:
    """Convert to a tensor, copying arrays that torch refuses or warns about.

    These are arrays with negative strides, read-only arrays and other byte orders.

    >>> as_tensor(np.arange(3)[::-1])
    tensor([2, 1, 0])
    """
    plain: Any = values
    if isinstance(values, np.ndarray):
        plain = np.require(values, values.dtype.newbyteorder("="), ["C", "W"])
    return torch.as_tensor(plain, device=device)


def mean_of_turns(turns: Tensor) -> Tensor:
    """Return the normalised means (N, D) of embeddings (N, R, D) of turned images."""
    return F.normalize(turns.mean(dim=1), dim=1)


def resize_to_checkpoint(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: object
) -> None:
    """Resize the buffers of a module to the saved lengths, which vary by epoch.

    A hook of ``register_load_state_dict_pre_hook``.
    """
    for name, buffer in module.named_buffers(recurse=False):
        saved = state_dict.get(f"{prefix}{name}")
        if isinstance(saved, Tensor) and saved.ndim == buffer.ndim > 0:
            setattr(module, name, buffer.new_empty((len(saved), *buffer.shape[1:])))


class _Precision:
    """State of ``full_precision``, shared by threads like torch's setting."""

    lock = threading.Lock()
    users = 0
    before = ""


@contextmanager
def full_precision() -> Iterator[None]:
    """Disable TF32 in matrix products, whose rounding would change the order of neighbours.

    The setting is global to the process: the first thread to enter changes it, the last to leave
    restores it.
    """
    with _Precision.lock:
        if _Precision.users == 0:
            _Precision.before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")
        _Precision.users += 1
    try:
        yield
    finally:
        with _Precision.lock:
            _Precision.users -= 1
            if _Precision.users == 0:
                torch.set_float32_matmul_precision(_Precision.before)
