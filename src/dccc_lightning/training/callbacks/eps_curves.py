"""Record of an adaptive schedule's choices of eps, eps_curves.jsonl."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

import pytorch_lightning as pl

from dccc_lightning.common.files import write_atomically
from dccc_lightning.training.callbacks.clustering_watcher import ClusteringWatcher

log = logging.getLogger(__name__)


class EpsCurves(ClusteringWatcher):
    """Callback that writes a line per clustering with an adaptive schedule, on rank 0.

    A line is JSON with ``epoch`` and the fields of ``clustering.dcps.Choice``. With other
    schedules, no file is written.

    Args:
        folder: Run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "eps_curves.jsonl"

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Subscribe to the clusterings of ``Recluster``, if the trainer has it."""
        if trainer.is_global_zero:
            self.watch(trainer, self._keep)

    def _keep(self, epoch: int, *_clustering: object) -> None:
        """Write the line of an epoch, replacing those of the same and later epochs."""
        assert self.recluster is not None
        choice = self.recluster.choice
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        kept = [line for line in lines if json.loads(line)["epoch"] < epoch]
        if choice is not None:
            log.info(
                "epoch %d: %s chose eps %.4f between %.4f and %.4f",
                epoch, choice.criterion, choice.eps, choice.candidates[0], choice.candidates[-1],
            )  # fmt: skip
            kept.append(json.dumps({"epoch": epoch} | asdict(choice)))
        if kept:
            write_atomically(self.path, ("\n".join(kept) + "\n").encode())
        else:
            self.path.unlink(missing_ok=True)
