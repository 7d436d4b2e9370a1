"""``task=compare``: comparison of finished trainings."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.table import Table
from rich.text import Text

from dccc_lightning.common.console import CONSOLE
from dccc_lightning.common.files import write_atomically, write_json
from dccc_lightning.common.progress import announced, duration
from dccc_lightning.config.instantiate import Settings
from dccc_lightning.config.preset_diff import ABSENT, flat, is_machine, is_place
from dccc_lightning.errors import UserError
from dccc_lightning.metrics.protocols import PROTOCOLS
from dccc_lightning.reports.compared_runs import (
    ComparedRun,
    Difference,
    agreement,
    difference,
    read_compared,
    why_not_compared,
)
from dccc_lightning.reports.comparison_page import agreement_rows, changed_boards, comparison_page
from dccc_lightning.reports.figures.training_curves import compared_curves
from dccc_lightning.reports.query_table import FILE
from dccc_lightning.reports.results import SCORE_NAMES, SCORES, cell

Rows = list[list[str]]


def compare(settings: Settings, output: Path) -> dict[str, Any]:
    """Compare finished trainings with the first of them.

    Args:
        settings: Composed configuration; only ``runs`` is used.
        output: Folder to write compare.html and results.json to.

    Returns:
        The content of results.json.

    Raises:
        UserError: ``runs`` is no list of two or more finished trainings.
    """
    folders = _folders(settings["runs"])
    with announced("reading the runs"):
        runs = read_compared(folders)
    first, others = runs[0], runs[1:]
    reasons = {run.name: why_not_compared(first, run) for run in others}
    remarks = [f"{name}: scores are not compared, {why}" for name, why in reasons.items() if why]
    differences: dict[str, Difference | None] = {}
    for run in others:
        is_averaged = first.test[1] in PROTOCOLS and PROTOCOLS[first.test[1]].average == "identity"
        differences[run.name] = None if reasons[run.name] else difference(first, run, is_averaged)
        if not reasons[run.name] and differences[run.name] is None:
            remarks.append(f"{run.name}: no interval, {_why_no_interval(first, run)}")
    method, places = setting_rows(runs)
    labels = {
        run.name: found
        for run in others
        if run.test[0] == first.test[0] and (found := agreement(first, run)) is not None
    }
    names = [run.name for run in runs]
    tables: dict[str, tuple[list[str], Rows]] = {
        "Scores, per cent": (
            ["run", "network", *(SCORE_NAMES[s] for s in SCORES), "mAP minus the first", "95 %"],
            _score_rows(runs, reasons, differences),
        ),
        "Settings that differ": (["setting", *names], method),
        "Labels of the last epoch": (
            ["", f"beside {first.name}"],
            [row for name, found in labels.items() for row in agreement_rows(name, found)],
        ),
        "Time and memory": (
            ["run", "time", "epochs", "seconds an epoch", "process, MiB", "GPU, MiB"],
            [_cost(run) for run in runs],
        ),
        "Places and machine": (["setting", *names], places),
    }
    boards: list[dict[str, Any]] = []
    pictures: dict[str, bytes] = {}
    for run in others:
        if differences[run.name] is not None:
            more, read = changed_boards(first, run)
            boards, pictures = boards + more, pictures | read
    curves = compared_curves(
        {run.name: run.rows for run in runs}, of_one_test=not any(reasons.values())
    )
    page = comparison_page(
        f"Comparison of {len(runs)} runs", tables, remarks, curves, boards, pictures,
        {run.name: _link(run, output) for run in runs},
    )  # fmt: skip
    results = {
        "runs": {run.name: str(run.folder) for run in runs},
        "scores": {run.name: {"network": run.network, **run.scores} for run in runs},
        "differences": {
            name: None if found is None else found._asdict() for name, found in differences.items()
        },
        "not_compared": {name: why for name, why in reasons.items() if why},
        "settings": {row[0]: dict(zip(names, row[1:], strict=True)) for row in method},
        "labels": {name: found._asdict() for name, found in labels.items()},
    }
    write_atomically(output / "compare.html", page.encode())
    write_json(output / "results.json", results)
    for heading, (head, rows) in tables.items():
        if rows and heading != "Places and machine":
            _show(heading, head, rows)
    for remark in remarks:
        CONSOLE.print(Text(remark), soft_wrap=True)
    return results


def _why_no_interval(first: ComparedRun, second: ComparedRun) -> str:
    protocol = PROTOCOLS.get(first.test[1])
    if protocol and (protocol.is_drawn or protocol.pools_tracklets):
        return f"for {protocol.name} scores no single queries"
    missing = [run.name for run in (first, second) if run.queries is None]
    if missing:
        return f"for {' and '.join(missing)} has no {FILE}"
    return "for no query has one path in both"


def _folders(value: object) -> list[Path]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) < 2:
        raise UserError(f"runs={value}: give two or more run folders, as runs=[A,B]")
    folders = [Path(str(folder)).expanduser() for folder in value]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError(f"runs={value}: a run is given twice")
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"runs={folder}: no such folder")
    return folders


def setting_rows(runs: Sequence[ComparedRun]) -> tuple[Rows, Rows]:
    """Return the settings that differ: those of the method, and those of places and machine."""
    leaves = [flat(run.settings) for run in runs]
    rows: tuple[Rows, Rows] = [], []
    for name in dict.fromkeys(name for settings in leaves for name in settings):
        values = [settings.get(name, ABSENT) for settings in leaves]
        if name != "output" and len(set(values)) > 1 and not _is_own_folder(runs, values):
            rows[is_place(name) or is_machine(name)].append([name, *values])
    return rows


def _is_own_folder(runs: Sequence[ComparedRun], values: Sequence[str]) -> bool:
    """Return True for paths that are alike, except that each has the folder of its run."""
    ends = {
        f"{value}/".removeprefix(start) if f"{value}/".startswith(start) else None
        for value, start in zip(values, (f"{run.written_to}/" for run in runs), strict=True)
    }
    return len(ends) == 1 and None not in ends


def _score_rows(
    runs: Sequence[ComparedRun], reasons: dict[str, str], found: dict[str, Difference | None]
) -> Rows:
    rows = []
    for run in runs:
        if not run.scores:
            continue
        gain = interval = ""
        if run is not runs[0] and not reasons[run.name]:
            gain = f"{run.scores['mAP'] - runs[0].scores['mAP']:+.1f}"
            if (paired := found[run.name]) is not None:
                interval = f"{paired.low:+.1f} to {paired.high:+.1f}"
        rows.append([run.name, run.network, *(cell(run.scores, s) for s in SCORES), gain, interval])
    return rows


def _cost(run: ComparedRun) -> list[str]:
    peaks = run.results.get("peak_memory_mib", {})
    totals = [row["total"] for row in run.timings if row["epoch"] >= 0 and "total" in row]
    each = f"{sum(totals) / len(totals):.1f}" if totals else ""
    memory = [str(peaks[name]) if name in peaks else "" for name in ("process", "gpu")]
    return [run.name, duration(run.results["seconds"]), str(run.results["epochs"]), each, *memory]


def _link(run: ComparedRun, output: Path) -> str:
    report = run.folder / "report.html"
    if not report.is_file():
        return ""
    return quote(Path(os.path.relpath(report.resolve(), output.resolve())).as_posix())


def _show(heading: str, head: Sequence[str], rows: Rows) -> None:
    table = Table(title=heading, title_justify="left")
    for place, name in enumerate(head):
        table.add_column(name, overflow="fold", justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    CONSOLE.print(table)
