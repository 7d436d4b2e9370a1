"""Panels, durations and artifacts of a W&B run."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

from dccc_lightning.data.fingerprint import fingerprint
from dccc_lightning.errors import UserError
from dccc_lightning.reports import metrics_table
from dccc_lightning.reports.code_version import code_version
from dccc_lightning.reports.wandb_media import to_media
from dccc_lightning.training.callbacks.epoch_panels import Panels
from dccc_lightning.training.callbacks.epoch_row import EpochRow
from dccc_lightning.training.callbacks.timings import Timings
from dccc_lightning.training.checkpointing import LAST
from dccc_lightning.training.wandb_logger import RunWandbLogger

log = logging.getLogger(__name__)


class WandbPanels(EpochRow):
    """Callback that logs panels, durations, dataset, code and checkpoints to W&B, on rank 0.

    Without a W&B logger it does nothing. It must come after ``Timings``, ``Panels`` and
    ``ModelCheckpoint``, whose results it logs.

    Args:
        folder: Run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.checkpoints = Path(folder) / "checkpoints"
        self._panels = -1

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the logger's epoch to -1 for the evaluation before training."""
        logger = _logger(trainer)
        if logger is not None:
            logger.is_before_training = trainer.state.fn == TrainerFn.VALIDATING

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the fingerprint of the dataset and the version of the code."""
        logger = _logger(trainer)
        if logger is not None:
            logger.is_before_training = False
            splits = vars(trainer)["datamodule"].splits
            facts = {"code": code_version()}
            try:
                facts["dataset_fingerprint"] = fingerprint(splits)
            except UserError as error:
                log.warning("W&B gets no fingerprint of the dataset: %s", error)
            logger.experiment.config.update(facts, allow_val_change=True)

    def on_epoch_row(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        """Log the durations of the epoch's parts and its panels, if any."""
        logger = _logger(trainer)
        if logger is None:
            return
        values: dict[str, Any] = {"epoch": int(row["epoch"])}
        callbacks: list[Any] = vars(trainer)["callbacks"]
        for callback in callbacks:
            if isinstance(callback, Timings):
                values |= _seconds(callback.path)
            elif isinstance(callback, Panels) and callback.latest_epoch == row["epoch"]:
                values |= to_media(callback.latest)
                self._panels = callback.latest_epoch
        logger.log_metrics(values, trainer.global_step - 1)  # the step of Lightning's epoch metrics

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the panels of a run that was stopped early."""
        logger = _logger(trainer)
        if logger is None or not trainer.should_stop:
            return
        callbacks: list[Any] = vars(trainer)["callbacks"]
        for callback in callbacks:
            if isinstance(callback, Panels) and callback.latest_epoch > self._panels:
                values = {"epoch": callback.latest_epoch} | to_media(callback.latest)
                logger.log_metrics(values, trainer.global_step)  # the epoch's step is already used

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the checkpoints selected by the logger's settings."""
        logger = _logger(trainer)
        if logger is None:
            return
        found = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
        best = next((c for c in found if c.best_model_path), None)
        metadata: dict[str, Any] = {"epochs": trainer.current_epoch, "steps": trainer.global_step}
        if best is not None and best.best_model_score is not None:
            metadata |= {"monitor": best.monitor, "score": float(best.best_model_score)}
        path = Path(best.best_model_path) if best is not None else None
        logger.log_checkpoints(path, self.checkpoints / LAST, metadata)


def _logger(trainer: pl.Trainer) -> RunWandbLogger | None:
    """Return the W&B logger on rank 0; None on other ranks or without W&B."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, RunWandbLogger)]
    return loggers[0] if loggers and trainer.is_global_zero else None


def _seconds(path: Path) -> dict[str, float]:
    """Return the last row of timings.csv as ``system/..._seconds``."""
    last = metrics_table.read_rows(path)[-1:]
    return {
        f"system/{name}_seconds": value
        for row in last
        for name, value in row.items()
        if name not in ("epoch", "step")
    }
