"""Parallel coordinates of a sweep: a line for each setting over all arguments that vary."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from dccc_lightning.reports.figures.chart import (
    BLUE,
    CARD,
    DIM,
    LINE,
    ORANGE,
    TEXT,
    Chart,
    set_tooltips,
)
from dccc_lightning.reports.figures.heat_maps import MAX_TICKS, colour_range, noise_of, short
from dccc_lightning.reports.sweep_jobs import MEASURES
from dccc_lightning.reports.sweep_table import SweepTable, number

LEAST_ARGUMENTS = 3
"""Arguments from which heat maps of pairs no longer show a sweep."""

MAX_ARGUMENTS = 10
_DECADES = 2.0
"""Orders of magnitude from which numbers have a logarithmic axis."""


class Axis(NamedTuple):
    """Axis of an argument: heights of its values from 0 to 1, and its ticks by height."""

    heights: Mapping[str, float]
    ticks: Sequence[tuple[float, str]]


def axis(values: Sequence[str]) -> Axis:
    """Return the axis of an argument: its values evenly spaced, or many numbers to scale.

    >>> axis(["b", "a"]).heights
    {'a': 0.0, 'b': 1.0}
    """
    distinct = sorted(set(values), key=lambda v: (number(v) is None, number(v) or 0.0, v))
    numbers = [known for v in distinct if (known := number(v)) is not None]
    if len(distinct) <= MAX_TICKS or len(numbers) < len(distinct):
        last = max(1, len(distinct) - 1)
        heights = {value: place / last for place, value in enumerate(distinct)}
        step = -(-len(distinct) // MAX_TICKS)  # names of more would overlap
        return Axis(heights, [(heights[v], short(v)) for v in distinct[::step]])
    is_wide = min(numbers) > 0 and math.log10(max(numbers) / min(numbers)) >= _DECADES
    placed = np.log(numbers) if is_wide else np.array(numbers)
    low, span = placed[0], placed[-1] - placed[0]
    marks = low + span * np.linspace(0, 1, 5)
    ticks = [((mark - low) / span, f"{np.exp(mark) if is_wide else mark:.3g}") for mark in marks]
    return Axis(dict(zip(distinct, ((placed - low) / span).tolist(), strict=True)), ticks)


def parallel_coordinates(table: SweepTable) -> Chart | None:
    """Return the chart of a sweep of ``LEAST_ARGUMENTS`` arguments or more; None of fewer.

    Pruned settings stay out, as their training was shorter.
    """
    names = table.differing[:MAX_ARGUMENTS]
    rows = [row for row in table.rows if not row.is_pruned and row.spread(table.objective)]
    if len(names) < LEAST_ARGUMENTS or not rows:
        return None
    title, form = MEASURES[table.objective]
    spreads = [spread for row in rows if (spread := row.spread(table.objective)) is not None]
    means = [spread.mean for spread in spreads]
    low, high = colour_range(means, table.objective, noise_of(table))
    shares = [(mean - low) / (high - low) for mean in means]
    axes_of = [axis([row.setting[name] for row in rows]) for name in names]
    ends = [(place, form.format(low + place * (high - low))) for place in np.linspace(0, 1, 5)]

    def draw(axes: Axes) -> None:
        axes.set(xlim=(-0.35, len(names) + 0.35), ylim=(-0.06, 1.06))
        axes.grid(visible=False)
        ticks = [*(found.ticks for found in axes_of), ends]
        for place, own in enumerate(ticks):
            axes.axvline(place, color=LINE, lw=1.2, zorder=1)
            for height, text in own:
                axes.text(place - 0.06, height, text, fontsize=8, va="center", ha="right", zorder=4,
                          color=DIM, bbox={"fc": CARD, "ec": "none", "pad": 0.8})  # fmt: skip
        for row, spread, share in reversed(list(zip(rows, spreads, shares, strict=True))):
            heights = [a.heights[row.setting[n]] for n, a in zip(names, axes_of, strict=True)]
            heights.append(share)
            is_best = row is table.best  # the first, so on top
            (line,) = axes.plot(
                range(len(heights)), heights, color=ORANGE if is_best else BLUE, marker="o",
                ms=3.5, lw=2.6 if is_best else 1.3, alpha=1 if is_best else 0.25 + 0.65 * share,
                zorder=3,
            )  # fmt: skip
            set_tooltips(line, [f"{row.name()}: {spread.shown(form)}"] * len(heights))
        axes.set_xticks(range(len(ticks)), [*map(short, names), title], color=TEXT)
        axes.set_yticks([])

    left_out = len(table.differing) - len(names)
    note = f"A line for each setting: the higher the {title}, the stronger; orange: the best."
    if left_out:
        note += f" Without the last {left_out} arguments."
    longest = max(len(short(name)) for name in names)
    width = (len(names) + 1) * max(84, 6 * longest)
    return Chart(f"{title} over {len(names)} arguments", draw, note, size=(width, 230))
