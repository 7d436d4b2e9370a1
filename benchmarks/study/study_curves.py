"""The tables that go over one number, as curves."""

import io
import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from study_plan import Table, jobs_of, rows
from study_tables import Finished, measure

from dccc_lightning.reports.figures.chart import BLUE, ORANGE

LEAST = 3
"""Values that make a curve."""

COLORS = {"student mAP": BLUE, "teacher mAP": ORANGE}


def curves(tables: Sequence[Table], done: Finished) -> bytes | None:
    """Draw mAP over the swept value of each table, mean and standard deviation; PNG.

    None where no table has runs at three values or more.
    """
    drawn = [(table, points) for table in tables if len(points := values(table, done)) >= LEAST]
    if not drawn:
        return None
    figure = Figure(figsize=(4.6 * len(drawn), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (table, points) in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn,
                                     strict=True):  # fmt: skip
        draw(axes, table, points, done)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def values(table: Table, done: Finished) -> dict[float, tuple[str, ...]]:
    """Return the swept values that have runs, rising, and what each changes."""
    found = {float(next(iter(row.arguments.values()))): row.changes for row in rows(table.grid)}
    ran = {job.changes for job in jobs_of(table) if job in done}
    return {value: changes for value, changes in sorted(found.items()) if changes in ran}


def draw(axes: Axes, table: Table, points: dict[float, tuple[str, ...]], done: Finished) -> None:
    """Draw the curves of a table's first world."""
    jobs = [job for job in jobs_of(table) if job in done and job.world == table.worlds[0]]
    for column, color in COLORS.items():
        at, means, spread = [], [], []
        for value, changes in points.items():
            runs = [measure(done[job], column) for job in jobs if job.changes == changes]
            if scores := [score for score in runs if score is not None]:
                at.append(value)
                means.append(statistics.fmean(scores))
                spread.append(statistics.stdev(scores) if len(scores) > 1 else 0.0)
        if at:
            axes.errorbar(at, means, spread, color=color, marker="o", capsize=3, label=column)
    if min(points) > 0 and max(points) / min(points) > 20:
        axes.set_xscale("log")
    axes.set_xticks(list(points), [f"{value:g}" for value in points])
    axes.minorticks_off()
    axes.set_title(f"{table.grid}: {table.pair}, {table.worlds[0]}", loc="left", fontsize=11)
    axes.set_xlabel(next(iter(rows(table.grid)[0].arguments)))
    axes.set_ylabel("mAP, %")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
