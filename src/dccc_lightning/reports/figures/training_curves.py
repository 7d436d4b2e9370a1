"""The curves of a run as a picture."""

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dccc_lightning.common.files import write_atomically
from dccc_lightning.reports.fonts import PLAIN_TEXT
from dccc_lightning.reports.metrics_table import Row

_BLUE, _ORANGE, _GREEN, _GREY = "#2f6db3", "#d9702b", "#3a8f5c", "#8a8f98"


@rc_context(PLAIN_TEXT)
def plot_curves(rows: Sequence[Row], path: Path, title: str) -> None:
    """Draw loss, eps, clusters and outliers, ARI and mAP by epoch into a PNG.

    Args:
        rows: Of metrics.csv; epoch -1 is the evaluation before training.
        path: Of the PNG.
        title: Above the picture.
    """
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13, fontweight="bold")
    axes = figure.subplots(2, 3).ravel()
    _lines(axes[0], rows, "loss", {"train/loss": ("loss", _BLUE)})
    _lines(axes[1], rows, "eps (DCPS)", {"cluster/eps": ("eps", _BLUE)})
    _lines(axes[2], rows, "clusters", {"cluster/num_clusters": ("clusters", _BLUE)})
    axes[2].yaxis.set_major_locator(MaxNLocator(integer=True))
    _lines(axes[3], rows, "outliers, % of images",
           {"cluster/outlier_ratio": ("outliers", _ORANGE)}, scale=100)  # fmt: skip
    if any("cluster/ari" in row for row in rows):
        _lines(axes[4], rows, "pseudo labels against identities",
               {"cluster/ari": ("ARI", _GREEN), "cluster/nmi": ("NMI", _GREY)})  # fmt: skip
    else:
        _lines(axes[4], rows, "silhouette of the clusters",
               {"cluster/silhouette": ("of clustered images", _GREY),
                "cluster/overall_silhouette": ("outliers as 0", _GREEN)})  # fmt: skip
    if any("val/mAP" in row for row in rows):
        _lines(axes[5], rows, "mAP on the test split, %",
               {"val/mAP": ("student", _BLUE), "val_teacher/mAP": ("teacher", _ORANGE)},
               scale=100)  # fmt: skip
    else:
        _lines(axes[5], rows, "images in another cluster than before, %",
               {"cluster/churn": ("churn", _ORANGE)}, scale=100)  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomically(path, buffer.getvalue())


def _lines(
    axes: Axes,
    rows: Sequence[Row],
    title: str,
    series: dict[str, tuple[str, str]],
    scale: float = 1.0,
) -> None:
    axes.set_title(title, fontsize=11, loc="left")
    for key, (label, color) in series.items():
        points = [(row["epoch"] + 1, scale * row[key]) for row in rows if key in row]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", ms=3.5, lw=1.8,
                      color=color, label=label)  # fmt: skip
    if len(series) > 1 and axes.lines:
        axes.legend(frameon=False, fontsize=9)
    axes.set_xlabel("epochs trained", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
