"""What a sweep maximises, read from a run's metrics table: of an epoch, and of a whole run."""

from collections.abc import Sequence
from pathlib import Path

from dccc_lightning.metrics.overall_silhouette import overall_silhouette
from dccc_lightning.reports.metrics_table import Row, read_rows

OBJECTIVES = ("mAP", "overall_silhouette")
"""``mAP``: per cent, needs identities. ``overall_silhouette``: within [-1, 1], needs none."""

_SCORES = ("val/mAP", "val_teacher/mAP")


def epoch_objective(row: Row, objective: str) -> float | None:
    """Return the objective after an epoch; None where the epoch was not evaluated.

    >>> epoch_objective({"epoch": 3, "val/mAP": 0.5, "val_teacher/mAP": 0.625}, "mAP")
    62.5
    """
    if objective == "mAP":
        scores = [100 * row[name] for name in _SCORES if name in row]
        return max(scores) if scores else None
    return overall_silhouette(row) if "cluster/num_clusters" in row else None


def run_objective(rows: Sequence[Row], objective: str) -> float | None:
    """Return the objective of a run; None where no trained epoch has it.

    mAP is that of the last evaluation, so that no epoch is chosen by the test split. The silhouette
    is that of the epoch that the label-free rule keeps, which is the highest.

    >>> rows = [{"epoch": -1, "val/mAP": 0.75}, {"epoch": 0, "val/mAP": 0.5}, {"epoch": 1}]
    >>> run_objective(rows, "mAP")
    50.0
    """
    values = [epoch_objective(row, objective) for row in rows if row["epoch"] >= 0]
    known = [value for value in values if value is not None]
    if not known:
        return None
    return known[-1] if objective == "mAP" else max(known)


def folder_objective(folder: Path, objective: str) -> float | None:
    """Return ``run_objective`` of the run in ``folder``."""
    return run_objective(read_rows(folder / "metrics.csv"), objective)
