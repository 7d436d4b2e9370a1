"""Pictures of a sweep: heat maps of the objective, and curves of the settings."""

import statistics
from collections.abc import Sequence
from functools import partial
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dccc_lightning.errors import UserError
from dccc_lightning.reports.figures.chart import PALETTE, Chart, to_png
from dccc_lightning.reports.picture_failures import warn_on_failure
from dccc_lightning.reports.sweep_jobs import MEASURES
from dccc_lightning.reports.sweep_table import SweepRow, SweepTable

MAX_TICKS = 8
"""Values of an argument with a row or column each; more numbers are put into bins."""

MAX_PLACES = 40
"""Rows or columns of a heat map that can be read; texts cannot be put into bins."""

BINS = 5
MAX_MAPS = 6
LEAST_SPANS = {"mAP": 10.0, "overall_silhouette": 0.1}
"""Least difference between the ends of a colour scale, so that noise has no colours."""

DEVIATIONS = 4.0
"""Standard deviations over seeds between the ends of a colour scale, at least."""

COLOURED = 8
"""Settings that have a colour and a name among the curves, the best ones; the others are grey."""

CURVES_FILE = "curves.png"

_CURVES = (
    ("mAP of the better network, %", ("val/mAP", "val_teacher/mAP"), 100.0),
    ("silhouette, outliers as 0", ("cluster/overall_silhouette",), 1.0),
    ("eps (DCPS)", ("cluster/eps",), 1.0),
    ("clusters", ("cluster/num_clusters",), 1.0),
)


class Scale(NamedTuple):
    """Positions of an argument's values along an axis."""

    ticks: list[str]
    places: dict[str, int]


def scale(values: Sequence[str]) -> Scale:
    """Return the position of each value: its own, or one of ``BINS`` equal bins for many numbers.

    >>> scale(["linear", "fixed", "linear"]).ticks
    ['fixed', 'linear']
    """
    distinct = sorted(set(values), key=lambda v: (_number(v) is None, _number(v) or 0.0, v))
    numbers = [number for v in distinct if (number := _number(v)) is not None]
    if len(distinct) <= MAX_TICKS or len(numbers) < len(distinct):
        return Scale(distinct, {value: place for place, value in enumerate(distinct)})
    edges = np.linspace(min(numbers), max(numbers), BINS + 1)
    places = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, BINS - 1)
    ticks = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
    return Scale(ticks, dict(zip(distinct, places.tolist(), strict=True)))


def cell_means(table: SweepTable, x: str, y: str) -> tuple[Scale, Scale, np.ndarray]:
    """Return the mean objective of the settings that fall into each cell; NaN in an empty one.

    Pruned settings stay out, as their training was shorter.

    Returns:
        The scale of x, that of y, and the means (y, x).

    Raises:
        UserError: More than ``MAX_PLACES`` values that are no numbers.
    """
    rows = [row for row in table.rows if not row.is_pruned and row.spread(table.objective)]
    across, down = (scale([row.setting[name] for row in rows]) for name in (x, y))
    for name, places in ((x, across), (y, down)):
        if len(places.ticks) > MAX_PLACES:
            raise UserError(f"{name} has {len(places.ticks)} values, more than {MAX_PLACES}")
    cells: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        spread = row.spread(table.objective)
        assert spread is not None
        place = down.places[row.setting[y]], across.places[row.setting[x]]
        cells.setdefault(place, []).append(spread.mean)
    means = np.full((len(down.ticks), len(across.ticks)), np.nan)
    for place, values in cells.items():
        means[place] = statistics.fmean(values)
    return across, down, means


def colour_range(means: np.ndarray, objective: str, noise: float) -> tuple[float, float]:
    """Return the ends of the colour scale of a heat map, around the middle of its values.

    Args:
        means: (rows, columns), NaN in empty cells.
        objective: A key of ``LEAST_SPANS``.
        noise: Standard deviation over the seeds; 0 if unknown.
    """
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    half = max(high - low, LEAST_SPANS[objective], DEVIATIONS * noise) / 2
    return (low + high) / 2 - half, (low + high) / 2 + half


