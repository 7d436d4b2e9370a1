"""Charts: drawn once by matplotlib, then rendered as PNG or as SVG in the colours of a page."""

import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from cycler import cycler
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

PALETTE = {
    "page": ("#f6f7f9", "#14171b"), "card": ("#ffffff", "#1d2126"), "text": ("#1d2127", "#e8eaed"),
    "dim": ("#626a76", "#9aa3af"), "line": ("#e2e5ea", "#333941"), "c0": ("#2f6db3", "#6ba6e8"),
    "c1": ("#d9702b", "#f0945a"), "c2": ("#3a8f5c", "#62bd88"), "c3": ("#c8483f", "#ee7a70"),
    "c4": ("#8a8f98", "#9aa1ab"), "right": ("#2e9e5b", "#43b873"), "wrong": ("#d0433b", "#ee6a60"),
    "none": ("#c9ced6", "#4a515b"),
}  # fmt: skip
"""Colours by the names of their CSS variables, in the light and in the dark theme."""

BLUE, ORANGE, GREEN, RED, GREY = (PALETTE[f"c{number}"][0] for number in range(5))
CARD, TEXT, DIM, LINE = (PALETTE[name][0] for name in ("card", "text", "dim", "line"))

_STYLE: Any = {
    "text.parse_math": False,  # names may have dollar signs
    "text.color": TEXT, "axes.labelcolor": DIM, "xtick.color": DIM, "ytick.color": DIM,
    "axes.titlesize": 11, "axes.titlelocation": "left", "axes.labelsize": 9,
    "xtick.labelsize": 9, "ytick.labelsize": 9, "xtick.major.size": 0, "ytick.major.size": 0,
    "xtick.minor.size": 0, "ytick.minor.size": 0, "axes.axisbelow": True,
    "axes.spines.left": False, "axes.spines.right": False, "axes.spines.top": False,
    "axes.spines.bottom": False, "axes.grid": True, "axes.grid.axis": "y", "grid.color": LINE,
    "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, RED, GREY]), "lines.linewidth": 1.8,
    "axes.formatter.useoffset": False, "legend.fontsize": 9, "legend.facecolor": CARD,
    "legend.edgecolor": "none", "legend.framealpha": 0.8, "svg.fonttype": "none",
}  # fmt: skip

WIDTH, HEIGHT = 300, 175
"""Size of an SVG, in units that a card on a page scales to its width."""

_LEFT, _RIGHT, _BELOW, _ABOVE, _TITLE = 42, 8, 33.25, 7, 25
"""Margins of a chart with axes, in points; that above without and with a title."""

_SVG, _HREF = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_VARIABLES = {light: f"var(--{name})" for name, (light, _) in PALETTE.items()}


@dataclass(frozen=True, eq=False)
class Chart:
    """Figure of one pair of axes.

    Attributes:
        title: Above it.
        draw: Draws onto the axes, whose style is set.
        note: Below it, on a page.
        plain: Leave out the axis lines, ticks and grid.
        size: Width and height if they depend on the data, in the units of ``WIDTH``; on a page such
            a chart is scaled a little, and scrolls where it is wider than its card.
    """

    title: str
    draw: Callable[[Axes], None]
    note: str = ""
    plain: bool = False
    size: tuple[float, float] | None = None


def set_tooltips(artist: Artist, texts: Sequence[str]) -> None:
    """Set the text that an SVG shows when a marker of a line, or a patch, is pointed at."""
    artist.set_gid(json.dumps(list(texts)))


