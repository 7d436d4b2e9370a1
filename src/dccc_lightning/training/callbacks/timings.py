"""Durations of the parts of epochs, timings.csv."""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from dccc_lightning.reports import metrics_table
from dccc_lightning.training.callbacks.epoch_row import EpochRow
from dccc_lightning.training.callbacks.recluster import Recluster


class Timings(EpochRow):
    """Callback that writes the durations of every epoch's parts to timings.csv, on rank 0.

    Parts are ``embedding`` and ``clustering`` (of ``Recluster``), ``training``, ``evaluation`` and
    ``other`` (the rest of ``total``, such as checkpoints). Nothing is synchronised: pending work of
    a GPU at the end of a part is counted in the next one.

    Args:
        folder: Run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "timings.csv"
        self._last = time.perf_counter()
        self._since: float | None = None
        self._seconds: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start timing the training of an epoch resumed midway, whose start hook is not called."""
        self._since = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start timing the training."""
        self._since = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End timing the training and start timing the evaluation."""
        self._end("training")
        self._since = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End timing the evaluation."""
        self._end("evaluation")
        super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End timing the training, unless an evaluation has."""
        self._end("training")
        super().on_train_epoch_end(trainer, pl_module)

    def on_epoch_row(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        """Append the row of an epoch."""
        callbacks: list[Any] = vars(trainer)["callbacks"]
        if row["epoch"] >= 0:
            for callback in callbacks:
                if isinstance(callback, Recluster):
                    self._seconds |= callback.seconds
                    callback.seconds = {}
        now = time.perf_counter()
        total, self._last = now - self._last, now
        self._seconds["other"] = max(0.0, total - sum(self._seconds.values()))
        seconds = {name: round(value, 4) for name, value in self._seconds.items()}
        self._seconds = {}
        if trainer.is_global_zero:
            position = {"epoch": row["epoch"], "step": row["step"]}
            metrics_table.add_row(self.path, position | seconds | {"total": round(total, 4)})

    def _end(self, part: str) -> None:
        if self._since is not None:
            self._seconds[part] = time.perf_counter() - self._since
            self._since = None
