"""The figures of panels as pictures."""

import colorsys
import io
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from PIL import Image

BLUE, ORANGE, GREEN, RED, GREY = "#2f6db3", "#d9702b", "#3a8f5c", "#c8483f", "#8a8f98"


class Flow(NamedTuple):
    """What became of images: groups before and after, ranked from the top, name and colour."""

    ends: tuple[int, int]
    name: str
    color: str


FLOWS = {
    "kept": Flow((0, 0), "same cluster", BLUE),
    "moved": Flow((0, 1), "another cluster", ORANGE),
    "joined": Flow((1, 2), "joined a cluster", GREEN),
    "left": Flow((0, 3), "outliers", RED),
    "out": Flow((1, 3), "outliers", GREY),
}
"""By the names of ``label_flow``."""


def draw_map(data: dict[str, Any]) -> Image.Image:
    """Draw the map, once for each colouring there is."""
    points = np.array(data["points"]).reshape(-1, 2)
    colourings = [name for name in ("cluster", "identity", "camera") if name in data]
    height = 5.2 * float(np.ptp(points[:, 1])) if len(points) else 0.0
    figure = _figure(5.2 * len(colourings), max(2.0, height) + 0.6)
    for axes, name in zip(figure.subplots(1, len(colourings), squeeze=False)[0], colourings,
                          strict=True):  # fmt: skip
        values = np.array(data[name])
        axes.scatter(*points[values < 0].T, s=5, c="#c3c7cd")
        axes.scatter(*points[values >= 0].T, s=7, c=[hue(v) for v in values[values >= 0]])
        axes.set_title(f"by {name}", loc="left", fontsize=11)
        axes.set_aspect("equal")
        axes.set_axis_off()
    return _image(figure)


def draw_distances(data: dict[str, Any]) -> Image.Image:
    """Draw the counts of pairs by distance, eps among them."""
    groups = [name for name in ("clusters", "identities") if name in data]
    figure = _figure(6 * len(groups), 3.8)
    edges = np.array(data["edges"])
    for axes, name in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        counts, one = data[name], name[:-1] if name == "clusters" else "identity"
        axes.stairs(counts["between"], edges, fill=True, color=BLUE, alpha=0.5,
                    label=f"two {name}")  # fmt: skip
        axes.stairs(counts["within"], edges, fill=True, color=ORANGE, alpha=0.6,
                    label=f"one {one}")  # fmt: skip
        axes.axvline(data["eps"], color="black", lw=1.4, ls="--")
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_ylim(bottom=0.7)
        axes.text(data["eps"], 0.97, f" eps {data['eps']:.3f}", fontsize=9, va="top",
                  transform=axes.get_xaxis_transform())  # fmt: skip
        _label(axes, f"pairs of images of one {one} and of two", "Jaccard distance")
        axes.legend(fontsize=9, loc="upper left", framealpha=0.85, edgecolor="none")
    return _image(figure)


def draw_sizes(data: dict[str, Any]) -> Image.Image:
    """Draw the sizes of the clusters, the largest first."""
    figure = _figure(6, 3.4)
    axes = figure.subplots()
    edges = np.arange(len(data["sizes"]) + 1) + 0.5
    axes.stairs(data["sizes"], edges, fill=True, color=BLUE)
    _label(axes, "images of each cluster", "clusters, the largest first")
    return _image(figure)


def draw_flow(data: dict[str, Any]) -> Image.Image:
    """Draw bands from what images were in the last epoch to what they are in this one."""
    figure = _figure(6.4, 3.8)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set(xlim=(-0.32, 1.42), ylim=(1.06, -0.08))
    for band in flow_bands(data):
        (top, bottom), (end_top, end_bottom) = band["from"], band["to"]
        corners = [(0, top), (0.5, top), (0.5, end_top), (1, end_top), (1, end_bottom),
                   (0.5, end_bottom), (0.5, bottom), (0, bottom), (0, top)]  # fmt: skip
        curve = [Outline.CURVE4] * 3
        codes = [Outline.MOVETO, *curve, Outline.LINETO, *curve, Outline.CLOSEPOLY]
        axes.add_patch(PathPatch(Outline(corners, codes), fc=band["color"], alpha=0.6, lw=0))
    for label in flow_labels(data):
        right = label["side"] == "right"
        axes.text(1.03 if right else -0.03, label["y"], label["text"], fontsize=9, va="center",
                  ha="left" if right else "right")  # fmt: skip
    axes.set_title("from the last epoch to this one, images", loc="left", fontsize=11)
    return _image(figure)


def flow_bands(data: dict[str, int]) -> list[dict[str, Any]]:
    """Return the bands of a flow picture; heights within [0, 1], ``from`` and ``to`` as spans."""
    total = max(1, sum(data[name] for name in FLOWS))
    names = [name for name in FLOWS if data[name]]
    bands: dict[str, dict[str, Any]] = {
        name: {"name": name, "color": FLOWS[name].color, "count": data[name]} for name in names
    }
    for end, side in (("from", 0), ("to", 1)):
        at, group = 0.0, None
        ranked = sorted(
            (FLOWS[name].ends[side], FLOWS[name].ends[1 - side], name) for name in names
        )
        for _, _, name in ranked:
            if group is not None and FLOWS[name].ends[side] != group:
                at += 0.04
            group = FLOWS[name].ends[side]
            height = 0.88 * data[name] / total
            bands[name][end] = (at, at + height)
            at += height
    return list(bands.values())


def flow_labels(data: dict[str, int]) -> list[dict[str, Any]]:
    """Return what is written at the ends of the bands: side, height and text; none overlap."""
    labels: list[dict[str, Any]] = []
    for side, end, place in (("left", "from", 0), ("right", "to", 1)):
        groups: dict[int, list[dict[str, Any]]] = {}
        for band in flow_bands(data):
            groups.setdefault(FLOWS[band["name"]].ends[place], []).append(band)
        lowest = -1.0
        for number, bands in sorted(groups.items()):
            top = min(band[end][0] for band in bands)
            bottom = max(band[end][1] for band in bands)
            lowest = max((top + bottom) / 2, lowest + 0.075)
            count = sum(band["count"] for band in bands)
            name = ("clustered", "outliers")[number] if place == 0 else FLOWS[bands[0]["name"]].name
            labels.append({"side": side, "y": lowest, "text": f"{name} {count:,}"})
    return labels


def hue(value: int) -> str:
    """Return a colour for a number; neighbours differ much (golden angle)."""
    turn = (value * 0.61803398875) % 1
    red, green, blue = colorsys.hls_to_rgb(turn, 0.45 + 0.12 * (value % 2), 0.62)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    inch = 0.55  # a constrained layout would take longer than the drawing
    figure.subplots_adjust(inch / width, inch / height, 1 - 0.2 / width, 1 - 0.4 / height)
    return figure


def _label(axes: Axes, title: str, x: str) -> None:
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(x, fontsize=9)
    axes.tick_params(labelsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _image(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return Image.open(buffer).convert("RGB")
