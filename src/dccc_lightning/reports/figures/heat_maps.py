"""Heat maps of a sweep: the objective over each pair of arguments, with the noise of the seeds."""

import math
import statistics
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from dccc_lightning.errors import UserError
from dccc_lightning.reports.figures.chart import Chart, set_tooltips
from dccc_lightning.reports.picture_failures import warn_on_failure
from dccc_lightning.reports.sweep_jobs import MEASURES
from dccc_lightning.reports.sweep_table import Spread, SweepTable, number, shown

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

LONGEST = 20
"""Characters of a value beside an axis."""

COLOURS = colormaps["viridis"]
"""From low to high, the same in both themes."""

_ON_DARK, _ON_LIGHT = "#fdfdfd", "#101010"
"""Text on a cell; not in ``PALETTE``, whose colours follow the theme of the page."""


class Scale(NamedTuple):
    """Positions of an argument's values along an axis."""

    ticks: list[str]
    places: dict[str, int]


class Cells(NamedTuple):
    """Cells of a heat map.

    Attributes:
        across: Scale of x.
        down: Scale of y.
        means: (y, x) means of the objective; NaN in an empty cell.
        deviations: (y, x) standard deviations over the seeds of a setting, pooled over the settings
            of a cell; NaN where each has one job.
        settings: (y, x) number of settings.
    """

    across: Scale
    down: Scale
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    settings: NDArray[np.int64]


def scale(values: Sequence[str]) -> Scale:
    """Return the position of each value: its own, or one of ``BINS`` equal bins for many numbers.

    >>> scale(["linear", "fixed", "linear"]).ticks
    ['fixed', 'linear']
    """
    distinct = sorted(set(values), key=lambda v: (number(v) is None, number(v) or 0.0, v))
    numbers = [known for v in distinct if (known := number(v)) is not None]
    if len(distinct) <= MAX_TICKS or len(numbers) < len(distinct):
        return Scale(distinct, {value: place for place, value in enumerate(distinct)})
    edges = np.linspace(min(numbers), max(numbers), BINS + 1)
    places = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, BINS - 1)
    ticks = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
    return Scale(ticks, dict(zip(distinct, places.tolist(), strict=True)))


def cells(table: SweepTable, x: str, y: str) -> Cells:
    """Return the mean objective of the settings that fall into each cell.

    Pruned settings stay out, as their training was shorter.

    Raises:
        UserError: More than ``MAX_PLACES`` values that are no numbers.
    """
    rows = [row for row in table.rows if not row.is_pruned and row.spread(table.objective)]
    across, down = (scale([row.setting[name] for row in rows]) for name in (x, y))
    for name, places in ((x, across), (y, down)):
        if len(places.ticks) > MAX_PLACES:
            raise UserError(f"{name} has {len(places.ticks)} values, more than {MAX_PLACES}")
    spreads: dict[tuple[int, int], list[Spread]] = {}
    for row in rows:
        spread = row.spread(table.objective)
        assert spread is not None
        place = down.places[row.setting[y]], across.places[row.setting[x]]
        spreads.setdefault(place, []).append(spread)
    size = len(down.ticks), len(across.ticks)
    means, deviations, settings = np.full(size, np.nan), np.full(size, np.nan), np.zeros(size, int)
    for place, found in spreads.items():
        means[place] = statistics.fmean(spread.mean for spread in found)
        deviations[place] = _pooled(found)
        settings[place] = len(found)
    return Cells(across, down, means, deviations, settings)


def colour_range(
    means: NDArray[np.float64] | Sequence[float], objective: str, noise: float
) -> tuple[float, float]:
    """Return the ends of the colour scale of a sweep's objective, around the middle of its values.

    Args:
        means: NaN in empty cells.
        objective: A key of ``LEAST_SPANS``.
        noise: Standard deviation over the seeds; 0 if unknown.
    """
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    half = max(high - low, LEAST_SPANS[objective], DEVIATIONS * noise) / 2
    return (low + high) / 2 - half, (low + high) / 2 + half


