"""Progress of training and evaluation."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar

from dccc_lightning.common.progress import Phase


class PhaseProgress(ProgressBar):
    """Callback that displays each training epoch and each evaluation as a phase.

    It derives from Lightning's ``ProgressBar`` to replace the default bar.
    """

    def __init__(self) -> None:
        super().__init__()
        self._phase: Phase | None = None

    def disable(self) -> None:
        """Do nothing: the console controls the display."""

    def enable(self) -> None:
        """Do nothing."""

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the phase at the first step of the epoch, which is not step 0 after resuming."""
        if self._phase is None:
            name = f"training, epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self._begin(name, int(self.total_train_batches), "steps", batch_idx)

    def on_train_batch_end(self, *_: Any) -> None:
        """Count a step."""
        self._advance(1)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the phase of an evaluation."""
        loaders: list[Any] = trainer.val_dataloaders or []
        self._begin("embedding query and gallery", sum(len(each.sampler) for each in loaders))

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the images of a batch."""
        self._advance(len(batch.images))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the phase of the embedding, before the ranking."""
        self._end()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the phase of an epoch."""
        self._end()

    def on_exception(self, *_: Any) -> None:
        """End the phase after an exception."""
        self._end()

    def _begin(self, name: str, total: int, unit: str = "images", done: int = 0) -> None:
        self._end()
        self._phase = Phase(name, total, unit, done)

    def _advance(self, number: int) -> None:
        if self._phase is not None:
            self._phase.advance(number)

    def _end(self) -> None:
        if self._phase is not None:
            self._phase.end()
            self._phase = None
