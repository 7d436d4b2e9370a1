"""Torch datasets that decode a batch of images at a time, and their loaders."""

import gc
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dccc_lightning.common.allocator import release_freed_memory
from dccc_lightning.data.batches import RawBatch
from dccc_lightning.data.image_cache import ImageStore
from dccc_lightning.data.records import Records
from dccc_lightning.data.sampler import SampleKey


class TrainImages(Dataset[RawBatch]):
    """Dataset of the training images, indexed by the keys of the batch sampler."""

    def __init__(self, store: ImageStore, records: Records) -> None:
        self.store = store
        self.records = records

    def __getitems__(self, keys: list[SampleKey]) -> RawBatch:
        """Return a decoded batch."""
        indices = np.array([key.index for key in keys], dtype=np.int64)
        return RawBatch(
            self.store.load(indices),
            torch.from_numpy(indices),
            torch.from_numpy(self.records.cameras[indices]),
            torch.tensor([(k.epoch, k.step, k.slot) for k in keys], dtype=torch.int64),
        )


class OrderedImages(Dataset[tuple[Tensor, Tensor]]):
    """Dataset for embedding, with batches of (b, 3, H, W) uint8 and (b,) int64 positions.

    Args:
        store: Images of the split.
        turned: Return quarter turns, (b, 4, 3, H, W), which the store has.
    """

    def __init__(self, store: ImageStore, turned: bool = False) -> None:
        self.store, self.turned = store, turned

    def __getitems__(self, positions: list[int]) -> tuple[Tensor, Tensor]:
        """Return a decoded batch."""
        indices = np.asarray(positions, dtype=np.int64)
        images = self.store.load(indices)
        upright = images[:, 0] if self.store.turned and not self.turned else images
        return upright, torch.from_numpy(indices)


def identity_collate(batch: Any) -> Any:
    """Return ``batch``: a collate function for datasets that return whole batches."""
    return batch


def batch_loader(dataset: Dataset[Any], workers: int, **options: Any) -> DataLoader[Any]:
    """Return a loader of a dataset that returns whole batches.

    Args:
        dataset: Dataset of this module.
        workers: Number of worker processes.
        options: Further arguments of ``DataLoader``.
    """
    return DataLoader(
        dataset,
        num_workers=workers,
        collate_fn=identity_collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=share_memory,
        **options,
    )


def share_memory(worker: int) -> None:
    """Leave inherited objects to the parent, whose pages collecting garbage would copy."""
    gc.freeze()
    release_freed_memory()
