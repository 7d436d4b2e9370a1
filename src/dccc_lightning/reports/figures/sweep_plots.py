"""A sweep in pictures: the objective over pairs of arguments, and the curves of its settings."""

import io
import statistics
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dccc_lightning.errors import UserError
from dccc_lightning.reports.fonts import PLAIN_TEXT
from dccc_lightning.reports.picture_failures import warn_on_failure
from dccc_lightning.reports.sweep_jobs import MEASURES
from dccc_lightning.reports.sweep_table import SweepRow, SweepTable

MAX_TICKS = 8
"""Values of an argument that get a row or column each; more numbers are put into bins."""

MAX_PLACES = 40
"""Rows or columns of a heat map that can be read; texts cannot be put into bins."""

BINS = 5
MAX_MAPS = 6
COLOURED = 8
"""Settings that have a colour and a name among the curves, the best ones; the others are grey."""

_LONG_NAME = 70
"""Characters of a setting of which two do not go side by side."""

CURVES_FILE = "curves.png"

_GREY = "#c4c7cc"
_CURVES = (
    ("mAP of the better network, %", ("val/mAP", "val_teacher/mAP"), 100.0),
    ("silhouette, outliers as 0", ("cluster/overall_silhouette",), 1.0),
    ("eps (DCPS)", ("cluster/eps",), 1.0),
    ("clusters", ("cluster/num_clusters",), 1.0),
)


class Scale(NamedTuple):
    """The places of an argument's values along an axis."""

    ticks: list[str]
    places: dict[str, int]


def scale(values: Sequence[str]) -> Scale:
    """Return a place for each value: its own, or one of ``BINS`` equal bins for many numbers.

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


def file_name(x: str, y: str) -> str:
    """Return the name of the file of a heat map."""
    return f"heatmap_{x}_{y}.png".replace("/", "_")


def captions(table: SweepTable) -> dict[str, str]:
    """Return what is written above each picture, by file name."""
    pairs = combinations(table.varying, 2)
    maps = {file_name(x, y): f"Heat map: {x} against {y}" for x, y in pairs}
    return maps | {CURVES_FILE: "Curves"}


def heat_maps(table: SweepTable) -> dict[str, bytes]:
    """Return a PNG for each pair of varying arguments, by file name; at most ``MAX_MAPS``.

    One that cannot be made is left out with a warning.
    """
    pictures = {}
    for x, y in list(combinations(table.varying, 2))[:MAX_MAPS]:
        with warn_on_failure(file_name(x, y)):
            across, down, means = cell_means(table, x, y)
            if not np.isnan(means).all():
                pictures[file_name(x, y)] = _heat_map(table, (x, y), (across, down), means)
    return pictures


@rc_context(PLAIN_TEXT)
def _heat_map(
    table: SweepTable, names: tuple[str, str], scales: tuple[Scale, Scale], means: np.ndarray
) -> bytes:
    title, form = MEASURES[table.objective]
    height, width = means.shape
    figure = Figure(figsize=(3.2 + 1.05 * width, 1.9 + 0.6 * height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(means, cmap="viridis", aspect="auto", origin="lower")
    low, high = np.nanmin(means), np.nanmax(means)
    for row, column in np.argwhere(~np.isnan(means)):
        value = means[row, column]
        is_best = value == high
        axes.text(column, row, form.format(value), ha="center", va="center", fontsize=10,
                  fontweight="bold" if is_best else "normal",
                  color="white" if value < (low + high) / 2 else "black")  # fmt: skip
    axes.set_title(f"{title}, mean", fontsize=11, loc="left")
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    axes.set_xticks(range(width), scales[0].ticks, rotation=20 if width > 3 else 0)
    axes.set_yticks(range(height), scales[1].ticks)
    axes.tick_params(labelsize=9, length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes)
    return _png(figure)


@rc_context(PLAIN_TEXT)
def curves(table: SweepTable) -> bytes:
    """Return a PNG with a line a setting, the mean over its seeds by epoch."""
    shown = [c for c in _CURVES if any(_curve(row, c[1], c[2]) for row in table.rows)]
    figure = Figure(figsize=(12, 4.2 * max(1, (len(shown) + 1) // 2)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(max(1, (len(shown) + 1) // 2), 2, squeeze=False).ravel()
    for axes, (title, keys, factor) in zip(grid, shown, strict=False):
        axes.set_title(title, fontsize=11, loc="left")
        for place, row in reversed(list(enumerate(table.rows))):  # the best lies on top
            _draw(axes, row, place, _curve(row, keys, factor))
        axes.set_xlabel("epochs trained", fontsize=9)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=9)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    if shown:
        handles, labels = grid[0].get_legend_handles_labels()
        columns = 1 if max(map(len, labels)) > _LONG_NAME else 2
        figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=columns,
                      frameon=False, fontsize=9)  # fmt: skip
    return _png(figure)


def _draw(axes: Axes, row: SweepRow, place: int, points: list[tuple[float, float]]) -> None:
    if not points:
        return
    is_named = place < COLOURED
    colour = colormaps["tab10"](place) if is_named else _GREY
    axes.plot(*zip(*points, strict=True), color=colour, lw=2.4 if place == 0 else 1.4,
              marker="o" if len(points) == 1 else None,
              label=row.name() if is_named else None)  # fmt: skip


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


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
