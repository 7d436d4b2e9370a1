"""Histograms of pairwise distances, within and between clusters."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, triu

from dccc_lightning.clustering.neighbor_graph import NeighborGraph
from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.reports.figures.chart import DIM, Chart, set_tooltips

BIN = 0.02
"""Width of a bin, in Jaccard distance."""


_BLOCK = 2**22
"""Distances of a block."""

_FLOOR = 0.7
"""Lower end of the logarithmic axis of counts."""


def distance_histograms(
    graph: NeighborGraph,
    labels: NDArray[np.int64],
    identities: NDArray[np.int64],
    eps: float,
) -> dict[str, Any]:
    """Count pairs by Jaccard distance.

    Args:
        graph: The distances of the N images up to some distance; pairs beyond are only counted.
        labels: (N,) clusters, -1 for outliers, whose pairs are left out.
        identities: (N,), ``UNKNOWN`` where unknown.
        eps: Of the clustering.

    Returns:
        eps, edges of the bins, and under ``clusters`` (and ``identities``, where there are any) the
        counts of the pairs ``within`` and ``between``, and of those ``within_beyond`` and
        ``between_beyond`` the last edge.
    """
    number = max(1, round(graph.max_distance / BIN))
    edges = np.linspace(0, graph.max_distance, number + 1)
    found: dict[str, Any] = {"eps": float(eps), "edges": edges.round(6).tolist()}
    for name, groups in (("clusters", labels), ("identities", identities)):
        if name == "clusters" or (groups != UNKNOWN).any():
            found[name] = _counts(graph.distances, groups, edges)
    return found


def distance_charts(data: Mapping[str, Any]) -> list[Chart]:
    """Return a histogram of pairs by cluster, and one by identity where identities are known.

    Args:
        data: From ``distance_histograms``.
    """
    names = {"clusters": "cluster", "identities": "identity"}
    return [_histogram(data, group, one) for group, one in names.items() if group in data]


def _histogram(data: Mapping[str, Any], group: str, one: str) -> Chart:
    counts, edges, eps = data[group], data["edges"], data["eps"]

    def draw(axes: Axes) -> None:
        for kind, name in (
            ("between", f"pairs from two {group}"),
            ("within", f"pairs in one {one}"),
        ):
            values = np.array(counts[kind])
            filled = np.flatnonzero(values)
            bars = axes.bar(
                np.array(edges)[filled], values[filled] - _FLOOR, np.diff(edges)[filled], _FLOOR,
                align="edge", alpha=0.6, label=name,
            )  # fmt: skip
            for bar, place in zip(bars, filled, strict=True):
                span = f"{edges[place]:g} to {edges[place + 1]:g}"
                set_tooltips(bar, [f"{name}, {span}: {values[place]:,}"])
        axes.axvline(eps, color=DIM, lw=1.2, ls="--")
        place = eps / edges[-1]  # beside the legend, which is in the other half
        is_left = place > 0.78 or 0.22 < place <= 0.5
        side, shift = ("right", -4) if is_left else ("left", 4)
        axes.annotate(f"eps {eps:.3f}", (eps, 0.98), (shift, 0), fontsize=9, va="top", ha=side,
                      xycoords=axes.get_xaxis_transform(), textcoords="offset points")  # fmt: skip
        axes.set(xlabel="Jaccard distance", xlim=(0, edges[-1]), yscale="log")
        highest = max(max(counts[kind], default=0) for kind in ("between", "within"))
        axes.set_ylim(_FLOOR, _FLOOR * max(highest / _FLOOR, 10) ** 1.5)  # room for the legend
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.legend(loc="upper left" if place > 0.5 else "upper right", handlelength=1.2)

    beyond = ", ".join(
        f"{counts[f'{kind}_beyond'] / total:.1%} of the pairs {name}"
        for kind, name in (("within", f"in one {one}"), ("between", f"in two {group}"))
        if (total := counts[f"{kind}_beyond"] + sum(counts[kind]))
    )
    note = f"Pairs, logarithmic. Beyond {edges[-1]:g}: {beyond}."
    return Chart(f"Pairs of images: one {one} against two", draw, note)


def _counts(
    distances: csr_matrix, groups: NDArray[np.int64], edges: NDArray[np.float64]
) -> dict[str, Any]:
    within, between = np.zeros((2, len(edges) - 1), dtype=np.int64)
    for first, last in _row_blocks(distances.indptr):
        pairs = triu(distances[first:last], k=first + 1, format="coo")
        rows, columns = pairs.row + first, pairs.col
        known = (groups[rows] >= 0) & (groups[columns] >= 0)
        same = groups[rows] == groups[columns]
        # A distance in float32 may exceed the last edge by its rounding.
        clipped = np.clip(pairs.data, edges[0], edges[-1])
        within += np.histogram(clipped[known & same], edges)[0]
        between += np.histogram(clipped[known & ~same], edges)[0]
    sizes = np.unique(groups[groups >= 0], return_counts=True)[1].astype(np.int64)
    all_within = int(np.sum(sizes * (sizes - 1) // 2))
    images = int(sizes.sum())
    all_between = images * (images - 1) // 2 - all_within
    return {
        "within": within.tolist(),
        "between": between.tolist(),
        "within_beyond": all_within - int(within.sum()),
        "between_beyond": all_between - int(between.sum()),
    }


def _row_blocks(starts: NDArray[np.int32]) -> Iterator[tuple[int, int]]:
    """Cut the rows of a sparse matrix into runs of about ``_BLOCK`` entries, a row at least."""
    first, rows = 0, len(starts) - 1
    while first < rows:
        end = int(np.searchsorted(starts, int(starts[first]) + _BLOCK, side="right")) - 1
        last = min(rows, max(first + 1, end))
        yield first, last
        first = last
