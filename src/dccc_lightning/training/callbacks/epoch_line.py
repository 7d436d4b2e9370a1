"""Printed summary of each epoch."""

import time

import pytorch_lightning as pl
from rich.text import Text

from dccc_lightning.common import callback_ranges
from dccc_lightning.common.console import CONSOLE
from dccc_lightning.common.progress import duration
from dccc_lightning.training.callbacks.epoch_row import EpochRow

_CLUSTERS = (
    ("eps", "cluster/eps", 6, "{:.3f}"),
    ("clusters", "cluster/num_clusters", 9, "{:.0f}"),
    ("outliers", "cluster/outlier_ratio", 10, "{:.0%}"),
)
_LOSS = ("loss", "train/loss", 7, "{:.3f}")
_JUDGED = (
    *_CLUSTERS,
    ("ARI", "cluster/ari", 6, "{:.2f}"),
    _LOSS,
    ("mAP", "val/mAP", 7, "{:.1%}"),
    ("rank-1", "val/rank1", 8, "{:.1%}"),
    ("teacher", "val_teacher/mAP", 9, "{:.1%}"),
)
_LABEL_FREE = (
    *_CLUSTERS,
    ("silhouette", "cluster/silhouette", 12, "{:.3f}"),
    ("churn", "cluster/churn", 8, "{:.1%}"),
    _LOSS,
)


class EpochLine(EpochRow):
    """Callback that prints a line per epoch: clusters, loss, scores and seconds.

    The teacher's score is its mAP. Without identities, label-free metrics of the clusters replace
    scores and ARI.

    Args:
        remaining: Also print the time left, from the mean duration of the epochs so far.
    """

    def __init__(self, remaining: bool = False) -> None:
        callback_ranges.epoch_line(remaining)
        self.remaining = remaining
        self._since = self._start = time.perf_counter()
        self._done = 0
        self._columns: tuple[tuple[str, str, int, str], ...] = ()

    def on_epoch_row(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        """Print the line of an epoch; epoch -1 is shown as ``start``."""
        if not trainer.is_global_zero:
            return
        if not self._columns:
            is_judged = not {"val/mAP", "cluster/ari"}.isdisjoint(row)
            self._columns = _JUDGED if is_judged else _LABEL_FREE
            names = "".join(f"{name:>{width}}" for name, _, width, _ in self._columns)
            left = f"{'left':>9}" if self.remaining else ""
            CONSOLE.print(Text(f"{'epoch':>7}{names}{'time':>9}{left}", style="bold"))
        cells = "".join(
            f"{form.format(row[key]) if key in row else '':>{width}}"
            for _, key, width, form in self._columns
        )
        epoch = "start" if row["epoch"] < 0 else f"{row['epoch'] + 1:.0f}/{trainer.max_epochs}"
        now = time.perf_counter()
        line = f"{epoch:>7}{cells}{now - self._since:8.1f}s"
        self._since = now
        if row["epoch"] < 0:
            self._start = now
        elif self.remaining:
            self._done += 1
            more = (trainer.max_epochs or 0) - int(row["epoch"]) - 1
            line += f"{duration(more * (now - self._start) / self._done):>9}"
        CONSOLE.print(Text(line))
