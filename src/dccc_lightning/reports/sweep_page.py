"""Page of a sweep: its table and pictures in one self-contained file."""

from collections.abc import Mapping

from dccc_lightning.reports.pages import render
from dccc_lightning.reports.sweep_table import NOTE, SweepTable, excuses


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
        best=f"Best: {table.best.name()}" if table.best else "No finished job.",
        best_row=0 if table.best else None,
        head=table.header(),
        rows=[table.cells(row) for row in table.rows],
        note=NOTE,
        without_results=excuses(table),
        pictures=pictures,
    )
