"""``task=report``: summary of a sweep as tables, plots and a page."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.table import Table

from dccc_lightning.common.console import CONSOLE
from dccc_lightning.common.files import write_atomically, write_json
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.config.instantiate import Settings
from dccc_lightning.errors import UserError
from dccc_lightning.reports.figures.sweep_pictures import sweep_pictures
from dccc_lightning.reports.results import noted
from dccc_lightning.reports.sweep_importance import importance
from dccc_lightning.reports.sweep_jobs import SWEEP_FILE, SweepJob, read_jobs
from dccc_lightning.reports.sweep_page import sweep_page
from dccc_lightning.reports.sweep_table import SweepTable, excuses, jobs_to_csv, tabulate, to_csv
from dccc_lightning.reports.sweep_table import to_markdown as table_to_markdown

TERMINAL_MEASURES = 2
"""Number of metrics in the terminal's table; the files have all."""


def report(settings: Settings, output: Path) -> dict[str, Any]:
    """Summarise the jobs of a sweep.

    Args:
        settings: Composed configuration; only ``sweep_folder`` is used.
        output: Folder to write table.md, table.csv, jobs.csv, curves.png, heatmap_*.png,
            parallel.png, report.html and results.json to.

    Returns:
        The content of results.json: the number of jobs by state, and the best setting.

    Raises:
        UserError: ``sweep_folder`` is not the folder of a sweep.
    """
    if settings["sweep_folder"] is None:
        raise UserError("sweep_folder=FOLDER is needed: the folder of a sweep, hydra.sweep.dir")
    folder = Path(str(settings["sweep_folder"])).expanduser()
    is_run = (folder / ".hydra").exists()
    if not (folder / SWEEP_FILE).exists() and (is_run or any(folder.glob("*/.hydra"))):
        raise UserError(
            f"sweep_folder={folder}: no sweep (-m) but single runs; task=compare runs=[A,B] "
            f"compares runs, and task=runs {path_argument('folder', folder)} lists them"
        )
    jobs = read_jobs(folder)
    table = tabulate(jobs)
    notes = {job.note for job in jobs if job.measures}  # if they differ, the table has a column
    title = noted(f"Sweep {folder.resolve().name}", notes.pop() if len(notes) == 1 else None)
    if len(table.protocols) == 1:
        title = f"{title}, protocol {table.protocols[0]}"
    is_one = len(table.protocols) < 2  # pictures compare scores
    pictures = sweep_pictures(table) if is_one else {}
    shares = importance(table)
    texts = {
        "table.md": table_to_markdown(table, title),
        "table.csv": to_csv(table),
        "jobs.csv": jobs_to_csv(jobs),
        "report.html": sweep_page(
            table,
            title,
            list(pictures.values()),
            shares,
            {job.name: _link(folder / job.name, output) for job in jobs},
        ),
    }
    files = {name: picture.png for name, picture in pictures.items()}
    for name, content in (files | {n: text.encode() for n, text in texts.items()}).items():
        write_atomically(output / name, content)
    results = summarize(jobs, table) | {"importance": dict(shares)}
    write_json(output / "results.json", results)
    show(table)
    return results


def _link(job: Path, output: Path) -> str:
    """Return the address of a job's page, or of its folder, relative to that of the report."""
    page = job / "report.html"
    target = page if page.is_file() else job
    return quote(Path(os.path.relpath(target.resolve(), output.resolve())).as_posix())


def summarize(jobs: list[SweepJob], table: SweepTable) -> dict[str, Any]:
    """Return the content of results.json."""
    states = [job.state for job in jobs]
    best = None
    if table.best is not None:
        spreads = {name: table.best.spread(name) for name in table.measures}
        best = {
            "setting": dict(table.best.setting),
            "jobs": [job.name for job in table.best.jobs],
            **{name: spread.mean for name, spread in spreads.items() if spread},
            "standard_deviation": {n: s.deviation for n, s in spreads.items() if s},
        }
    return {
        "jobs": {
            state: states.count(state) for state in ("done", "pruned", "failed", "unfinished")
        },
        "objective": table.objective,
        "protocols": table.protocols,
        "best": best,
    }


def show(table: SweepTable) -> None:
    """Print the table."""
    grid = Table(
        title="mean ± standard deviation over seeds and divisions (n - 1)", title_justify="left"
    )
    names = len(table.varying) + (len(table.protocols) > 1)
    shown = names + 1 + TERMINAL_MEASURES
    for place, title in enumerate(table.header()[:shown]):
        grid.add_column(title, justify="left" if place < names else "right")
    for row in table.rows:
        style = "bold green" if row is table.best else ""
        grid.add_row(*table.cells(row)[:shown], style=style)
    CONSOLE.print(grid)
    if len(table.protocols) > 1:
        CONSOLE.print(f"not compared: scores of different protocols, {', '.join(table.protocols)}")
    for job, given, why in excuses(table):
        CONSOLE.print(f"job {job} has no results ({given}): {why}")
