"""Flow of images between clusters and outliers, from one epoch to the next."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from dccc_lightning.metrics.cluster_quality import matched_clusters
from dccc_lightning.reports.figures.chart import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Chart,
    set_tooltips,
)

Ints = NDArray[np.int64]


class _Flow(NamedTuple):
    before: int  # group on the left: 0 clustered, 1 outliers
    after: int  # group on the right, from the top
    name: str
    color: str


_FLOWS = {
    "kept": _Flow(0, 0, "same cluster", BLUE),
    "moved": _Flow(0, 1, "another cluster", ORANGE),
    "joined": _Flow(1, 2, "joined a cluster", GREEN),
    "left": _Flow(0, 3, "outliers", RED),
    "out": _Flow(1, 3, "outliers", GREY),
}
_GAP, _HEIGHT, _LINE = 0.04, 0.88, 0.075
"""Gap between two groups, height of all bands together, height of a line of text."""


def label_flow(labels: Ints, previous: Ints) -> dict[str, int]:
    """Count images by their change of cluster, and clusters that merged or split.

    Clusters of the two epochs are matched one to one by ``matched_clusters``.

    Args:
        labels: (N,) of this epoch, -1 for outliers.
        previous: (N,) of the last one.

    Returns:
        Images: ``kept`` (in the cluster matched with theirs), ``moved`` (in another), ``left``
        (now outliers), ``joined`` (outliers before), ``out`` (outliers in both). Clusters:
        ``merged`` (two or more earlier ones put more than half of their images into it), ``split``
        (of earlier ones: two or more new ones drew more than half of their images from it).

    >>> label_flow(np.array([0, 0, 1, 1, -1]), np.array([5, 5, 3, -1, -1]))
    {'kept': 3, 'moved': 0, 'left': 0, 'joined': 1, 'out': 1, 'merged': 0, 'split': 0}
    """
    both = (labels >= 0) & (previous >= 0)
    now, before, counts = _shared(labels[both], previous[both])
    kept = int(matched_clusters(labels, previous)[:, 2].sum())
    return {
        "kept": kept,
        "moved": int(both.sum()) - kept,
        "left": int(np.sum((labels < 0) & (previous >= 0))),
        "joined": int(np.sum((labels >= 0) & (previous < 0))),
        "out": int(np.sum((labels < 0) & (previous < 0))),
        "merged": _gathered(now, before, counts, previous),
        "split": _gathered(before, now, counts, labels),
    }


def _shared(first: Ints, second: Ints) -> tuple[Ints, Ints, Ints]:
    pairs, counts = np.unique(np.stack([first, second]), axis=1, return_counts=True)
    return pairs[0], pairs[1], counts


def _gathered(wholes: Ints, parts: Ints, counts: Ints, labels: Ints) -> int:
    """Count the wholes that hold more than half of two or more parts, given the parts' labels."""
    values, sizes = np.unique(labels, return_counts=True)
    major = 2 * counts > sizes[np.searchsorted(values, parts)]
    return int(np.sum(np.unique(wholes[major], return_counts=True)[1] > 1))


def flow_chart(data: Mapping[str, int]) -> Chart:
    """Return a chart of bands from the groups of images before to those after.

    Args:
        data: From ``label_flow``.
    """
    names = [name for name in _FLOWS if data[name]]
    left = _stack({name: (_FLOWS[name].before, _FLOWS[name].after) for name in names}, data)
    right = _stack({name: (_FLOWS[name].after, _FLOWS[name].before) for name in names}, data)

    def draw(axes: Axes) -> None:
        axes.set(xlim=(-0.85, 2.1), ylim=(1.04, -0.04))
        for name in names:
            (top, bottom), (end_top, end_bottom) = left[name], right[name]
            corners = [(0, top), (0.5, top), (0.5, end_top), (1, end_top), (1, end_bottom),
                       (0.5, end_bottom), (0.5, bottom), (0, bottom), (0, top)]  # fmt: skip
            curve = [Outline.CURVE4] * 3
            codes = [Outline.MOVETO, *curve, Outline.LINETO, *curve, Outline.CLOSEPOLY]
            band = PathPatch(Outline(corners, codes), fc=_FLOWS[name].color, alpha=0.65, lw=0)
            set_tooltips(band, [f"{name}: {data[name]:,}"])
            axes.add_patch(band)
        befores = {name: ("clustered", "outliers")[_FLOWS[name].before] for name in names}
        afters = {name: _FLOWS[name].name for name in names}
        for texts, spans, x, side in (
            (befores, left, -0.03, "right"),
            (afters, right, 1.03, "left"),
        ):
            for text, y in _labels(texts, spans, data):
                axes.text(x, y, text, fontsize=9, va="center", ha=side)

    note = f"Clusters that came together: {data['merged']}; that fell apart: {data['split']}."
    return Chart("From the last epoch's labels to these", draw, note, plain=True)


def _stack(
    ranks: Mapping[str, tuple[int, int]], data: Mapping[str, int]
) -> dict[str, tuple[float, float]]:
    """Return top and bottom of each band on one side, with a gap between groups."""
    total = max(1, sum(data[name] for name in ranks))
    spans: dict[str, tuple[float, float]] = {}
    at, group = 0.0, None
    for name, (own, _) in sorted(ranks.items(), key=lambda item: item[1]):
        at += _GAP if group not in (None, own) else 0
        spans[name] = at, at + _HEIGHT * data[name] / total
        at, group = spans[name][1], own
    return spans


def _labels(
    texts: Mapping[str, str], spans: Mapping[str, tuple[float, float]], data: Mapping[str, int]
) -> list[tuple[str, float]]:
    """Return the text of each group on one side and its height; none overlap."""
    groups: dict[str, list[str]] = {}
    for name in sorted(spans, key=lambda name: spans[name]):
        groups.setdefault(texts[name], []).append(name)
    labels, lowest = [], -1.0
    for text, names in groups.items():
        middle = (spans[names[0]][0] + spans[names[-1]][1]) / 2
        lowest = max(middle, lowest + _LINE)
        labels.append((f"{text} {sum(data[name] for name in names):,}", lowest))
    return labels
