"""Table of all metrics of a run, metrics.csv."""

from pathlib import Path

import pytorch_lightning as pl

from dccc_lightning.errors import UserError
from dccc_lightning.reports import metrics_table
from dccc_lightning.training.callbacks.epoch_row import EpochRow


class MetricsTable(EpochRow):
    """Callback that writes a row of metrics.csv after every epoch, on rank 0.

    Args:
        folder: Run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "metrics.csv"
        self._has_rows = False

    def on_epoch_row(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        """Append the row, without times, so that equal runs have equal files.

        Raises:
            UserError: The rows of earlier epochs have been removed.
        """
        if not trainer.is_global_zero:
            return
        if self._has_rows and not self.path.exists():
            raise UserError(
                f"{self.path} was removed or moved with its folder while the run wrote to it; "
                "start the run in another folder"
            )
        metrics_table.add_row(self.path, row)
        self._has_rows = True
