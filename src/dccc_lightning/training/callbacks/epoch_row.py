"""What is known about an epoch once it is over."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn

from dccc_lightning.training.callbacks.recluster import Recluster


class EpochRow(Checkpoint):
    """Base of callbacks that act on the figures of an epoch, evaluation included.

    Epoch -1 is the evaluation before training. A ``Checkpoint`` in Lightning's sense, because those
    run after the module's own ``on_train_epoch_end``, which logs the mean loss.
    """

    _evaluated = False

    def on_epoch_row(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        """Act on the figures of an epoch: ``epoch``, ``step`` and every logged metric."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that this epoch was evaluated; before training, that is a row of its own."""
        self._evaluated = True
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._emit(trainer, -1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hand out the row of the epoch that ends."""
        self._emit(trainer, trainer.current_epoch)

    def _emit(self, trainer: pl.Trainer, epoch: int) -> None:
        # Lightning keeps figures of earlier evaluations and clusterings: they are not this epoch's.
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
