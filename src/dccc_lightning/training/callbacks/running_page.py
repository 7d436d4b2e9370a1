"""Page of a training, written again after evaluated epochs."""

import time
from collections.abc import Callable

import pytorch_lightning as pl

from dccc_lightning.common import callback_ranges
from dccc_lightning.reports.picture_failures import warn_on_failure
from dccc_lightning.training.callbacks.clustering_watcher import first_of
from dccc_lightning.training.callbacks.epoch_row import EpochRow

_REST = 19
"""Time between two pages at least, in multiples of the time that the earlier took: one twentieth
of a run is spent on pages."""


def follow(trainer: pl.Trainer, write: Callable[[int], None]) -> None:
    """Set the function by which ``RunningPage`` writes, if the trainer has that callback."""
    if (page := first_of(trainer, RunningPage)) is not None:
        page.write = write


class RunningPage(EpochRow):
    """Callback that writes report.html after evaluated epochs except the last, on rank 0.

    Epochs are left out where pages would take more than a twentieth of the time.

    Args:
        every: Number of epochs between evaluations.

    Attributes:
        write: Function that writes the page after so many epochs, see ``follow``.
    """

    def __init__(self, every: int) -> None:
        callback_ranges.running_page(every)
        self.every = int(every)
        self.write: Callable[[int], None] | None = None
        self._earliest = 0.0

    def on_epoch_row(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        """Write the page, with a warning if that fails."""
        done = int(row["epoch"]) + 1
        is_due = 0 < done < (trainer.max_epochs or 0) and done % self.every == 0
        start = time.perf_counter()
        if is_due and self.write and trainer.is_global_zero and start >= self._earliest:
            with warn_on_failure("report.html"):
                self.write(done)
            end = time.perf_counter()
            self._earliest = end + _REST * (end - start)
