"""Panels of clusters and rankings, written during training."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from dccc_lightning.common import callback_ranges, collectives
from dccc_lightning.common.allocator import release_freed_memory
from dccc_lightning.common.progress import announced
from dccc_lightning.data.records import Splits
from dccc_lightning.datamodule import ReIDDataModule
from dccc_lightning.module import DCCCModule
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.reports.boards.board import LabelNames
from dccc_lightning.reports.boards.thumbnails import SplitImages
from dccc_lightning.reports.make_panels import Clustered, Evaluated, make_panels
from dccc_lightning.reports.map_frames import MapFrame, read_frame
from dccc_lightning.reports.panels import Panel, write_panels
from dccc_lightning.reports.picture_failures import warn_on_failure
from dccc_lightning.training.callbacks.clustering_watcher import ClusteringWatcher, first_of
from dccc_lightning.training.callbacks.epoch_row import EpochRow
from dccc_lightning.training.callbacks.map_files import MapFiles
from dccc_lightning.training.callbacks.query_files import NETWORKS, evaluated_rows


class Panels(ClusteringWatcher, EpochRow):
    """Callback that writes ``panels/`` after some epochs, on rank 0.

    It uses the embeddings of the clustering and of the evaluation; nothing is embedded again,
    unless the run was resumed within the epoch.

    Args:
        folder: Run folder.
        every: Number of epochs between panels; None for the last epoch only, which always has
            panels.

    Attributes:
        latest: Panels of ``latest_epoch`` on rank 0, for callbacks after this one.
        latest_epoch: Epoch of the latest panels; -1 before the first.
    """

    def __init__(self, folder: str | Path, every: int | None = None) -> None:
        self.folder = Path(folder) / "panels"
        callback_ranges.files_of_epochs(folder, every)
        self.every = None if every is None else int(every)
        self.latest: list[Panel] = []
        self.latest_epoch = -1
        self._ended = self._made = -1
        self._map: MapFiles | None = None
        self._clustering: tuple[UnitEmbeddings, NDArray[np.int64] | None, float] | None = None
        self._evaluation: tuple[Tensor, Tensor, str, bool, str] | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Subscribe to the clusterings of ``Recluster``.

        Raises:
            TypeError: The trainer has no ``Recluster`` callback.
        """
        self.watch(trainer, lambda epoch, *clustering: self._keep(trainer, epoch, *clustering))
        if self.recluster is None:
            raise TypeError("Panels needs the Recluster callback")
        self._map = first_of(trainer, MapFiles)

    def is_due(self, trainer: pl.Trainer, epoch: int) -> bool:
        """Return True if panels are due after ``epoch``."""
        is_last = epoch + 1 == trainer.max_epochs
        return is_last or (self.every is not None and (epoch + 1) % self.every == 0)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the embeddings of a full evaluation, which the module discards after this hook."""
        is_first = trainer.state.fn == TrainerFn.VALIDATING  # before training
        if is_first or not self.is_due(trainer, trainer.current_epoch):
            return
        assert isinstance(pl_module, DCCCModule)
        splits: Splits = vars(trainer)["datamodule"].splits
        prefix = next(name for name in NETWORKS if name in pl_module.retrieval)
        with _warn_on_failure_if_alone():
            rows = evaluated_rows(pl_module.retrieval[prefix], splits)
            if rows is not None:
                query, gallery = (part.cpu() for part in rows)
                self._evaluation = (
                    query, gallery, NETWORKS[prefix], pl_module.camera_center, pl_module.protocol
                )  # fmt: skip

    def on_epoch_row(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        """Make and write the panels, with a warning for each that fails."""
        self._ended = int(row["epoch"])
        if self._ended >= 0 and self.is_due(trainer, self._ended):
            self._write(trainer, self._ended)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make the panels of a run that another callback stopped early."""
        if trainer.should_stop and self._made < self._ended:
            self._write(trainer, self._ended)

    def _write(self, trainer: pl.Trainer, epoch: int) -> None:
        self._made = epoch
        module, datamodule = trainer.lightning_module, vars(trainer)["datamodule"]
        assert isinstance(module, DCCCModule)
        with _warn_on_failure_if_alone():
            if self._clustering is None:  # resumed within the epoch
                assert self.recluster is not None
                unit = self.recluster.embed(module, datamodule, epoch).unit
                self._clustering = unit, None, self.recluster.summary["cluster/eps"]
        clustering, evaluation = self._clustering, self._evaluation
        self._clustering = self._evaluation = None
        if clustering is None or not trainer.is_global_zero:
            return
        release_freed_memory()  # blocks of the steps, of other sizes
        with warn_on_failure("panels"):
            with announced("making the panels of the report"):
                self.latest = self._make(datamodule, clustering, evaluation, epoch)
            self.latest_epoch = epoch
            write_panels(self.folder, self.latest, epoch)

    def _keep(
        self,
        trainer: pl.Trainer,
        epoch: int,
        embeddings: UnitEmbeddings,
        labels: NDArray[np.int64],
        previous: NDArray[np.int64] | None,
        eps: float,
    ) -> None:
        """Keep the clustering until the end of its epoch."""
        if self.is_due(trainer, epoch):
            self._clustering = embeddings, previous, eps

    def _make(
        self,
        datamodule: ReIDDataModule,
        clustering: tuple[UnitEmbeddings, NDArray[np.int64] | None, float],
        evaluation: tuple[Tensor, Tensor, str, bool, str] | None,
        epoch: int,
    ) -> list[Panel]:
        embeddings, previous, eps = clustering
        splits = datamodule.splits
        assert datamodule.labels is not None
        assert self.recluster is not None
        found = Clustered(
            embeddings,
            datamodule.labels,
            previous,
            eps,
            splits.train,
            self.recluster.labeler,
            LabelNames(splits.camera_names, splits.identity_names),
            epoch,
            self._frame(splits, epoch, embeddings, datamodule.labels),
        )
        evaluated = None
        if evaluation is not None:
            query, gallery, network, centers, protocol = evaluation
            evaluated = Evaluated(
                query, gallery, splits.query, splits.gallery, network, centers, protocol
            )
        aspect = datamodule.width / datamodule.height
        return make_panels(found, evaluated, SplitImages(splits, aspect))

    def _frame(
        self, splits: Splits, epoch: int, embeddings: UnitEmbeddings, labels: NDArray[np.int64]
    ) -> MapFrame | None:
        """Return the frame of the map, made now if the epoch had none; None without ``MapFiles``.

        An epoch has none if it was not evaluated, or if another callback ended the run.
        """
        if self._map is None:
            return None
        with warn_on_failure(f"map of epoch {epoch + 1}"):
            found = read_frame(self._map.folder, epoch)
            return found or self._map.make(splits, epoch, embeddings, labels)
        return None


def _warn_on_failure_if_alone() -> AbstractContextManager[None]:
    """Return ``warn_on_failure`` for a single process; several would deadlock in a collective."""
    return warn_on_failure("panels") if collectives.world()[1] == 1 else nullcontext()
