"""Callbacks for tests with several processes: what each holds and makes, faults and naps."""

import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback

from dccc_lightning.errors import UserError
from dccc_lightning.tasks import run_report
from dccc_lightning.training.callbacks import epoch_panels

MESSAGE = "this one alone"  # apart, so that no traceback quotes it


class RankNotes(Callback):
    """Write the centroids after every step to FOLDER/centroids_RANK.pt."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.seen: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module, *_) -> None:
        self.seen.append(pl_module.memory.centroids.clone())

    def on_train_end(self, trainer: pl.Trainer, pl_module) -> None:
        self.folder.mkdir(exist_ok=True)
        torch.save(self.seen, self.folder / f"centroids_{trainer.global_rank}.pt")


class PanelNotes(Callback):
    """Write how often each process has made panels, if it has, to FOLDER/made_RANK."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.made = 0
        original = epoch_panels.make_panels

        def counted(*arguments):
            self.made += 1
            return original(*arguments)

        epoch_panels.make_panels = counted

    def teardown(self, trainer: pl.Trainer, pl_module, stage: str) -> None:
        if self.made:
            (self.folder / f"made_{trainer.global_rank}").write_text(str(self.made))


class Failure(Callback):
    """Let one process fail in step 1, with an error of the given kind."""

    def __init__(self, rank: int, kind: str) -> None:
        self.rank = rank
        self.kind = kind

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module, batch, batch_idx: int) -> None:
        if trainer.global_rank != self.rank or batch_idx != 1:
            return
        if self.kind == "loss":
            batch.view1.fill_(float("nan"))
            return
        raise (UserError if self.kind == "user" else ArithmeticError)(MESSAGE)


class Naps(Callback):
    """Sleep after every step of a run that begins, which is to be stopped; resumed, it is fast."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.ckpt_path is None:
            time.sleep(self.seconds)


class LatePage(Callback):
    """Let rank 0 take some seconds more for the last page, which the others have no part in."""

    def __init__(self, seconds: float) -> None:
        original = run_report.write_run_report

        def late(*arguments):
            time.sleep(seconds)
            return original(*arguments)

        run_report.write_run_report = late