def noise_of(table: SweepTable) -> float:
    """Return the standard deviation over seeds, pooled over the settings; 0 if unknown."""
    spreads = [row.spread(table.objective) for row in table.rows if not row.is_pruned]
    pooled = _pooled([spread for spread in spreads if spread is not None])
    return 0.0 if math.isnan(pooled) else pooled


def _pooled(spreads: Sequence[Spread]) -> float:
    """Return the standard deviation over the seeds of a setting; NaN if each has one job."""
    parts = [spread.deviation**2 for spread in spreads if spread.deviation is not None]
    return float(statistics.fmean(parts) ** 0.5) if parts else math.nan


def heat_maps(table: SweepTable) -> dict[str, Chart]:
    """Return a chart for each pair of varying arguments by file name, at most ``MAX_MAPS``.

    One that cannot be made is left out with a warning.
    """
    charts = {}
    for x, y in list(combinations(table.differing, 2))[:MAX_MAPS]:
        name = f"heatmap_{x}_{y}.png".replace("/", "_")
        with warn_on_failure(name):
            found = cells(table, x, y)
            if not np.isnan(found.means).all():
                charts[name] = _heat_map(table, x, y, found)
    return charts


def short(value: str) -> str:
    """Return a number as people write it, or the end of a long text.

    >>> short("0.5665074998819105"), short("clustering.refinement.neighbors")
    ('0.5665', '…efinement.neighbors')
    """
    value = shown(value)
    return value if len(value) <= LONGEST else f"…{value[1 - LONGEST :]}"


def _heat_map(table: SweepTable, x: str, y: str, found: Cells) -> Chart:
    title, form = MEASURES[table.objective]
    height, width = found.means.shape
    noise = noise_of(table)
    low, high = colour_range(found.means, table.objective, noise)
    across, down = ([short(tick) for tick in s.ticks] for s in (found.across, found.down))

    def draw(axes: Axes) -> None:
        for row, column in np.argwhere(~np.isnan(found.means)):
            value, deviation = found.means[row, column], found.deviations[row, column]
            color = COLOURS(Normalize(low, high)(value))
            cell = Rectangle((column - 0.5, row - 0.5), 1, 1, fc=color, lw=0)
            own = Spread(value, None if np.isnan(deviation) else deviation).shown(form)
            count = found.settings[row, column]
            of = f", {count} settings" if count > 1 else ""
            place = f"{x}={found.across.ticks[column]} {y}={found.down.ticks[row]}"
            set_tooltips(cell, [f"{place}: {own}{of}"])
            axes.add_patch(cell)
            dark = np.dot(color[:3], (0.299, 0.587, 0.114)) < 0.5
            axes.text(column, row, own.replace(" ± ", "\n± "), ha="center", va="center",
                      fontsize=9 if np.isnan(deviation) else 8, linespacing=1.05,
                      fontweight="bold" if value == np.nanmax(found.means) else "normal",
                      color=_ON_DARK if dark else _ON_LIGHT)  # fmt: skip
        axes.set(xlabel=x, ylabel=y, xlim=(-0.5, width - 0.5), ylim=(-0.5, height - 0.5))
        is_long = longest > 8
        axes.set_xticks(range(width), across, rotation=25 if is_long else 0,
                        ha="right" if is_long else "center", rotation_mode="anchor")  # fmt: skip
        axes.set_yticks(range(height), down)
        axes.grid(visible=False)

    spread = f" ± standard deviation over seeds (of all: {form.format(noise)})" if noise else ""
    note = f"Mean{spread}; colours from {form.format(low)} to {form.format(high)}."
    longest = max(map(len, across))
    size = (
        max(260, 40 + 5 * max(map(len, down)) + 46 * width),
        66 + 31 * height + (2 * longest if longest > 8 else 0),
    )
    return Chart(f"{title}: {x} against {y}", draw, note, size=size)
