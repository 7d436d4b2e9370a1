"""Arrays of any make as tensors, and their products in full precision."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
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


class _Precision:
    """State of ``full_precision``, which threads share as they share torch's setting."""

    lock = threading.Lock()
    users = 0
    before = ""


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep TF32 out of matrix products; its rounding would misplace neighbours.

    The setting of torch belongs to the process: the first thread that enters changes it, and the
    last one that leaves restores it.
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
