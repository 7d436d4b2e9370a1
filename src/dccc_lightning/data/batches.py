"""Batches passed from the loaders to the module."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dccc_lightning.common import checks
from dccc_lightning.data.records import Records


class RawBatch(NamedTuple):
    """Decoded images of this process's block of the global batch.

    Attributes:
        images: (b, 3, H, W) uint8, or (b, 4, 3, H, W) with quarter turns.
        indices: (b,) int64 positions in the training split.
        cameras: (b,) int64.
        keys: (b, 3) int64: epoch, step and slot in the global batch, the key of the image's random
            numbers.
    """

    images: Tensor
    indices: Tensor
    cameras: Tensor
    keys: Tensor


class TrainBatch(NamedTuple):
    """Two random views of each image with pseudo labels.

    Attributes:
        view1: (b, 3, H, W) float32, normalised; input of the student.
        view2: (b, 3, H, W) float32, normalised; input of the teacher.
        labels: (b,) int64 pseudo labels.
        indices: (b,) int64 positions in the training split.
        cameras: (b,) int64.
    """

    view1: Tensor
    view2: Tensor
    labels: Tensor
    indices: Tensor
    cameras: Tensor


class EvalBatch(NamedTuple):
    """Images of the query and gallery splits.

    Attributes:
        images: (b, 3, H, W) float32, normalised, or (b, 4, 3, H, W) with quarter turns.
        identities: (b,) int64.
        cameras: (b,) int64.
        is_query: (b,) bool.
        indices: (b,) int64 positions within the query or the gallery split.
        labels: (b,) int64 each, the known columns of the records by name.
    """

    images: Tensor
    identities: Tensor
    cameras: Tensor
    is_query: Tensor
    indices: Tensor
    labels: Mapping[str, Tensor]

    @classmethod
    def of(cls, images: Tensor, indices: Tensor, records: Records, is_query: bool) -> "EvalBatch":
        """Return the batch of the images at ``indices`` of a split, with its labels."""
        chosen, device = records.select(indices.cpu().numpy()), images.device
        identities, cameras, *others = (
            torch.from_numpy(values).to(device)
            for values in (chosen.identities, chosen.cameras, *chosen.columns.values())
        )
        labels = dict(zip(chosen.columns, others, strict=True))
        labels.pop("frame", None)
        flags = torch.full_like(indices, is_query, dtype=torch.bool)
        return cls(images, identities, cameras, flags, indices, labels)


def images_per_step(chosen: int | None) -> int:
    """Return the number of images per step of embedding; None for the fastest.

    On a processor, 64 images keep the blocks of a layer small enough for the allocator to keep
    (``keep_freed_memory``).

    Raises:
        TypeError: ``chosen`` is not an integer.
        ValueError: ``chosen`` is below 1.
    """
    if chosen is not None:
        return checks.integer("eval_batch_size", chosen, 1)
    return 256 if torch.cuda.is_available() else 64
