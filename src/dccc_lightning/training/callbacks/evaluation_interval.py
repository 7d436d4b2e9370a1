"""Interval and protocol of the evaluation during training."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import Callback

from dccc_lightning.common import callback_ranges
from dccc_lightning.errors import UserError
from dccc_lightning.training.retrieval_module import EvaluatedModule


class EvaluationEvery(Callback):
    """Callback that evaluates after epochs with (t + 1) % ``epochs`` == 0 and after the last.

    Lightning's ``check_val_every_n_epoch`` skips the last epoch if it is not a multiple.

    Args:
        epochs: Number of epochs between evaluations.
        camera_center: Subtract the mean embedding of its camera's test images from each embedding.
        protocol: Name of the evaluation protocol; ``auto`` is the dataset's own.
    """

    def __init__(self, epochs: int, camera_center: bool = False, protocol: str = "auto") -> None:
        callback_ranges.evaluation(epochs, camera_center, protocol)
        self.epochs, self.camera_center, self.protocol = int(epochs), camera_center, protocol

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Set the module's evaluation protocol."""
        if isinstance(pl_module, EvaluatedModule):
            pl_module.camera_center = self.camera_center
            if self.protocol == "auto":
                self.protocol = vars(trainer)["datamodule"].splits.protocol
            pl_module.protocol = self.protocol

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the interval for an epoch resumed midway, whose start hook is not called."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the interval for this epoch."""
        is_last = trainer.current_epoch + 1 == trainer.max_epochs
        trainer.check_val_every_n_epoch = 1 if is_last else self.epochs

    def state_dict(self) -> dict[str, Any]:
        """Return the protocol, which must not change within a run."""
        return {"camera_center": self.camera_center, "protocol": self.protocol}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that the protocol has not changed.

        Raises:
            UserError: Earlier epochs were evaluated with another protocol.
        """
        saved = {"protocol": "market1501"} | state_dict
        for name, value in self.state_dict().items():
            if saved[name] != value:
                now, before = str(value).lower(), str(saved[name]).lower()
                raise UserError(
                    f"evaluate.{name}={now}: earlier epochs of this run were evaluated with "
                    f"{before}; set evaluate.{name}={before}, and evaluate the checkpoint with "
                    "task=evaluate"
                )