def noise_of(table: SweepTable) -> float:
    """Return the standard deviation over seeds, pooled over the settings; 0 if unknown."""
    spreads = [row.spread(table.objective) for row in table.rows if not row.is_pruned]
    parts = [s.deviation**2 for s in spreads if s is not None and s.deviation is not None]
    return statistics.fmean(parts) ** 0.5 if parts else 0.0


def file_name(x: str, y: str) -> str:
    """Return the name of the file of a heat map."""
    return f"heatmap_{x}_{y}.png".replace("/", "_")


def captions(table: SweepTable) -> dict[str, str]:
    """Return the heading of each picture, by file name."""
    pairs = combinations(table.varying, 2)
    maps = {file_name(x, y): f"Heat map: {x} against {y}" for x, y in pairs}
    return maps | {CURVES_FILE: "Curves"}


def heat_maps(table: SweepTable) -> dict[str, bytes]:
    """Return a PNG for each pair of varying arguments, by file name; at most ``MAX_MAPS``.

    One that cannot be made is left out with a warning.
    """
    pictures = {}
    for x, y in list(combinations(table.differing, 2))[:MAX_MAPS]:
        with warn_on_failure(file_name(x, y)):
            across, down, means = cell_means(table, x, y)
            if not np.isnan(means).all():
                pictures[file_name(x, y)] = _heat_map(table, (x, y), (across, down), means)
    return pictures


def _heat_map(
    table: SweepTable, names: tuple[str, str], scales: tuple[Scale, Scale], means: np.ndarray
) -> bytes:
    title, form = MEASURES[table.objective]
    height, width = means.shape
    noise = noise_of(table)

    def draw(axes: Axes) -> None:
        low, high = colour_range(means, table.objective, noise)
        image = axes.imshow(
            means, cmap="viridis", aspect="auto", origin="lower", vmin=low, vmax=high
        )
        for row, column in np.argwhere(~np.isnan(means)):
            value = means[row, column]
            axes.text(column, row, form.format(value), ha="center", va="center",
                      fontweight="bold" if value == np.nanmax(means) else "normal",
                      color="white" if value < (low + high) / 2 else "black")  # fmt: skip
        axes.set(xlabel=names[0], ylabel=names[1])
        axes.set_xticks(range(width), scales[0].ticks, rotation=20 if width > 3 else 0)
        axes.set_yticks(range(height), scales[1].ticks)
        axes.grid(visible=False)
        axes.figure.colorbar(image, ax=axes)

    spread = f", ± {form.format(noise)} over seeds" if noise else ""
    return to_png([Chart(f"{title}, mean{spread}", draw)], (3.2 + 1.05 * width, 1.9 + 0.6 * height))


def curves(table: SweepTable) -> bytes:
    """Return a PNG with a line for each setting, the mean over its seeds by epoch."""
    shown = [curve for curve in _CURVES if any(_curve(row, *curve[1:]) for row in table.rows)]
    charts = [Chart(title, partial(_draw, table, keys, factor)) for title, keys, factor in shown]
    return to_png(charts, (6, 4.2), columns=2, has_legend_below=True)


def _draw(table: SweepTable, keys: Sequence[str], factor: float, axes: Axes) -> None:
    for place, row in reversed(list(enumerate(table.rows))):  # the best lies on top
        points = _curve(row, keys, factor)
        if points:
            is_named = place < COLOURED
            color = colormaps["tab10"](place) if is_named else PALETTE["none"][0]
            axes.plot(*zip(*points, strict=True), color=color, lw=2.4 if place == 0 else 1.4,
                      marker="o" if len(points) == 1 else None,
                      label=row.name() if is_named else None)  # fmt: skip
    axes.set_xlabel("epochs trained")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _curve(row: SweepRow, keys: Sequence[str], factor: float) -> list[tuple[float, float]]:
    """Return (epochs trained, mean over the jobs of the highest of ``keys``)."""
    points: dict[float, list[float]] = {}
    for job in row.jobs:
        for epoch in job.rows:
            values = [epoch[key] for key in keys if key in epoch]
            if values:
                points.setdefault(epoch["epoch"] + 1, []).append(factor * max(values))
    return [(epoch, statistics.fmean(values)) for epoch, values in sorted(points.items())]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
