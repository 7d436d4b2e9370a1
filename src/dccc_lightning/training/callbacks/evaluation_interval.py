"""When and how to evaluate: every few epochs and, whatever their number, at the end."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import Callback

from dccc_lightning.common import ranges
from dccc_lightning.errors import UserError
from dccc_lightning.training.retrieval_module import EvaluatedModule


class EvaluationEvery(Callback):
    """Evaluate after epochs with (t + 1) % ``epochs`` == 0 and after the last (METHOD, step 6).

    Lightning's own ``check_val_every_n_epoch`` leaves the last epoch out when it is no multiple.

    Args:
        epochs: Between two evaluations.
        camera_center: Subtract from every embedding the mean of its camera in the test images.
    """

    def __init__(self, epochs: int, camera_center: bool = False) -> None:
        ranges.evaluation(epochs, camera_center)
        self.epochs, self.camera_center = int(epochs), camera_center

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Tell the module how to evaluate."""
        if isinstance(pl_module, EvaluatedModule):
            pl_module.camera_center = self.camera_center

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the interval for an epoch that is resumed within, which has no start."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the interval for this epoch."""
        is_last = trainer.current_epoch + 1 == trainer.max_epochs
        trainer.check_val_every_n_epoch = 1 if is_last else self.epochs

    def state_dict(self) -> dict[str, Any]:
        """Return the protocol, for scores of two protocols do not belong into one table."""
        return {"camera_center": self.camera_center}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with another protocol.

        Raises:
            UserError: The earlier epochs were evaluated otherwise.
        """
        if state_dict["camera_center"] != self.camera_center:
            now = str(self.camera_center).lower()
            raise UserError(
                f"evaluate.camera_center={now}: this run was evaluated otherwise so far; "
                "leave that, and evaluate its checkpoint with task=evaluate"
            )
