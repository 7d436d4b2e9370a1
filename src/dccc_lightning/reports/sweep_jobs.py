"""Read the jobs of a sweep from their folders."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dccc_lightning.errors import UserError
from dccc_lightning.reports.metrics_table import Row, read_rows
from dccc_lightning.reports.objective import run_objective
from dccc_lightning.reports.results import SCORE_NAMES

MEASURES = {
    **{score: (SCORE_NAMES[score], "{:.1f}") for score in ("mAP", "rank1", "rank10")},
    "overall_silhouette": ("silhouette", "{:.3f}"),
    "clusters": ("clusters", "{:.0f}"),
    "ari": ("ARI", "{:.2f}"),
    "seconds": ("seconds", "{:.0f}"),
}
"""Name and format of each measure of a finished job; scores in per cent."""

SWEEP_FILE = "multirun.yaml"
"""File in the folder of a sweep, written by Hydra."""

UNREADABLE = (
    OSError, ValueError, LookupError, TypeError, AttributeError, csv.Error, yaml.YAMLError
)  # fmt: skip
"""Errors of reading files of a run that are damaged or of another version."""

_NOT_COMPARED = (
    "hydra.", "callbacks.pruning.", "sweep", "output", "resume", "ckpt_path", "checkpoint.",
)  # fmt: skip


@dataclass(frozen=True)
class SweepJob:
    """Job of a sweep: arguments, metrics and state."""

    name: str
    arguments: Mapping[str, str]
    rows: Sequence[Row]
    measures: Mapping[str, float]  # empty unless it finished
    error: str | None
    is_pruned: bool
    note: str = ""  # what is said beside its scores
    protocol: str = ""  # of the evaluation; empty without scores
    overrides: Sequence[str] = ()  # the arguments as they were given

    @property
    def state(self) -> str:
        """Return done, pruned (ended early, with results), failed, or unfinished."""
        if self.measures:
            return "pruned" if self.is_pruned else "done"
        return "failed" if self.error else "unfinished"


def read_jobs(folder: Path) -> list[SweepJob]:
    """Read the jobs of a sweep, in the order of their numbers.

    Raises:
        UserError: There is no such folder, no job in it, or a file of one cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"sweep_folder={folder}: no such folder")
    found = [path.parents[1] for path in folder.glob("*/.hydra/overrides.yaml")]
    if not found:
        raise UserError(
            f"sweep_folder={folder}: no jobs in it; give the folder of a sweep (-m), which is "
            "hydra.sweep.dir"
        )
    return [_read_job(path) for path in sorted(found, key=_order)]


def _order(path: Path) -> tuple[bool, int, str]:
    return (not path.name.isdigit(), int(path.name) if path.name.isdigit() else 0, path.name)


def _read_job(folder: Path) -> SweepJob:
    try:
        overrides = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text()) or []
        results = _optional_json(folder / "results.json")
        rows = read_rows(folder / "metrics.csv")
        is_searched = any("callbacks.pruning." in override for override in overrides)
        is_short = is_searched and _epochs(folder) > (results or {}).get("epochs", 0)
        measures = measures_of(results, rows) if results else {}
    except UNREADABLE as error:
        raise UserError(
            f"{folder}: not a job of a sweep that can be read ({reason(error)})"
        ) from error
    return SweepJob(
        folder.name,
        _arguments(overrides),
        rows,
        measures,
        last_error(folder),
        bool(is_short),
        str((results or {}).get("note", "")),
        str((results or {}).get("protocol", "market1501")) if "mAP" in measures else "",
        [given for given in overrides if not given.lstrip("+~").startswith(_NOT_COMPARED)],
    )


def reason(error: Exception) -> str:
    r"""Return an error of ``UNREADABLE`` as one line.

    >>> reason(KeyError("epoch")), reason(ValueError("bad\nvalue")), reason(TypeError())
    ("no 'epoch'", 'bad', 'its files are not of a run')
    """
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, (TypeError, AttributeError)):
        return "its files are not of a run"
    return f"no {text}" if isinstance(error, KeyError) else text


def _arguments(overrides: Sequence[str]) -> dict[str, str]:
    pairs = (override.lstrip("+").partition("=") for override in overrides)
    return {key: value for key, _, value in pairs if not key.startswith(_NOT_COMPARED)}


def _optional_json(path: Path) -> dict[str, Any] | None:
    return dict(json.loads(path.read_text())) if path.exists() else None


def _epochs(folder: Path) -> int:
    return int(yaml.safe_load((folder / "config.yaml").read_text())["epochs"])


def last_error(folder: Path) -> str | None:
    """Return the last line of a failed run's error.txt; None if there is none."""
    path = folder / "error.txt"
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else None


def measures_of(results: Mapping[str, Any] | None, rows: Sequence[Row]) -> dict[str, float]:
    """Return the finite measures of a run; scores of the better network, last evaluation.

    Args:
        results: Content of results.json; None for an unfinished run, of which mAP is known.
        rows: Of metrics.csv.
    """
    measures: dict[str, float] = {}
    scores = [results[n] for n in ("student", "teacher") if results.get(n)] if results else []
    if scores:
        best = max(scores, key=lambda score: score["mAP"])
        measures |= {name: float(best[name]) for name in ("mAP", "rank1", "rank10")}
    elif (score := run_objective(rows, "mAP")) is not None:
        measures["mAP"] = score
    silhouette = run_objective(rows, "overall_silhouette")
    if silhouette is not None:
        measures["overall_silhouette"] = silhouette
    clustered = [row for row in rows if "cluster/num_clusters" in row]
    if clustered:
        measures["clusters"] = clustered[-1]["cluster/num_clusters"]
        if "cluster/ari" in clustered[-1]:
            measures["ari"] = clustered[-1]["cluster/ari"]
    if results and "seconds" in results:
        measures["seconds"] = float(results["seconds"])
    return {name: value for name, value in measures.items() if math.isfinite(value)}
