"""Page of a sweep: its table and pictures in one self-contained file."""

import shlex
from collections.abc import Mapping, Sequence
from itertools import groupby

from dccc_lightning.reports.figures.sweep_curves import COLOURED, curve_keys
from dccc_lightning.reports.figures.sweep_pictures import Picture
from dccc_lightning.reports.pages import render
from dccc_lightning.reports.sweep_table import SweepTable, excuses, note


def sweep_page(
    table: SweepTable,
    title: str,
    pictures: Sequence[Picture],
    shares: Mapping[str, float],
    links: Mapping[str, str],
) -> str:
    """Return the page as HTML.

    Args:
        table: Of the sweep.
        title: Of the page.
        pictures: Of the sweep; those of one heading follow each other.
        shares: Importance of the arguments.
        links: Address of each job, by its name.
    """
    head = table.header()
    place = len(head) - len(table.measures) - 1  # of the number of jobs
    return render(
        "sweep.html",
        title=title,
        best=_best(table),
        command=_command(table),
        head=[*head[: place + 1], "pages", *head[place + 1 :]],
        links_after=place,
        rows=[
            (table.cells(row), [(job.name, links[job.name]) for job in row.jobs], row is table.best)
            for row in table.rows
        ],
        shares=[[name, f"{share:.0%}"] for name, share in shares.items()],
        note=note(table),
        without_results=excuses(table),
        figures=[
            (heading, [chart for picture in group for chart in picture.charts])
            for heading, group in groupby(pictures, key=lambda picture: picture.heading)
        ],
        keys=curve_keys(table),
        others=max(0, len(table.rows) - COLOURED),
    )


def _best(table: SweepTable) -> str:
    if len(table.protocols) > 1:
        return f"Not compared: scores of {len(table.protocols)} protocols."
    return f"Best: {table.best.name()}" if table.best else "No finished job."


def _command(table: SweepTable) -> str:
    """Return the command of the first job of the best setting; empty without a best."""
    if table.best is None:
        return ""
    return shlex.join(["python", "-m", "dccc_lightning", *table.best.jobs[0].overrides])
