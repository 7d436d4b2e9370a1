"""LightningDataModule of DCCC: splits, loaders and the pseudo labels of the current epoch."""

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from dccc_lightning.common import collectives, ranges
from dccc_lightning.data.augmentation import BatchAugmentation, normalize
from dccc_lightning.data.batches import EvalBatch, RawBatch, TrainBatch, images_per_step
from dccc_lightning.data.image_cache import ImageStore
from dccc_lightning.data.image_datasets import OrderedImages, TrainImages, batch_loader
from dccc_lightning.data.mid_epoch import InterruptedEpoch
from dccc_lightning.data.readable_images import decode_readable
from dccc_lightning.data.records import Records, ReIDDataset, Splits
from dccc_lightning.data.sampler import ClusterBatchSampler, EpochBatches, draw_batches
from dccc_lightning.data.tracklet_variety import tracklet_numbers

log = logging.getLogger(__name__)

MEMORY_FRACTION = 0.4
"""Share of the available memory that decoded images may occupy with ``cache="auto"``."""

LabelSource = Callable[[int], None]
"""Function of the epoch that sets the datamodule's pseudo labels for that epoch."""


class ReIDDataModule(pl.LightningDataModule):
    """DataModule of a re-identification dataset whose training labels change every epoch.

    Lightning calls ``train_dataloader`` before the hooks that start an epoch. Therefore
    ``train_dataloader`` calls the label source (the ``Recluster`` callback) for the labels of the
    coming epoch, unless they were restored from a checkpoint of the same epoch.

    Args:
        dataset: Dataset that returns its ``Splits``.
        height: Height of the resized images, in pixels.
        width: Width of the resized images, in pixels.
        clusters: P, clusters per global batch.
        instances: K, images of each cluster per global batch.
        iterations: Optimiser steps per epoch, independent of the number of images.
        augmentation: Transform that returns a random view of a batch.
        seed: Seed of the sampler.
        eval_batch_size: Images per step of embedding, in each process; None for 256 on a GPU,
            else 64.
        workers: Worker processes per loader; None uses no worker if the images are cached,
            otherwise up to 8.
        cache: ``auto``, ``ram`` or ``none``: keep decoded images in memory.
        on_error: ``fail`` or ``skip`` on an unreadable image.
        rotations: 4 to embed an image as its quarter turns; else 1.
        match: Comparison of quarter turns, ``mean`` or ``aligned``.
        fit: Argument of ``resize_image``.
    """

    interpolation: str = "bicubic"
    """Filter that resizes images: the network's, set before ``setup``."""

    def __init__(
        self,
        dataset: ReIDDataset,
        height: int,
        width: int,
        clusters: int,
        instances: int,
        iterations: int,
        augmentation: BatchAugmentation,
        seed: int = 0,
        eval_batch_size: int | None = None,
        workers: int | None = None,
        cache: Literal["auto", "ram", "none"] = "auto",
        on_error: Literal["fail", "skip"] = "fail",
        rotations: int = 1,
        match: str = "mean",
        fit: str = "stretch",
    ) -> None:
        super().__init__()
        self.dataset = dataset
        ranges.datamodule(
            height, width, clusters, instances, iterations, seed, eval_batch_size, workers, cache,
            on_error, rotations, match, fit,
        )  # fmt: skip
        self.height, self.width, self.fit = int(height), int(width), fit
        self.rotations, self.match = int(rotations), match
        self.clusters, self.instances = int(clusters), int(instances)
        self.iterations = int(iterations)
        self.augmentation = augmentation
        self.seed = int(seed)
        self.eval_batch_size = images_per_step(eval_batch_size)
        self.workers = None if workers is None else int(workers)
        self.cache, self.on_error = cache, on_error
        self.label_source: LabelSource | None = None
        self.labels: NDArray[np.int64] | None = None
        self.labels_epoch = -1
        self._labels_on_device: Tensor | None = None
        self._has_warned = False
        self._interrupted = InterruptedEpoch()  # that of the loaded checkpoint
        self._batches = EpochBatches()
        self._train_loader: DataLoader[RawBatch] | None = None
        self._splits: Splits | None = None
        self._stores: dict[str, ImageStore] = {}

    @property
    def splits(self) -> Splits:
        """The splits, once ``setup`` has read them."""
        if self._splits is None:
            raise RuntimeError("call setup() before using the splits of a ReIDDataModule")
        return self._splits

    def prepare_data(self) -> None:
        """Draw or check the dataset in one process before all processes read it."""
        self.dataset.splits()

    def setup(self, stage: str | None = None) -> None:
        """Read the splits and decode their images once.

        Raises:
            UserError: The dataset is missing or has another layout, or an image cannot be read.
        """
        if self._splits is not None:
            return
        splits = self.dataset.splits()
        total = len(splits.train) + len(splits.query) + len(splits.gallery)
        # All processes of a machine, and all splits, share its memory.
        processes = self.trainer.num_devices if self.trainer is not None else 1
        share = MEMORY_FRACTION / (total * processes)

        def read(records: Records, split: str) -> tuple[Records, ImageStore]:
            turned = self.rotations > 1 or (split == "training" and self.augmentation.rotates)
            store = ImageStore(
                records.paths, self.height, self.width, self.cache, share * len(records),
                self.interpolation, turned, self.fit,
            )  # fmt: skip
            is_skipped = self.on_error == "skip"
            return decode_readable(records, store, self.dataset.name, split, is_skipped)

        train, self._stores["train"] = read(splits.train, "training")
        query, self._stores["query"] = read(splits.query, "query")
        gallery, self._stores["gallery"] = read(splits.gallery, "gallery")
        self._splits = replace(splits, train=train, query=query, gallery=gallery)

    def set_pseudo_labels(self, labels: NDArray[np.int64], epoch: int) -> None:
        """Set the pseudo labels of an epoch.

        Args:
            labels: (N,) cluster of each training image, -1 for outliers.
            epoch: Epoch to train with them.

        Raises:
            ValueError: The number of labels differs from the number of training images.
        """
        if len(labels) != len(self.splits.train):
            raise ValueError(
                f"labels must have one entry per training image ({len(self.splits.train)}), "
                f"got {len(labels)}"
            )
        self.labels = np.asarray(labels, dtype=np.int64)
        self.labels_epoch = epoch
        self._labels_on_device = None

    def state_dict(self) -> dict[str, Any]:
        """Return the pseudo labels, their epoch and its completed steps."""
        return {
            "labels": None if self.labels is None else torch.from_numpy(self.labels),
            "labels_epoch": self.labels_epoch,
            "steps": self._completed_steps(),
            "iterations": self.iterations,
            "begun_with": self._drawn_by(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the pseudo labels and the position in the epoch."""
        labels: Tensor | None = state_dict["labels"]
        self.labels = None if labels is None else labels.numpy()
        self.labels_epoch = state_dict["labels_epoch"]
        self._interrupted = InterruptedEpoch(
            self.labels_epoch, state_dict["steps"], state_dict["iterations"],
            0 if self.labels is None else len(self.labels), state_dict.get("begun_with", {}),
        )  # fmt: skip
        self._labels_on_device = None

    def discard_labels(self) -> None:
        """Discard the labels of another run or of other images."""
        self.labels, self.labels_epoch = None, -1
        self._labels_on_device = None
        self._interrupted = InterruptedEpoch()

    def train_dataloader(self) -> DataLoader[RawBatch]:
        """Return the loader of the current epoch, computing its pseudo labels if needed."""
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        images = len(self.splits.train)
        start = self._interrupted.first_step(epoch, self.iterations, images, self._drawn_by())
        if self.labels is not None and len(self.labels) != images:
            self.discard_labels()  # images were added or removed: cluster again
        if self.label_source is not None and self.labels_epoch != epoch:
            self.label_source(epoch)
        if self.labels is None:
            raise RuntimeError("no pseudo labels: add the Recluster callback or set them yourself")
        self._warn_if_clusters_repeat()
        rank, processes = collectives.world()
        train = self.splits.train
        batches = draw_batches(
            self.labels, train.cameras, self.clusters, self.instances, self.iterations, self.seed,
            epoch, tracklet_numbers(train), train.column("frame"),
        )  # fmt: skip
        self._batches.current = ClusterBatchSampler(
            batches, epoch, rank, processes, start, self._parts()
        )
        if self._train_loader is None:
            store = self._stores["train"]
            workers = self._workers(store)
            self._train_loader = batch_loader(
                TrainImages(store, self.splits.train),
                workers,
                batch_sampler=self._batches,
                persistent_workers=workers > 0,  # saves about a second per epoch
            )
        return self._train_loader

    def teardown(self, stage: str) -> None:
        """Stop the workers of the training loader."""
        self._train_loader = None

    def ordered_loader(self, split: str, positions: range) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return a loader over ``positions`` of a split in order, as uint8, for embedding."""
        store = self._stores[split]
        return batch_loader(
            OrderedImages(store, self.rotations > 1),
            self._workers(store),
            sampler=positions,
            batch_size=self.eval_batch_size,
        )

    def val_dataloader(self) -> list[DataLoader[tuple[Tensor, Tensor]]]:
        """Return this process's shards of the query and the gallery split."""
        rank, processes = collectives.world()
        return [
            self.ordered_loader(name, collectives.shard(len(records), rank, processes))
            for name, records in (("query", self.splits.query), ("gallery", self.splits.gallery))
        ]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment training batches and normalise evaluation batches, on their device."""
        if isinstance(batch, RawBatch):
            return TrainBatch(
                self.augmentation(batch.images, batch.keys, view=0),
                self.augmentation(batch.images, batch.keys, view=1),
                self._device_labels(batch.indices.device)[batch.indices],
                batch.indices,
                batch.cameras,
            )
        images, positions = batch
        records = self.splits.gallery if dataloader_idx else self.splits.query
        return EvalBatch.of(normalize(images), positions, records, is_query=dataloader_idx == 0)

    def _drawn_by(self) -> dict[str, int]:
        """Return the settings that determine the batches, by name."""
        return {
            "seed": self.seed, "batch.clusters": self.clusters, "batch.instances": self.instances,
            "image.height": self.height, "image.width": self.width,
            "trainer.accumulate_grad_batches": self._parts(),
        }  # fmt: skip

    def _parts(self) -> int:
        """Return the number of parts into which gradient accumulation splits a batch."""
        return self.trainer.accumulate_grad_batches if self.trainer is not None else 1

    def _completed_steps(self) -> int:
        if self.trainer is None:
            return 0
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.ready // self._parts()

    def _warn_if_clusters_repeat(self) -> None:
        found = int(self.labels.max()) + 1 if self.labels is not None else 0
        if found < self.clusters and not self._has_warned and collectives.world()[0] == 0:
            repeat = "%d clusters are fewer than the %d of a batch: clusters repeat within a batch"
            log.warning(repeat, found, self.clusters)
            self._has_warned = True

    def _device_labels(self, device: torch.device) -> Tensor:
        if self._labels_on_device is None or self._labels_on_device.device != device:
            self._labels_on_device = torch.from_numpy(self.labels).to(device)
        return self._labels_on_device

    def _workers(self, store: ImageStore) -> int:
        if self.workers is not None:
            return self.workers
        return 0 if store.cached else min(8, len(os.sched_getaffinity(0)))