def to_png(
    charts: Sequence[Chart],
    size: tuple[float, float],
    columns: int = 3,
    title: str = "",
    has_legend_below: bool = False,
) -> bytes:
    """Draw charts side by side into a PNG.

    Args:
        charts: Row by row.
        size: Inches of each, width and height.
        columns: Charts of a row, at most.
        title: Above all of them.
        has_legend_below: Draw one legend below, that of the first chart.
    """
    across = max(1, min(columns, len(charts)))
    down = max(1, -(-len(charts) // across))
    with rc_context(_STYLE):
        figure = Figure(figsize=(size[0] * across, size[1] * down))
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes, chart in zip(grid, charts, strict=False):
            axes.set_title(chart.title)
            _draw(chart, axes)
        for axes in grid[len(charts) :]:
            axes.set_visible(False)
        if title:
            figure.suptitle(title, fontsize=13, fontweight="bold")
        is_usual = not any(chart.size or chart.plain for chart in charts)
        if is_usual and not has_legend_below and not any(axes.get_ylabel() for axes in grid):
            _set_margins(figure, size, down, bool(title))
        else:
            figure.set_layout_engine("constrained")
        if has_legend_below:
            handles, labels = grid[0].get_legend_handles_labels()
            narrow = max(map(len, labels), default=0) > 70
            figure.legend(handles[::-1], labels[::-1], loc="outside lower center",
                          ncols=1 if narrow else 2)  # fmt: skip
        return _saved(figure, format="png", dpi=110)


def _set_margins(figure: Figure, size: tuple[float, float], down: int, has_title: bool) -> None:
    """Set the margins of an SVG, and room for titles; searching for margins takes longer."""
    left, right, below, above = (length / 72 for length in (_LEFT, _RIGHT, _BELOW, _TITLE))
    width, height = figure.get_size_inches()
    top = height - (0.35 if has_title else 0)
    row = top / down - below - above
    figure.subplots_adjust(
        left / width, below / height, 1 - right / width, (top - above) / height,
        (left + right) / (size[0] - left - right), (below + above) / row,
    )  # fmt: skip


def to_image(charts: Sequence[Chart], size: tuple[float, float]) -> Image.Image:
    """Draw charts side by side into a picture; ``size`` in inches of each."""
    return Image.open(io.BytesIO(to_png(charts, size))).convert("RGB")


def to_svg(chart: Chart) -> str:
    """Draw a chart as an SVG element whose colours are the CSS variables of ``PALETTE``.

    Its title is the label for screen readers; tooltips are ``<title>`` elements.
    """
    width, height = chart.size or (WIDTH, HEIGHT)
    with rc_context(_STYLE | {"svg.hashsalt": chart.title}):
        figure = Figure(figsize=(width / 72, height / 72))
        if chart.size:
            figure.set_layout_engine("constrained")
        else:
            margins = (0, 0, 1, 1) if chart.plain else (
                _LEFT / WIDTH, _BELOW / HEIGHT, 1 - _RIGHT / WIDTH, 1 - _ABOVE / HEIGHT
            )  # fmt: skip
            figure.subplots_adjust(*margins)
        _draw(chart, figure.subplots())
        text = _saved(figure, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(text)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": chart.title}
    if chart.size:
        root.set("style", f"min-width: {0.9 * width:.0f}px")
    used = set(re.findall(r'(?:url\(|href=")#(\w+)', text.decode()))
    _simplify(root, used)
    return ElementTree.tostring(root, encoding="unicode")


def _draw(chart: Chart, axes: Axes) -> None:
    if chart.plain:
        axes.set_axis_off()
    chart.draw(axes)


def _saved(figure: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, **options)
    return buffer.getvalue()


def _simplify(element: ElementTree.Element, used: set[str]) -> None:
    """Rewrite an element of a standalone SVG for a page: no namespaces, colours as variables."""
    element.tag = element.tag.removeprefix(_SVG)
    children: list[ElementTree.Element] = []
    for child in element:
        if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
            continue
        _simplify(child, used)
        if child.tag == "g" and not child.attrib:
            children += child
        elif child.tag != "defs" or len(child):
            children.append(child)
    tips = json.loads(element.get("id", "")) if element.get("id", "").startswith("[") else []
    if element.get("id") not in used:
        element.attrib.pop("id", None)
    if _HREF in element.attrib:
        element.set("href", element.attrib.pop(_HREF))
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    for name, value in element.attrib.items():
        element.set(name, _simpler(name, value))
    element[:] = children
    element.tail = None
    if element.tag != "text":
        element.text = None
    if tips:
        element.set("class", "series")
        marks = list(element.iter("use")) or element.iter("path")
        for mark, text in zip(marks, tips, strict=True):
            mark.set("class", "tip")
            ElementTree.SubElement(mark, "title").text = text


def _simpler(name: str, value: str) -> str:
    """Return the value of an attribute: CSS variables for colours, short numbers, no font."""
    if name == "style":
        value = re.sub(r" ?font-family: [^;]*;?", "", value)
        return re.sub(r"#[0-9a-f]{6}\b", lambda hit: _VARIABLES.get(hit[0], hit[0]), value)
    if name in ("d", "x", "y", "transform"):
        value = " ".join(value.split())
        return re.sub(r"\d+\.\d+", lambda hit: f"{float(hit[0]):.4g}", value)
    return value
