"""Sizes of clusters."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dccc_lightning.metrics import cluster_quality
from dccc_lightning.reports.figures.chart import WIDTH, Chart, set_tooltips


def count_sizes(labels: NDArray[np.int64]) -> dict[str, Any]:
    """Return ``sizes`` of the clusters, the largest first, and the number of ``outliers``.

    >>> count_sizes(np.array([0, 1, 1, -1]))
    {'sizes': [2, 1], 'outliers': 1}
    """
    sizes = sorted(cluster_quality.cluster_sizes(labels).tolist(), reverse=True)
    return {"sizes": sizes, "outliers": int(np.sum(labels < 0))}


def size_chart(data: Mapping[str, Any]) -> Chart:
    """Return bars of the sizes; of more clusters than fit side by side, evenly spaced ones."""
    sizes = np.array(data["sizes"])

    def draw(axes: Axes) -> None:
        if len(sizes) > WIDTH:
            shown = np.arange(WIDTH) * len(sizes) // WIDTH
            edges = 0.5 + np.append(shown, len(sizes))
            axes.stairs(sizes[shown], edges, fill=True)
        else:
            bars = axes.bar(np.arange(1, len(sizes) + 1), sizes)
            for rank, (bar, size) in enumerate(zip(bars, sizes, strict=True), 1):
                set_tooltips(bar, [f"{rank}: {size}"])
        axes.set(xlabel="clusters, the largest first", xlim=(0.4, len(sizes) + 0.6))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(6, integer=True))
            axis.set_major_formatter("{x:,.0f}")

    note = (
        f"{len(sizes):,} clusters, {sizes.sum():,} images in them, {data['outliers']:,} outliers."
    )
    return Chart("Cluster sizes, images", draw, note)
