"""Records of the runs below a folder: settings, state and scores, read from their files."""

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dccc_lightning.common import lock
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.reports.metrics_table import Row, read_rows
from dccc_lightning.reports.sweep_jobs import (
    SWEEP_FILE,
    UNREADABLE,
    last_error,
    measures_of,
    reason,
)

MARKER = ".hydra"
STATES = ("running", "finished", "stopped", "failed", "unreadable")

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STARTED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")
_TRAININGS = ("train", "pretrain")
_EVALUATIONS = ("evaluate", "export")
"""Tasks that use ``dataset=`` without being told to; so do the trainings."""

_CHOICES = ("task", "dataset", "experiment")
_RESULTS = {
    "calibrate": "calibration.json", "crop": "crops.json", "embed": "embeddings.json",
    "export": "export.json", "identify": "identities.json", "join": "embeddings.json",
    "verify": "verify.json",
}  # fmt: skip
"""Last file of the tasks that do not write results.json."""

_PLACES = ("output", "resume", "ckpt_path", "hydra.", "callbacks.pruning", "sweep", "dataset.root")


@dataclass(frozen=True)
class RunRecord:
    """Run of a task in a folder.

    Attributes:
        folder: Of the run.
        name: Path of the folder relative to the one that was searched.
        sweep: Name of the folder of its sweep; empty for a single run.
        task: Such as ``train``.
        dataset: Name; several joined with ``+``, and the folder for images of your own.
        recipe: ``experiment=`` of the run; empty for the preset of the dataset.
        arguments: Other arguments of its command line, except places.
        state: One of ``STATES``.
        why: Reason of a failure, or the argument that continues a stopped run.
        started: Local time, ``YYYY-MM-DD HH:MM``.
        epochs: Number of trained epochs, and of those requested.
        protocol: Evaluation protocol of the scores; empty without scores.
        measures: Scores in per cent and label-free figures by name, of the last evaluation.
    """

    folder: Path
    name: str
    sweep: str = ""
    task: str = ""
    dataset: str = ""
    recipe: str = ""
    arguments: str = ""
    state: str = "unreadable"
    why: str = ""
    started: str = ""
    epochs: tuple[int, int] | None = None
    protocol: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)

    @property
    def page(self) -> Path:
        """Return the report of the run, or its folder if there is none."""
        report = self.folder / "report.html"
        return report if report.is_file() else self.folder


def task_of(settings: Mapping[str, Any]) -> str:
    """Return the task of resolved settings.

    >>> task_of({"task": {"_target_": "dccc_lightning.tasks.map.draw_map"}})
    'map'
    """
    return str(settings["task"]["_target_"]).split(".")[-2]


def find_runs(folder: Path) -> list[RunRecord]:
    """Read all runs below a folder, the newest first.

    A run that cannot be read has the state ``unreadable`` and the reason, as has a folder that
    cannot be listed. Links are not followed.
    """
    found = []
    denied: list[OSError] = []
    for path, folders, _ in os.walk(folder, onerror=denied.append):
        if MARKER in folders:
            folders.clear()  # nothing of a run is another run
            found.append(Path(path))
    found += [Path(error.filename) for error in denied if isinstance(error, PermissionError)]
    records = [read_run(path, folder) for path in found]
    return sorted(records, key=lambda record: (record.started, record.name), reverse=True)


def read_run(path: Path, root: Path) -> RunRecord:
    """Read a run; ``root`` is the folder that was searched."""
    name = str(path.relative_to(root)) if path != root else path.resolve().name
    sweep = _sweep(path, root)
    try:
        return _read(path, name, sweep)
    except UNREADABLE as error:
        return RunRecord(path, name, sweep, why=reason(error), started=_started(path))


def _sweep(path: Path, root: Path) -> str:
    """Return the name of the sweep of a run: of the nearest such folder; empty if single."""
    above = path.parents[: len(path.relative_to(root).parts)]
    for folder in above:
        if (folder / SWEEP_FILE).exists():
            return root.resolve().name if folder == root else str(folder.relative_to(root))
    return ""


def _read(path: Path, name: str, sweep: str) -> RunRecord:
    settings = _yaml(path / "config.yaml")
    overrides = [str(given) for given in _yaml(path / MARKER / "overrides.yaml") or []]
    finished = path / "results.json"
    results = json.loads(finished.read_text()) if finished.is_file() else None
    rows = read_rows(path / "metrics.csv")
    trained = sum(row["epoch"] >= 0 for row in rows)
    task = task_of(settings)
    state, why = _state(path, task, results, trained)
    chosen = [given for given in overrides if given.partition("=")[0].lstrip("+") in _CHOICES]
    recipes = [given.partition("=")[2] for given in chosen if "experiment=" in given]
    measures, protocol = _scores(task, results, rows)
    is_given = any(given.lstrip("+~").startswith("dataset") for given in overrides)
    uses_dataset = is_given or task in (*_TRAININGS, *_EVALUATIONS)
    return RunRecord(
        path,
        name,
        sweep,
        task,
        _dataset(settings["dataset"], results) if uses_dataset else "",
        recipes[-1] if recipes else "",
        " ".join(
            g for g in overrides if g not in chosen and not g.lstrip("+~").startswith(_PLACES)
        ),
        state,
        why,
        _started(path),
        (trained, int(settings["epochs"])) if task in _TRAININGS else None,
        protocol,
        measures,
    )


def _state(
    path: Path, task: str, results: Mapping[str, Any] | None, trained: int
) -> tuple[str, str]:
    if lock.is_held(path / "run.log"):
        return "running", ""
    is_whole = results is None or trained <= results.get("epochs", trained)
    if is_whole and (path / _RESULTS.get(task, "results.json")).is_file():
        return "finished", ""
    if reason := last_error(path):
        return "failed", reason
    if (path / "checkpoints" / "last.ckpt").exists():
        return "stopped", f"{path_argument('resume', path)} continues"
    return "stopped", "before its first checkpoint" if task in _TRAININGS else "before its end"


def _scores(
    task: str, results: Mapping[str, Any] | None, rows: Sequence[Row]
) -> tuple[dict[str, float], str]:
    """Return the measures of a run, also of an unfinished one, and the protocol."""
    if task == "evaluate" and results is not None:
        cells = [cell for row in results["scores"].values() for cell in row.values()]
        if len(cells) != 1:  # several networks or datasets: they are in its matrix
            return {}, ""
        protocols = [facts["protocol"] for facts in results["datasets"].values()]
        cosine = cells[0]["cosine"]
        return {name: float(cosine[name]) for name in ("mAP", "rank1")}, protocols[0]
    measures = measures_of(results, rows)
    known = (results or {}).get("protocol", "market1501") if "mAP" in measures else ""
    return measures, str(known)


def _dataset(settings: Mapping[str, Any], results: Mapping[str, Any] | None) -> str:
    evaluated = (results or {}).get("datasets")
    if isinstance(evaluated, Mapping):
        return " + ".join(evaluated)
    name = str(settings["name"])
    return Path(str(settings["root"])).absolute().name if name == "folder" else name


def _started(path: Path) -> str:
    """Return the time of the first line of run.log, else that of the folder; empty if neither."""
    with suppress(OSError), (path / "run.log").open(errors="replace") as file:
        if found := _STARTED.match(file.readline(1000)):
            return found.group()
    with suppress(OSError):
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
    return ""


def _yaml(path: Path) -> Any:
    return yaml.load(path.read_bytes(), Loader=_LOADER)  # one of the safe loaders
