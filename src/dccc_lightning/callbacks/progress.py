"""Progress bars of training and evaluation, one at a time, gone when they are done."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.progress import Progress, TaskID

from dccc_lightning.console import progress_bar


class PhaseProgress(ProgressBar):
    """Show how far the phase in progress is: training an epoch, or evaluating."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._enabled = True

    def disable(self) -> None:
        """Show nothing (Lightning calls this on the ranks but the first)."""
        self._enabled = False

    def enable(self) -> None:
        """Show bars again."""
        self._enabled = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin the bar of an epoch with its first step here, which need not be step 0."""
        if self._bar is None:
            epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self._begin(f"training, {epoch}", int(self.total_train_batches), batch_idx)

    def on_train_batch_end(self, *_: Any) -> None:
        """Count a step."""
        self._advance()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the bar of an evaluation."""
        self._begin("embedding query and gallery", int(sum(self.total_val_batches_list)))

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        """Count a batch."""
        self._advance()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the bar."""
        self._end()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the bar."""
        self._end()

    def on_exception(self, *_: Any) -> None:
        """Remove the bar, so that the error stands alone."""
        self._end()

    @property
    def total_val_batches_list(self) -> list[int | float]:
        """Batches of the query and of the gallery loader."""
        batches = self.trainer.num_val_batches
        return batches if isinstance(batches, list) else [batches]

    def _begin(self, description: str, total: int, done: int = 0) -> None:
        self._end()
        self._bar = progress_bar(self._enabled)
        self._task = self._bar.add_task(description, total=total, completed=done)
        self._bar.start()

    def _advance(self) -> None:
        if self._bar is not None:
            self._bar.advance(self._task)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
