"""Batches passed from the loaders to the module."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class RawBatch(NamedTuple):
    """Decoded images of this process's block of the global batch.

    Attributes:
        images: (b, 3, H, W) uint8.
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
        images: (b, 3, H, W) float32, normalised.
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
