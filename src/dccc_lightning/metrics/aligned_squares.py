"""Squared distances of images that turn, for the re-ranking."""

import torch
from torch import Tensor

from dccc_lightning.common.tensors import full_precision
from dccc_lightning.neighbors.aligned import Columns, spectrum
from dccc_lightning.neighbors.similarity import half_squares, origin_of

_BLOCK_BYTES = 1 << 26


class AlignedSquares:
    """Squared distances at the best turn, relative to the largest from their first image.

    Args:
        points: (N, R, D) of length 1, queries and gallery.
        first_gallery: Position of the first image of the gallery.
    """

    def __init__(self, points: Tensor, first_gallery: int) -> None:
        origin = origin_of(points.flatten(0, 1))
        spectra = spectrum(points if origin is None else points - origin.point)
        self._columns, self._gallery = Columns(spectra), slice(first_gallery, None)
        self._halves = half_squares(spectra.flatten(1))
        block = max(1, _BLOCK_BYTES // (4 * len(points)))
        largest = [
            self._squares(slice(first, first + block), slice(None)).amax(dim=1)
            for first in range(0, len(points), block)
        ]
        farthest = torch.cat(largest)
        self._farthest = torch.where(farthest > 0, farthest, 1.0)

    def relative(self, first: int, last: int) -> Tensor:
        """Return the relative distances (last - first, G) of queries to the gallery."""
        rows = slice(first, last)
        return self._squares(rows, self._gallery).div_(self._farthest[rows, None])

    def _squares(self, rows: slice, columns: slice) -> Tensor:
        spectra = self._columns.spectra
        with full_precision(), torch.autocast(spectra.device.type, enabled=False):
            similarity = self._columns.similarities(spectra[rows], columns)
        return 2 * (self._halves[rows, None] + self._halves[columns] - similarity)
