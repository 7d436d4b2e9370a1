"""One readable line an epoch."""

import time

import pytorch_lightning as pl
from rich.console import Console
from rich.text import Text

from dccc_lightning.callbacks.epoch_row import EpochRow

_COLUMNS = (
    ("eps", "cluster/eps", 6, "{:.3f}"),
    ("clusters", "cluster/num_clusters", 8, "{:.0f}"),
    ("outliers", "cluster/outlier_ratio", 8, "{:.0%}"),
    ("ARI", "cluster/ari", 5, "{:.2f}"),
    ("loss", "train/loss", 7, "{:.3f}"),
    ("mAP", "val/mAP", 6, "{:.1%}"),
    ("rank-1", "val/rank1", 6, "{:.1%}"),
    ("teacher mAP", "val_teacher/mAP", 11, "{:.1%}"),
    ("rank-1", "val_teacher/rank1", 6, "{:.1%}"),
)


class EpochLine(EpochRow):
    """Print a header, then a line an epoch: clusters, loss, scores where there are any, seconds."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._since = time.perf_counter()
        self._has_header = False

    def on_epoch_row(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        """Print the line of an epoch; epoch -1 is called ``start``."""
        if not trainer.is_global_zero:
            return
        if not self._has_header:
            names = "  ".join(f"{name:>{width}}" for name, _, width, _ in _COLUMNS)
            self._console.print(Text(f"{'epoch':>7}  {names}  {'time':>6}", style="bold"))
            self._has_header = True
        cells = "  ".join(
            f"{form.format(row[key]) if key in row else '':>{width}}"
            for _, key, width, form in _COLUMNS
        )
        epoch = "start" if row["epoch"] < 0 else f"{row['epoch'] + 1:.0f}/{trainer.max_epochs}"
        now = time.perf_counter()
        self._console.print(Text(f"{epoch:>7}  {cells}  {now - self._since:5.1f}s"))
        self._since = now
