"""Inner products of embeddings in full precision, whatever the caller's settings allow."""

import torch
from torch import Tensor


def products(rows: Tensor, columns: Tensor) -> Tensor:
    """Return ``rows @ columns.T`` without autocast and TF32, whose rounding would misplace images.

    Args:
        rows: (B, D).
        columns: (G, D).

    Returns:
        (B, G) of the same type.
    """
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(rows.device.type, enabled=False):
            return rows @ columns.T
    finally:
        torch.set_float32_matmul_precision(precision)
