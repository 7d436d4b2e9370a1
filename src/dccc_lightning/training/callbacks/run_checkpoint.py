"""last.ckpt, from which a run goes on, and the one before it."""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from dccc_lightning.common import ranges
from dccc_lightning.common.files import remove_temporaries
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.common.ranks import requeue_job
from dccc_lightning.training.callbacks.stop_signals import StopSignals
from dccc_lightning.training.checkpointing import LAST, PREVIOUS
from dccc_lightning.training.lightning_internals import leave_signals_alone


class RunCheckpoint(Checkpoint):
    """Save what a run needs to go on, after every epoch, every n steps, and when asked to stop.

    SIGTERM and SIGUSR1 ask: the step is finished, the checkpoint written, the run left with exit
    code 128 + signal. While nothing is unsaved (between two epochs, in clustering) a single process
    leaves at once; a signal during an evaluation is obeyed at the end of the epoch.

    Within an epoch a checkpoint is written only between optimiser steps, and not after the last
    one, where Lightning would leave out the rest of the epoch when it goes on.

    Args:
        folder: The run's; the files are in its ``checkpoints``.
        every_n_steps: Optimiser steps of an epoch between two checkpoints; None for none.
        requeue: Under SLURM, put the job back into the queue at SIGUSR1.
    """

    def __init__(
        self, folder: str | Path, every_n_steps: int | None = None, requeue: bool = False
    ) -> None:
        self.run = Path(folder)
        self.folder = self.run / "checkpoints"
        ranges.run_checkpoint(folder, every_n_steps)
        self.every = None if every_n_steps is None else int(every_n_steps)
        self.requeue = requeue
        self._signals = StopSignals()
        self._keeps_last = True

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to signals, in place of Lightning."""
        # The damaged last checkpoint must not take the place of the whole one before it.
        self._keeps_last = Path(trainer.ckpt_path or "").name != PREVIOUS
        if trainer.is_global_zero:
            remove_temporaries(self.folder)
            remove_temporaries(self.run)
        leave_signals_alone(trainer)
        self._signals.watch()
        self._signals.leave = lambda number: self._leave(trainer, number)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """From here on there is something to save."""
        self._signals.leave = None

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save within the epoch."""
        step, rest = divmod(batch_idx + 1, trainer.accumulate_grad_batches)
        if rest:
            return
        number = self._signals.requested()
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        if number or (self.every is not None and step % self.every == 0):
            self._save(trainer)
        if number:
            self._leave(trainer, number)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save at the end of an epoch, evaluation included."""
        self._save(trainer)
        number = self._signals.requested()
        if number and trainer.current_epoch + 1 != trainer.max_epochs:
            self._leave(trainer, number)
        self._signals.leave = lambda number: self._leave(trainer, number)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Stop listening."""
        self._signals.unwatch()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Stop listening."""
        self._signals.unwatch()

    def _save(self, trainer: pl.Trainer) -> None:
        last = self.folder / LAST
        if trainer.is_global_zero and last.exists() and self._keeps_last:
            _keep_as(last, self.folder / PREVIOUS)
        trainer.save_checkpoint(last)
        self._keeps_last = True

    def _leave(self, trainer: pl.Trainer, number: int) -> NoReturn:
        """End the process; those that Lightning started end quietly, or it would kill the first."""
        if not trainer.is_global_zero:
            raise SystemExit(0)
        name = signal.Signals(number).name
        resume = path_argument("resume", self.run)
        print(f"stopped by {name}; {resume} continues", file=sys.stderr, flush=True)
        if self.requeue and number == signal.SIGUSR1:
            requeue_job()
        raise SystemExit(128 + number)


def _keep_as(path: Path, other: Path) -> None:
    """Let ``other`` name the content of ``path`` as well; both exist at every moment."""
    temporary = other.with_name(f".{other.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # a file system without links
        shutil.copyfile(path, temporary)
    temporary.replace(other)
    temporary.unlink(missing_ok=True)  # renaming does nothing where both are links to one file
