"""The phase that each process of a run is in, in a file that outlives a SIGKILL."""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loops.evaluation_loop import _EvaluationLoop
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop

from dccc_lightning.reports import metrics_table
from dccc_lightning.reports.figures import training_curves
from dccc_lightning.tasks import run_report, train
from dccc_lightning.training.callbacks.epoch_panels import Panels
from dccc_lightning.training.callbacks.recluster import Recluster
from dccc_lightning.training.callbacks.run_checkpoint import RunCheckpoint

PHASES = (
    "starting", "embedding", "clustering", "steps", "evaluation", "checkpoint", "rows", "pages",
    "between",
)  # fmt: skip
"""Starting lasts until the first of the others; between them is the rest of an epoch."""

RANKS = 2

ROW = np.dtype(
    [("pid", "i8"), ("now", "i8"), ("entered", "i8", len(PHASES)), ("seconds", "f8", len(PHASES))]
)


class Marks:
    """Phases of the processes of a run, shared through a file.

    Attributes:
        rows: One row a rank: its process, the phase that it is in, how often it entered each, and
            the seconds spent there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_bytes(bytes(RANKS * ROW.itemsize))
        self.rows = np.memmap(path, ROW, "r+", shape=(RANKS,))

    def clear(self) -> None:
        """Forget all; between two runs."""
        self.rows.view("i8")[:] = 0

    def phase(self, rank: int = 0) -> str:
        return PHASES[self.rows["now"][rank]]

    def entered(self, phase: str) -> int:
        """Return how often rank 0 has entered a phase."""
        return int(self.rows["entered"][0, PHASES.index(phase)])

    def mean_seconds(self) -> dict[str, float]:
        """Return how long rank 0 stays in each phase that it enters, on average."""
        row = self.rows[0]
        return {
            name: float(row["seconds"][number] / row["entered"][number])
            for number, name in enumerate(PHASES)
            if row["entered"][number]
        }

    def install(self, rank: int, pid: int) -> None:
        """Mark the phases of this process; the functions themselves stay what they are."""
        self.rows["pid"][rank] = pid
        for owner, name, phase in _functions():
            setattr(owner, name, self._marking(rank, PHASES.index(phase), getattr(owner, name)))

    def _marking(self, rank: int, phase: int, function: Callable[..., Any]) -> Callable[..., Any]:
        row = self.rows[rank : rank + 1]

        @functools.wraps(function)
        def marked(*arguments: Any, **options: Any) -> Any:
            before, since = row["now"][0], time.perf_counter()
            row["entered"][0, phase] += 1
            row["now"][0] = phase
            try:
                return function(*arguments, **options)
            finally:
                row["seconds"][0, phase] += time.perf_counter() - since
                row["now"][0] = before or PHASES.index("between")

        return marked


def _functions() -> list[tuple[Any, str, str]]:
    """Return the functions that are the phases; the innermost one counts."""
    return [
        (Recluster, "embed", "embedding"),
        (Recluster, "refresh", "clustering"),
        (_TrainingEpochLoop, "advance", "steps"),
        (_EvaluationLoop, "run", "evaluation"),
        (RunCheckpoint, "_save", "checkpoint"),
        (ModelCheckpoint, "_save_checkpoint", "checkpoint"),
        (metrics_table, "add_row", "rows"),
        (Panels, "_write", "pages"),
        (train, "write_json", "pages"),
        (training_curves, "plot_curves", "pages"),
        (run_report, "write_run_report", "pages"),
    ]
