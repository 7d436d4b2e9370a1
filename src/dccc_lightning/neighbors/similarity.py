"""Inner products of embeddings in full float32 precision."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from dccc_lightning.common.tensors import full_precision
from dccc_lightning.neighbors.aligned import Columns, spectrum
from dccc_lightning.neighbors.collapse import mean_cosine, sampled

NARROW = 0.9
"""Mean cosine above which products are taken relative to the mean of the embeddings."""

_BLOCK = 4096


def products(rows: Tensor, columns: Tensor) -> Tensor:
    """Return ``rows @ columns.T`` without autocast and TF32, whose rounding changes ranks.

    Args:
        rows: (B, D).
        columns: (G, D).

    Returns:
        (B, G) of the same type.
    """
    with full_precision(), torch.autocast(rows.device.type, enabled=False):
        return rows @ columns.T


class Origin(NamedTuple):
    """Mean of embeddings that are close together, as the origin of their products.

    Cosines near 1 differ by less than the rounding of float32; products relative to the mean do
    not. Moving the origin changes no distance, and q g = 1 - |q - g|^2 / 2 for length 1.

    Attributes:
        point: (D,).
        halves: (G,) half the squared distance of each gallery embedding from ``point``.
    """

    point: Tensor
    halves: Tensor


def origin_of(gallery: Tensor) -> Origin | None:
    """Return the origin for products with a gallery; None where 0 is precise enough.

    Args:
        gallery: (G, D) of length 1.
    """
    sample = sampled(gallery)
    if mean_cosine(sample) <= NARROW:
        return None
    point = sample.mean(dim=0).to(gallery.dtype)
    halves = torch.cat([half_squares(part - point) for part in torch.split(gallery, _BLOCK)])
    return Origin(point, halves)


def similarities(queries: Tensor, gallery: Tensor, block: int) -> Iterator[Tensor]:
    """Yield the cosines of a gallery for blocks of queries, up to a constant of each query.

    Images that turn, (N, R, D), are compared by ``aligned_similarity``.

    Args:
        queries: (Q, D) of length 1, or (Q, R, D).
        gallery: (G, D) of length 1 on the same device, or (G, R, D).
        block: Queries at a time.

    Yields:
        (at most ``block``, G), higher is nearer.
    """
    compare: Callable[[Tensor], Tensor]
    origin = origin_of(gallery if gallery.ndim == 2 else gallery.flatten(0, 1))
    if origin is not None:
        queries, gallery = queries - origin.point, gallery - origin.point
    if gallery.ndim == 2:
        halves, compare = origin and origin.halves, partial(products, columns=gallery)
    else:
        halves = origin and origin.halves.view(len(gallery), -1).mean(dim=1)
        queries, compare = spectrum(queries), Columns(spectrum(gallery)).similarities
    for part in torch.split(queries, block):
        with full_precision(), torch.autocast(part.device.type, enabled=False):
            scores = compare(part)
        yield scores if halves is None else scores.sub_(halves)


def half_squares(rows: Tensor) -> Tensor:
    """Return half the squared length of each row, summed in double precision."""
    return (rows.double().square().sum(dim=1) / 2).to(rows.dtype)
