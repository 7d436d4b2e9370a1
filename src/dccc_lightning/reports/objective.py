"""Objectives of sweeps, read from metrics.csv: of an epoch, and of a whole run."""

import math
from collections.abc import Sequence
from pathlib import Path

from dccc_lightning.reports.metrics_table import Row, read_rows

OBJECTIVES = {"mAP": "val_best/mAP", "overall_silhouette": "cluster/overall_silhouette"}
"""Logged figure by objective. The first needs identities; the second, within [-1, 1], does not."""


def epoch_objective(row: Row, objective: str) -> float | None:
    """Return the objective after an epoch, mAP in per cent; None if the epoch has none.

    >>> epoch_objective({"epoch": 3, "val_best/mAP": 0.625}, "mAP")
    62.5
    """
    value = row.get(OBJECTIVES[objective])
    return value if value is None or objective != "mAP" else 100 * value


def run_objective(rows: Sequence[Row], objective: str) -> float | None:
    """Return the objective of a run; None if no trained epoch has it.

    mAP is that of the last evaluation, so that no epoch is chosen by the test split. The silhouette
    is that of the epoch that the label-free rule keeps, which is the highest.

    >>> rows = [{"epoch": -1, "val_best/mAP": 0.75}, {"epoch": 0, "val_best/mAP": 0.5}]
    >>> run_objective(rows, "mAP")
    50.0
    """
    values = [epoch_objective(row, objective) for row in rows if row["epoch"] >= 0]
    known = [value for value in values if value is not None]
    if not known:
        return None
    if objective == "mAP":
        return known[-1]
    return max((value for value in known if not math.isnan(value)), default=known[-1])


def folder_objective(folder: Path, *objectives: str) -> float | None:
    """Return the first of ``objectives`` that the run in ``folder`` has."""
    rows = read_rows(folder / "metrics.csv")
    values = (run_objective(rows, objective) for objective in objectives)
    return next((value for value in values if value is not None), None)
