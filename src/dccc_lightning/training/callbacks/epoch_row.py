"""Base class of callbacks on the metrics of a completed epoch."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn

from dccc_lightning.training.callbacks.recluster import Recluster


class EpochRow(Checkpoint):
    """Base of callbacks that use the metrics of an epoch after its evaluation.

    Epoch -1 is the evaluation before training. It derives from ``Checkpoint``, since Lightning
    calls checkpoints after the module's ``on_train_epoch_end``, which logs the mean loss.
    """

    _evaluated = False

    def on_epoch_row(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        """Process the row of an epoch: ``epoch``, ``step`` and all logged metrics."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record that the epoch was evaluated; before training, emit its row."""
        self._evaluated = True
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._emit(trainer, -1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Emit the row of the epoch."""
        self._emit(trainer, trainer.current_epoch)

    def _emit(self, trainer: pl.Trainer, epoch: int) -> None:
        # Lightning keeps metrics of earlier evaluations and clusterings, which are removed here.
        callbacks: list[Any] = vars(trainer)["callbacks"]
        clustered = {n for c in callbacks if isinstance(c, Recluster) for n in c.summary}
        row: dict[str, Any] = {"epoch": epoch, "step": trainer.global_step}
        row |= {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if (self._evaluated or not name.startswith("val"))
            and (name in clustered or not name.startswith("cluster/"))
        }
        row.pop("train/loss_step", None)
        self._evaluated = False
        self.on_epoch_row(trainer, row)
