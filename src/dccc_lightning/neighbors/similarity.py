"""Inner products of embeddings in full precision, whatever the caller's settings allow."""

from typing import NamedTuple

import torch
from torch import Tensor

from dccc_lightning.common.tensors import full_precision
from dccc_lightning.neighbors.collapse import mean_cosine, sampled

NARROW = 0.9
"""Mean cosine above which products are taken about the middle of the embeddings."""

_BLOCK = 4096


def products(rows: Tensor, columns: Tensor) -> Tensor:
    """Return ``rows @ columns.T`` without autocast and TF32, whose rounding would misplace images.

    Args:
        rows: (B, D).
        columns: (G, D).

    Returns:
        (B, G) of the same type.
    """
    with full_precision(), torch.autocast(rows.device.type, enabled=False):
        return rows @ columns.T


class Origin(NamedTuple):
    """The middle of embeddings that lie close together, as the origin of their products.

    Rounding is relative to the products, and cosines near 1 differ by less than that. Distances do
    not change when the origin moves: for q and g of length one, q g = 1 - |q - g|^2 / 2.

    Attributes:
        point: (D,).
        halves: (G,) half the squared distance of each gallery embedding from it.
    """

    point: Tensor
    halves: Tensor


def origin_of(gallery: Tensor) -> Origin | None:
    """Return the origin for products with a gallery; None where they are precise about zero.

    Args:
        gallery: (G, D) of length one.
    """
    sample = sampled(gallery)
    if mean_cosine(sample) <= NARROW:
        return None
    point = sample.mean(dim=0).to(gallery.dtype)
    halves = torch.cat([half_squares(part - point) for part in torch.split(gallery, _BLOCK)])
    return Origin(point, halves)


def half_squares(rows: Tensor) -> Tensor:
    """Return half the squared length of each row, summed in double precision."""
    return (rows.double().square().sum(dim=1) / 2).to(rows.dtype)
