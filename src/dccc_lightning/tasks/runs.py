"""``task=runs``: index of the runs below a folder."""

from collections import Counter
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from dccc_lightning.common.console import CONSOLE, counted
from dccc_lightning.common.files import write_atomically, write_json
from dccc_lightning.common.progress import announced
from dccc_lightning.config.instantiate import Settings
from dccc_lightning.errors import UserError
from dccc_lightning.reports.run_records import STATES, RunRecord, find_runs
from dccc_lightning.reports.runs_page import COLUMNS, cells, runs_page, to_csv

PAGE = "runs.html"

SHOWN = 30
"""Runs in the terminal's table, the newest; the page has all."""

_RIGHT = ("mAP", "rank-1", "silhouette", "epochs", "time")

_STYLES = {"finished": "green", "running": "cyan", "failed": "red", "unreadable": "red"}


def runs(settings: Settings, output: Path) -> dict[str, Any]:
    """List the runs below a folder.

    Args:
        settings: Composed configuration; only ``folder`` is used.
        output: Folder to write runs.csv and results.json to. The page is FOLDER/runs.html, so that
            its links stay valid when the folder is moved.

    Returns:
        The content of results.json: the page and the number of runs by state.

    Raises:
        UserError: There is no such folder, or it has no run.
    """
    folder = Path(str(settings["folder"])).expanduser()
    if not folder.is_dir():
        raise UserError(f"folder={folder}: no such folder")
    with announced(f"reading the runs in {folder}"):
        own = output.resolve()
        found = [record for record in find_runs(folder) if record.folder.resolve() != own]
    found = [record for record in found if record.task != "runs"]
    if not found:
        raise UserError(f"folder={folder}: no runs in it; give the folder that outputs are in")
    page = folder / PAGE
    write_atomically(page, runs_page(found, folder).encode())
    write_atomically(output / "runs.csv", to_csv(found).encode())
    count = Counter(record.state for record in found)
    results = {"page": str(page), "runs": {state: count[state] for state in STATES}}
    write_json(output / "results.json", results)
    _show(found)
    CONSOLE.print(f"page: {page}")
    return results


def _show(found: list[RunRecord]) -> None:
    table = Table(title=counted(len(found), "run"), title_justify="left")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in _RIGHT else "left", overflow="fold")
    for record in found[:SHOWN]:
        style = _STYLES.get(record.state, "")
        shown = cells(record)
        table.add_row(*(Text(shown[n].text, style if n == "state" else "") for n in COLUMNS))
    CONSOLE.print(table)
    for record in found[:SHOWN]:
        if record.why:
            CONSOLE.print(Text(f"{record.name}: {record.state}: {record.why}"), soft_wrap=True)
    if len(found) > SHOWN:
        CONSOLE.print(f"and {len(found) - SHOWN:,} older ones, on the page")
