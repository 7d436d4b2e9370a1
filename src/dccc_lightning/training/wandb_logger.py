"""A Weights & Biases run: axes, rows that a resume does not repeat, checkpoints by choice."""

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
"""Groups of figures whose axis is ``epoch``; that of others, and of ``..._step``, is the step."""


class RunWandbLogger(WandbLogger):
    """Lightning's logger, made to agree with metrics.csv and to go on where a run was resumed.

    W&B's own step is 0 before training and ``trainer/global_step`` + 1 from then on, so that what
    belongs to one moment is one row, and steps that are made again after a resume are the rows
    that W&B has already.

    Args:
        checkpoints: Artifacts once training has ended: ``none``, ``best`` (best.ckpt), ``all``
            (best.ckpt and last.ckpt, which a run can go on from).
        arguments: Of ``WandbLogger`` and ``wandb.init``.

    Attributes:
        is_before_training: Set while the evaluation before training is logged, which is epoch -1.
    """

    def __init__(self, checkpoints: str = "none", **arguments: Any) -> None:
        import wandb  # noqa: PLC0415  no run without W&B imports it

        super().__init__(**{"settings": wandb.Settings(silent=True), **arguments})
        self._wandb_init.pop("anonymous", None)  # Lightning gives it; wandb warns of it
        self.checkpoints = checks.choice("checkpoints", checkpoints, ranges.ARTIFACTS)
        self.is_before_training = False
        self._row = 0
        self._defined: set[str] = set()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log figures, images and tables of an optimiser step (None: of the last one)."""
        run = self.experiment
        self._define(metrics)
        values = dict(metrics)
        row = self._row if step is None else step + 1
        if self.is_before_training:
            row, step = 0, 0
            values["epoch"] = -1
        if row < run.starting_step:  # made again after a resume
            return
        self._row = max(self._row, row)
        if step is not None:
            values["trainer/global_step"] = step
        # The mean loss is the last that is known of an epoch; the next row may be long in coming.
        with _staged_in(Path(run.dir).parent):
            run.log(values, step=self._row, commit="train/loss" in values)

    @rank_zero_only
    def log_checkpoints(self, best: Path | None, last: Path, metadata: Mapping[str, Any]) -> None:
        """Log the chosen checkpoints as artifacts ``RUN-best`` and ``RUN-last``."""
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
        """Give new names their axis: each by its own name, which goes before Lightning's ``*``."""
        for name in names.keys() - self._defined:
            if name.startswith(BY_EPOCH) and not name.endswith("_step"):
                self.experiment.define_metric(name, step_metric="epoch")
            self._defined.add(name)


@contextmanager
def _staged_in(folder: Path) -> Iterator[None]:
    """Let the images of tables wait for their upload in the run's folder.

    W&B's default is the home folder, where faces would stay when the run has been removed.
    """
    own = "WANDB_DATA_DIR" not in os.environ
    if own:
        os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        if own:
            del os.environ["WANDB_DATA_DIR"]
