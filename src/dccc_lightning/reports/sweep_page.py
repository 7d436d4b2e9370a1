"""Page of a sweep: its table and pictures in one self-contained file."""

from collections.abc import Mapping

from dccc_lightning.reports.pages import render
from dccc_lightning.reports.sweep_table import SweepTable, excuses, note


def sweep_page(table: SweepTable, title: str, pictures: Mapping[str, bytes]) -> str:
    """Return the page as HTML.

    Args:
        table: Of the sweep.
        title: Of the page.
        pictures: PNGs by title.
    """
    return render(
        "sweep.html",
        title=title,
        best=_best(table),
        best_row=0 if table.best else None,
        head=table.header(),
        rows=[table.cells(row) for row in table.rows],
        note=note(table),
        without_results=excuses(table),
        pictures=pictures,
    )


def _best(table: SweepTable) -> str:
    if len(table.protocols) > 1:
        return f"Not compared: scores of {len(table.protocols)} protocols."
    return f"Best: {table.best.name()}" if table.best else "No finished job."
