"""Frames of the map of the training images, after evaluated epochs."""

from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from dccc_lightning.common import callback_ranges
from dccc_lightning.common.allocator import release_freed_memory
from dccc_lightning.common.progress import announced
from dccc_lightning.data.records import Splits
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.reports.cluster_table import named
from dccc_lightning.reports.figures.embedding_map import sample
from dccc_lightning.reports.map_frames import (
    FOLDER,
    MapFrame,
    MapImages,
    frame_epochs,
    make_frame,
    read_frame,
    write_frame,
    write_images,
)
from dccc_lightning.reports.picture_failures import warn_on_failure
from dccc_lightning.training.callbacks.clustering_watcher import ClusteringWatcher


class MapFiles(ClusteringWatcher):
    """Callback that writes a frame of the map in ``map/`` for evaluated epochs, on rank 0.

    It uses the embeddings of the clustering; nothing is embedded again. Each frame begins with the
    one before, so that images stay in place, also in a resumed run.

    Args:
        folder: Run folder.
        every: Number of epochs between evaluations; the last epoch always has a frame.
        frames: Frames at most, except those of epochs with panels; of more evaluated epochs, evenly
            spaced ones and the last.
        images: Images of the map; of more, a fixed sample. None for all.
    """

    def __init__(
        self, folder: str | Path, every: int, frames: int = 8, images: int | None = 20000
    ) -> None:
        callback_ranges.map_files(folder, every, frames, images)
        self.folder = Path(folder) / FOLDER
        self.every, self.frames = int(every), int(frames)
        self.images = None if images is None else int(images)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Subscribe to the clusterings of ``Recluster``, if the trainer has it."""
        if trainer.is_global_zero:
            splits: Splits = vars(trainer)["datamodule"].splits
            self.watch(
                trainer,
                lambda epoch, rows, labels, *_: self._write(trainer, splits, epoch, rows, labels),
            )

    def epochs(self, max_epochs: int) -> list[int]:
        """Return the epochs that have a frame, from 0.

        >>> MapFiles("run", every=2, frames=3).epochs(9)
        [1, 5, 8]
        """
        evaluated = sorted({*range(self.every - 1, max_epochs, self.every), max_epochs - 1})
        if len(evaluated) <= self.frames:
            return evaluated
        places = np.linspace(len(evaluated) - 1, 0, self.frames)  # the last comes first
        return sorted({evaluated[round(place)] for place in places.tolist()})

    def _write(
        self,
        trainer: pl.Trainer,
        splits: Splits,
        epoch: int,
        embeddings: UnitEmbeddings,
        labels: NDArray[np.int64],
    ) -> None:
        if epoch in self.epochs(trainer.max_epochs or 1):
            with warn_on_failure(f"map of epoch {epoch + 1}"):
                self.make(splits, epoch, embeddings, labels)

    def make(
        self, splits: Splits, epoch: int, embeddings: UnitEmbeddings, labels: NDArray[np.int64]
    ) -> MapFrame:
        """Make and write the frame of an epoch, and the table of its images."""
        earlier = [number for number in frame_epochs(self.folder) if number < epoch]
        start = read_frame(self.folder, earlier[-1]) if earlier else None
        count = min(len(embeddings), self.images or len(embeddings))
        release_freed_memory()  # blocks of the steps, of other sizes
        with announced(f"arranging {count:,} images by t-SNE"):
            frame = make_frame(embeddings, labels, epoch, self.images, start)
        write_frame(self.folder, frame)
        write_images(self.folder, map_images(splits, self.images))
        return frame


def map_images(splits: Splits, most: int | None = None) -> MapImages:
    """Return the training images of a map of so many images."""
    chosen = sample(len(splits.train), most or len(splits.train))
    records = splits.train.select(chosen)
    return MapImages(
        [str(path) for path in records.paths],
        named(records.cameras, splits.camera_names).to_pylist(),
        named(records.identities, splits.identity_names).to_pylist(),
    )
