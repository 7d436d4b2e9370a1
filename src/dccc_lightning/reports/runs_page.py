"""Index of runs as a page and as CSV: sortable, filterable, sweeps as groups."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from dccc_lightning.common.console import counted
from dccc_lightning.common.progress import duration
from dccc_lightning.common.text_files import csv_text
from dccc_lightning.reports.pages import render
from dccc_lightning.reports.run_records import STATES, RunRecord
from dccc_lightning.reports.sweep_jobs import MEASURES

COLUMNS = (
    "run", "state", "mAP", "rank-1", "data set", "recipe", "task", "silhouette", "epochs", "time",
    "started",
)  # fmt: skip
_FIGURES = {"mAP": "mAP", "rank-1": "rank1", "silhouette": "overall_silhouette"}


class Cell(NamedTuple):
    """Cell of the page: text, a remark below it, and what its column is sorted by if not text."""

    text: str
    remark: str = ""
    key: str = ""


def cells(record: RunRecord) -> dict[str, Cell]:
    """Return the cells of a run by the names of ``COLUMNS``."""
    measures, done = record.measures, record.epochs
    seconds = measures.get("seconds")
    return {
        "run": Cell(record.name, record.arguments),
        "data set": Cell(record.dataset, record.protocol),
        "recipe": Cell(record.recipe),
        "task": Cell(record.task),
        "state": Cell(record.state, record.why),
        **{
            title: Cell(MEASURES[key][1].format(measures[key]), key=str(measures[key]))
            if key in measures
            else Cell("")
            for title, key in _FIGURES.items()
        },
        "epochs": Cell(f"{done[0]} of {done[1]}", key=str(done[0])) if done else Cell(""),
        "time": Cell("") if seconds is None else Cell(duration(seconds), key=str(seconds)),
        "started": Cell(record.started),
    }


def runs_page(records: Sequence[RunRecord], folder: Path) -> str:
    """Return the page as HTML.

    Args:
        records: Of the runs, in the order of the page.
        folder: That the page is written to; its links are relative.
    """
    groups: dict[str, list[RunRecord]] = {}
    for number, record in enumerate(records):
        groups.setdefault(record.sweep or f"\0{number}", []).append(record)
    states = {state: sum(r.state == state for r in records) for state in STATES}
    return render(
        "runs.html",
        title=f"Runs in {folder.resolve().name}",
        columns=COLUMNS,
        groups=[
            {
                "head": _head(members) if members[0].sweep else None,
                "rows": [
                    (record.state, _link(record, folder), cells(record)) for record in members
                ],
            }
            for members in groups.values()
        ],
        total=counted(len(records), "run"),
        states={state: count for state, count in states.items() if count},
    )


def _link(record: RunRecord, folder: Path) -> str:
    target = os.path.relpath(record.page.resolve(), folder.resolve())
    return quote(Path(target).as_posix())


def _head(members: Sequence[RunRecord]) -> dict[str, Cell]:
    """Return the cells of a sweep: those that its jobs share, their states, the best scores."""
    rows = [cells(record) for record in members]
    seconds = sum(record.measures.get("seconds", 0.0) for record in members)
    counts = {state: sum(r.state == state for r in members) for state in STATES}
    head = {
        name: rows[0][name] if len({row[name].text for row in rows}) == 1 else Cell("")
        for name in COLUMNS
    } | {
        "run": Cell(f"{members[0].sweep}: {counted(len(members), 'job')}"),
        "state": Cell(", ".join(f"{count} {state}" for state, count in counts.items() if count)),
        "time": Cell(duration(seconds), key=str(seconds)) if seconds else Cell(""),
        "started": Cell(min(record.started for record in members)),
    }
    protocols = {record.protocol for record in members if record.protocol}
    for title, key in _FIGURES.items():
        known = [record.measures[key] for record in members if key in record.measures]
        is_compared = len(protocols) < 2 or title == "silhouette"
        head[title] = (
            Cell(MEASURES[key][1].format(max(known)), "best", str(max(known)))
            if known and is_compared
            else Cell("")
        )
    return head


def to_csv(records: Sequence[RunRecord]) -> str:
    """Return a line for each run, with unrounded figures."""
    texts = ("task", "dataset", "recipe", "arguments", "state", "why", "protocol", "started")
    lines = [["folder", "sweep", *texts, *MEASURES, "epochs", "epochs_requested"]]
    for record in records:
        figures = [str(record.measures.get(name, "")) for name in MEASURES]
        named = [str(getattr(record, name)) for name in texts]
        epochs = map(str, record.epochs or ("", ""))
        lines.append([str(record.folder), record.sweep, *named, *figures, *epochs])
    return csv_text(lines)
