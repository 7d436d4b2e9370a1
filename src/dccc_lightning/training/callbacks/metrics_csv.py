"""Table of all metrics of a run, metrics.csv."""

from pathlib import Path

import pytorch_lightning as pl

from dccc_lightning.reports import metrics_table
from dccc_lightning.training.callbacks.epoch_row import EpochRow


class MetricsTable(EpochRow):
    """Callback that writes a row of metrics.csv after every epoch, on rank 0.

    Args:
        folder: Run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "metrics.csv"

    def on_epoch_row(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        """Append the row, without times, so that equal runs have equal files."""
        if trainer.is_global_zero:
            metrics_table.add_row(self.path, row)
