"""Weights & Biases logger with axes by epoch, resumable rows and checkpoint artifacts."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from dccc_lightning.common import checks, ranges

BY_EPOCH = ("train/", "cluster/", "val/", "val_teacher/", "val_best/", "system/", "panels/",
            "tables/")  # fmt: skip
"""Prefixes of metrics with the axis ``epoch``; others, and ``..._step``, have the step."""


class RunWandbLogger(WandbLogger):
    """Lightning's W&B logger with the rows of metrics.csv, also for resumed runs.

    W&B's step is 0 before training and ``trainer/global_step`` + 1 afterwards, so that metrics of
    one optimiser step share a row, and steps repeated after resuming map to existing rows.

    Args:
        checkpoints: Artifacts logged after training: ``none``, ``best`` (best.ckpt) or ``all``
            (best.ckpt and last.ckpt, from which a run can be resumed).
        arguments: Arguments of ``WandbLogger`` and ``wandb.init``.

    Attributes:
        is_before_training: True while the evaluation before training is logged, as epoch -1.
    """

    def __init__(self, checkpoints: str = "none", **arguments: Any) -> None:
        import wandb  # noqa: PLC0415  not imported in runs without W&B

        super().__init__(**{"settings": wandb.Settings(silent=True), **arguments})
        self._wandb_init.pop("anonymous", None)  # set by Lightning; wandb warns about it
        self.checkpoints = checks.choice("checkpoints", checkpoints, ranges.ARTIFACTS)
        self.is_before_training = False
        self._row = 0
        self._defined: set[str] = set()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics, images and tables of an optimiser step; None for the last step."""
        run = self.experiment
        self._define(metrics)
        values = dict(metrics)
        row = self._row if step is None else step + 1
        if self.is_before_training:
            row, step = 0, 0
            values["epoch"] = -1
        if row < run.starting_step:  # repeated after resuming
            return
        self._row = max(self._row, row)
        if step is not None:
            values["trainer/global_step"] = step
        # The mean loss is the last metric of an epoch: commit, as the next row may take long.
        with _staged_in(Path(run.dir).parent):
            run.log(values, step=self._row, commit="train/loss" in values)

    @rank_zero_only
    def log_checkpoints(self, best: Path | None, last: Path, metadata: Mapping[str, Any]) -> None:
        """Log the selected checkpoints as artifacts ``RUN-best`` and ``RUN-last``."""
        import wandb  # noqa: PLC0415

        chosen = {"best": best if self.checkpoints != "none" else None,
                  "last": last if self.checkpoints == "all" else None}  # fmt: skip
        for name, path in chosen.items():
            if path is not None and path.exists():
                artifact = wandb.Artifact(
                    f"{self.experiment.id}-{name}", type="model", metadata=dict(metadata)
                )
                artifact.add_file(str(path), policy="immutable")  # without a copy of it
                self.experiment.log_artifact(artifact, aliases=[name])

    def _define(self, names: Mapping[str, Any]) -> None:
        """Define the axis of each new metric, overriding Lightning's pattern ``*``."""
        for name in names.keys() - self._defined:
            if name.startswith(BY_EPOCH) and not name.endswith("_step"):
                self.experiment.define_metric(name, step_metric="epoch")
            self._defined.add(name)


@contextmanager
def _staged_in(folder: Path) -> Iterator[None]:
    """Stage images of tables for upload in the run folder.

    W&B's default is the home folder, where images would remain after the run folder is deleted.
    """
    own = "WANDB_DATA_DIR" not in os.environ
    if own:
        os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        if own:
            del os.environ["WANDB_DATA_DIR"]
