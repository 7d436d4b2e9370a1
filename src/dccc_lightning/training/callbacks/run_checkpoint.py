"""Checkpoints to resume from: last.ckpt and its predecessor."""

import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from dccc_lightning.common import callback_ranges
from dccc_lightning.common.files import remove_temporaries, write_atomically
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.common.ranks import requeue_job
from dccc_lightning.training.callbacks.stop_signals import StopSignals
from dccc_lightning.training.checkpointing import LAST, PREVIOUS
from dccc_lightning.training.lightning_internals import leave_signals_alone


class RunCheckpoint(Checkpoint):
    """Callback that saves resumable checkpoints after epochs, every n steps and on signals.

    On SIGTERM, SIGUSR1 or SIGHUP, the current step is finished, a checkpoint is written and the
    process exits with code 128 + signal. While nothing is unsaved (between epochs, during
    clustering) a single process exits immediately; a signal during an evaluation takes effect at
    the end of the epoch.

    Within an epoch, checkpoints are written only between optimiser steps, and not after the last
    one, since Lightning would then skip the end of the epoch on resuming.

    Args:
        folder: Run folder; checkpoints are in its subfolder ``checkpoints``.
        every_n_steps: Number of optimiser steps between checkpoints; None for epochs only.
        requeue: Under SLURM, requeue the job on SIGUSR1.
    """

    def __init__(
        self, folder: str | Path, every_n_steps: int | None = None, requeue: bool = False
    ) -> None:
        self.run = Path(folder)
        self.folder = self.run / "checkpoints"
        callback_ranges.run_checkpoint(folder, every_n_steps)
        self.every = None if every_n_steps is None else int(every_n_steps)
        self.requeue = requeue
        self._signals = StopSignals()
        self._keeps_last = True

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the signal handlers instead of Lightning's."""
        # A damaged last checkpoint must not replace its intact predecessor.
        self._keeps_last = Path(trainer.ckpt_path or "").name != PREVIOUS
        if trainer.is_global_zero:
            for folder in (self.run, *filter(Path.is_dir, self.run.glob("[!.]*"))):
                remove_temporaries(folder)  # also of panels that will not be made again
        leave_signals_alone(trainer)
        self._signals.watch()
        self._signals.leave = lambda number: self._leave(trainer, number)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Mark the state as unsaved."""
        self._signals.leave = None

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save a checkpoint within the epoch if due."""
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
        """Save a checkpoint at the end of an epoch, after its evaluation."""
        self._save(trainer)
        number = self._signals.requested()
        if number and trainer.current_epoch + 1 != trainer.max_epochs:
            self._leave(trainer, number)
        self._signals.leave = lambda number: self._leave(trainer, number)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Restore the previous signal handlers."""
        self._signals.unwatch()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Restore the previous signal handlers."""
        self._signals.unwatch()

    def _save(self, trainer: pl.Trainer) -> None:
        last = self.folder / LAST
        if trainer.is_global_zero and last.exists() and self._keeps_last:
            _keep_as(last, self.folder / PREVIOUS)
        trainer.save_checkpoint(last)
        self._keeps_last = True

    def _leave(self, trainer: pl.Trainer, number: int) -> NoReturn:
        """End the process; others exit with code 0, or Lightning would kill rank 0."""
        if not trainer.is_global_zero:
            raise SystemExit(0)
        name = signal.Signals(number).name
        resume = path_argument("resume", self.run)
        print(f"stopped by {name}; {resume} continues", file=sys.stderr, flush=True)
        if self.requeue and number == signal.SIGUSR1:
            requeue_job()
        raise SystemExit(128 + number)


def _keep_as(path: Path, other: Path) -> None:
    """Replace ``other`` atomically by a hard link to ``path``, or by a copy.

    Raises:
        UnwritableFileError: Neither is possible; ``other`` is unchanged.
    """
    temporary = other.with_name(f".{other.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        os.link(path, temporary)
        temporary.replace(other)
        temporary.unlink(missing_ok=True)  # renaming is a no-op if both are links to the same file
    except OSError:  # file system without hard links, or one that refuses both
        write_atomically(other, path.read_bytes())
