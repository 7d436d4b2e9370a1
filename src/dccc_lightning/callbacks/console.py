"""One readable line an epoch."""

import time

import pytorch_lightning as pl
from rich.text import Text

from dccc_lightning.callbacks.epoch_row import EpochRow
from dccc_lightning.console import CONSOLE

_COLUMNS = (
    ("eps", "cluster/eps", 6, "{:.3f}"),
    ("clusters", "cluster/num_clusters", 9, "{:.0f}"),
    ("outliers", "cluster/outlier_ratio", 10, "{:.0%}"),
    ("ARI", "cluster/ari", 6, "{:.2f}"),
    ("loss", "train/loss", 7, "{:.3f}"),
    ("mAP", "val/mAP", 7, "{:.1%}"),
    ("rank-1", "val/rank1", 8, "{:.1%}"),
    ("teacher", "val_teacher/mAP", 9, "{:.1%}"),
)


class EpochLine(EpochRow):
    """Print a header, then a line an epoch: clusters, loss, scores where there are any, seconds.

    The score of the teacher is its mAP.
    """

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._has_header = False

    def on_epoch_row(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        """Print the line of an epoch; epoch -1 is called ``start``."""
        if not trainer.is_global_zero:
            return
        if not self._has_header:
            names = "".join(f"{name:>{width}}" for name, _, width, _ in _COLUMNS)
            CONSOLE.print(Text(f"{'epoch':>7}{names}{'time':>9}", style="bold"))
            self._has_header = True
        cells = "".join(
            f"{form.format(row[key]) if key in row else '':>{width}}"
            for _, key, width, form in _COLUMNS
        )
        epoch = "start" if row["epoch"] < 0 else f"{row['epoch'] + 1:.0f}/{trainer.max_epochs}"
        now = time.perf_counter()
        CONSOLE.print(Text(f"{epoch:>7}{cells}{now - self._since:8.1f}s"))
        self._since = now
