"""Curves of a run by epoch."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dccc_lightning.common.files import write_atomically
from dccc_lightning.reports.figures.chart import PALETTE, Chart, set_tooltips, to_png
from dccc_lightning.reports.metrics_table import Row

Series = Mapping[str, Sequence[tuple[float, float]]]
"""Points of each line, by its name."""

Styles = Mapping[str, tuple[str, str]]
"""Colour (name in ``PALETTE``) and style of each line, by its name."""

_CURVES: tuple[tuple[str, dict[str, str], float], ...] = (
    ("mAP on the test split, %", {"val/mAP": "student", "val_teacher/mAP": "teacher"}, 100),
    ("Loss", {"train/loss": "loss"}, 1),
    ("eps (DCPS)", {"cluster/eps": "eps"}, 1),
    ("Clusters", {"cluster/num_clusters": "clusters"}, 1),
    ("Outliers, % of images", {"cluster/outlier_ratio": "outliers"}, 100),
    ("Labels against identities", {"cluster/ari": "ARI", "cluster/nmi": "NMI"}, 1),
    ("Silhouette", {"cluster/silhouette": "of clustered images",
                    "cluster/overall_silhouette": "outliers as 0"}, 1),
    ("Churn, % of images in another cluster", {"cluster/churn": "churn"}, 100),
)  # fmt: skip
"""Title, columns of metrics.csv with their names in the legend, and factor."""


def training_curves(rows: Sequence[Row]) -> list[Chart]:
    """Return a chart of each group of columns that has values.

    Args:
        rows: Of metrics.csv; epoch -1 is the evaluation before training.
    """
    charts = []
    for title, columns, factor in _CURVES:
        series = {name: _points(rows, key, factor) for key, name in columns.items()}
        series = {name: points for name, points in series.items() if points}
        if series:
            charts.append(lines(title, series, "epochs trained"))
    return charts


COMPARED = {
    "mAP on the test split, %, of the better network": ("val_best/mAP", 100),
    "Loss": ("train/loss", 1),
    "eps (DCPS)": ("cluster/eps", 1),
    "Clusters": ("cluster/num_clusters", 1),
    "Outliers, % of images": ("cluster/outlier_ratio", 100),
    "ARI of the labels": ("cluster/ari", 1),
    "Silhouette, outliers as 0": ("cluster/overall_silhouette", 1),
    "Churn, % of images in another cluster": ("cluster/churn", 100),
}
"""Column of metrics.csv and factor of each chart of several runs, by its title."""


def compared_curves(runs: Mapping[str, Sequence[Row]], of_one_test: bool = True) -> list[Chart]:
    """Return a chart of each figure with a line for each run, as ``line_styles`` says.

    Args:
        runs: Rows of metrics.csv by the name of the run.
        of_one_test: Whether all have the same test; mAP is left out otherwise.
    """
    charts = []
    for title, (key, factor) in COMPARED.items():
        if key == "val_best/mAP" and not of_one_test:
            continue
        series = {name: _points(rows, key, factor) for name, rows in runs.items()}
        if any(series.values()):
            charts.append(lines(title, series, "epochs trained", styles=line_styles(runs)))
    return charts


def line_styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return the colour (name in ``PALETTE``) and the style of the line of each run."""
    return {
        name: (f"c{place % 5}", ("solid", "dashed", "dotted")[place // 5 % 3])
        for place, name in enumerate(names)
    }


def _points(rows: Sequence[Row], key: str, factor: float) -> list[tuple[float, float]]:
    return [
        (row["epoch"] + 1, factor * row[key])
        for row in rows
        if math.isfinite(row.get(key, math.nan))
    ]


def eps_choices(choices: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Return a chart of the scores by eps in the first, the middle and the last epoch.

    Args:
        choices: Lines of eps_curves.jsonl, which an adaptive schedule writes.
    """
    if not choices:
        return []
    shown = {
        choice["epoch"]: choice for choice in (choices[0], choices[len(choices) // 2], choices[-1])
    }
    series = {
        f"epoch {epoch + 1}, eps {choice['eps']:.3f}": list(
            zip(choice["candidates"], choice["scores"], strict=True)
        )
        for epoch, choice in shown.items()
    }
    criteria = ", ".join(dict.fromkeys(choice["criterion"] for choice in choices))
    title = f"Choice of eps: score by {criteria}"
    return [lines(title, series, "eps", "The highest score is chosen.")]


def plot_curves(rows: Sequence[Row], path: Path, title: str) -> None:
    """Draw ``training_curves`` into a PNG.

    Args:
        rows: Of metrics.csv.
        path: Of the PNG.
        title: Above the picture.
    """
    write_atomically(path, to_png(training_curves(rows), (4, 3.2), title=title))


def lines(
    title: str,
    series: Series,
    x_label: str,
    note: str = "",
    styles: Styles | None = None,
) -> Chart:
    """Return a chart of lines; with ``styles`` their legend is left to the page.

    Lines in the colour ``none`` are the background of the others: thin and without tooltips.
    """

    def draw(axes: Axes) -> None:
        for name, points in series.items():
            if not points:
                continue
            (line,) = axes.plot(*zip(*points, strict=True), marker="o", ms=4, label=name)
            if styles:
                color, style = styles[name]
                line.set(color=PALETTE[color][0], linestyle=style)
                if color == "none":
                    is_point = len(points) == 1
                    line.set(lw=1.2, label=None, marker="o" if is_point else "none")
                    continue
            set_tooltips(line, [f"{name}, {x:g}: {y:.4g}" for x, y in points])
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=x_label == "epochs trained"))
        values = [y for points in series.values() for _, y in points]
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=all(y % 1 == 0 for y in values)))
        if len(series) > 1 and not styles:
            axes.legend()

    return Chart(title, draw, note)
