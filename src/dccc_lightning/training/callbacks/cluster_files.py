"""Tables of the clusters of training images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from dccc_lightning.common import callback_ranges
from dccc_lightning.common.progress import announced
from dccc_lightning.metrics.cluster_margins import cluster_margins
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.reports.cluster_table import cluster_table, write_cluster_table
from dccc_lightning.training.callbacks.clustering_watcher import ClusteringWatcher


class ClusterFiles(ClusteringWatcher):
    """Callback that writes clusters.parquet and clusters.csv after every clustering, on rank 0.

    The files have the clusters of the latest epoch. See ``reports.cluster_table`` for the columns.

    Args:
        folder: Run folder.
        every: Also keep the clusters of every N-th epoch, such as clusters/epoch_0009.parquet and
            .csv for the tenth; None keeps none.
    """

    def __init__(self, folder: str | Path, every: int | None = None) -> None:
        callback_ranges.files_of_epochs(folder, every)
        self.folder = Path(folder)
        self.every = every

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Subscribe to the clusterings of ``Recluster``, if the trainer has it."""
        if trainer.is_global_zero:
            datamodule = vars(trainer)["datamodule"]
            self.watch(
                trainer,
                lambda epoch, rows, labels, *_: self._write(datamodule, epoch, rows, labels),
            )

    def _write(
        self, datamodule: Any, epoch: int, embeddings: UnitEmbeddings, labels: NDArray[np.int64]
    ) -> None:
        with announced("writing the clusters"):
            margins = cluster_margins(labels, embeddings)
            table = cluster_table(datamodule.splits, labels, margins)
            write_cluster_table(self.folder / "clusters", table)
            if self.every is not None and (epoch + 1) % self.every == 0:
                write_cluster_table(self.folder / "clusters" / f"epoch_{epoch:04d}", table)
