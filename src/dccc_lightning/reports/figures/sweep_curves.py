"""Curves of a sweep: a line for each setting."""

import math
import statistics
from collections.abc import Sequence

from dccc_lightning.reports.figures.chart import Chart
from dccc_lightning.reports.figures.training_curves import Styles, line_styles, lines
from dccc_lightning.reports.sweep_table import SweepRow, SweepTable

COLOURED = 8
"""Settings that have a colour and a name among the curves, the best ones; the others are grey."""

_CURVES = (
    ("mAP of the better network, %", ("val/mAP", "val_teacher/mAP"), 100.0),
    ("Silhouette, outliers as 0", ("cluster/overall_silhouette",), 1.0),
    ("eps (DCPS)", ("cluster/eps",), 1.0),
    ("Clusters", ("cluster/num_clusters",), 1.0),
)


def curve_keys(table: SweepTable) -> Styles:
    """Return the colour and the style of each setting among the ``COLOURED`` best, by name."""
    return line_styles(row.name() for row in table.rows[:COLOURED])


def sweep_curves(table: SweepTable) -> list[Chart]:
    """Return a chart of each figure with the mean over the seeds of each setting, by epoch.

    The best setting lies on top.
    """
    rows = list(reversed(table.rows))
    grey = dict.fromkeys((row.name() for row in rows), ("none", "solid"))
    charts = []
    for title, keys, factor in _CURVES:
        series = {row.name(): _curve(row, keys, factor) for row in rows}
        if any(series.values()):
            charts.append(
                lines(title, series, "epochs trained", styles={**grey, **curve_keys(table)})
            )
    return charts


def _curve(row: SweepRow, keys: Sequence[str], factor: float) -> list[tuple[float, float]]:
    """Return (epochs trained, mean over the jobs of the highest of ``keys``)."""
    points: dict[float, list[float]] = {}
    for job in row.jobs:
        for epoch in job.rows:
            values = [epoch[key] for key in keys if math.isfinite(epoch.get(key, math.nan))]
            if values:
                points.setdefault(epoch["epoch"] + 1, []).append(factor * max(values))
    return [(epoch, statistics.fmean(values)) for epoch, values in sorted(points.items())]
