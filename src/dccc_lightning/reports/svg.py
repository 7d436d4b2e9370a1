"""Charts as inline SVG: colours come from the page's style sheet, so they follow its theme."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 360, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 30

Points = Sequence[tuple[float, float]]


def lines(series: Mapping[str, Points], name: str, x_label: str, whole: bool = True) -> str:
    """Draw lines with a dot for each point, which says its value when pointed at.

    Args:
        series: (x, y) points by name, in the order of the style's colours.
        name: Of the chart, for those who cannot see it.
        x_label: Below the axis.
        whole: The axis is marked at whole numbers alone.
    """
    points = [point for line in series.values() for point in line]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x_ticks = [t for t in ticks(min(xs), max(xs)) if not whole or t == int(t)]
    y_ticks = ticks(min(ys), max(ys))
    x = _Scale(min(xs), max(xs), _LEFT + 6, WIDTH - _RIGHT - 6)
    low, high = min(y_ticks[0], *ys), max(y_ticks[-1], *ys)
    y = _Scale(low, high, HEIGHT - _BOTTOM, _TOP)
    parts = [_axes(_marks(x_ticks, x), _marks(y_ticks, y), x_label)]
    for number, (label, line) in enumerate(series.items()):
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line)
        parts.append(f'<polyline class="line s{number}" points="{path}"/>')
        parts += [
            f'<circle class="dot s{number}" cx="{x(a):.1f}" cy="{y(b):.1f}" r="2.6">'
            f"<title>{escape(label)}, {a:g}: {b:.4g}</title></circle>"
            for a, b in line
        ]
    return _svg(parts, name)


def histogram(
    edges: Sequence[float],
    counts: Mapping[str, Sequence[int]],
    mark: tuple[float, str] | None,
    name: str,
    x_label: str,
) -> str:
    """Draw counts on a logarithmic axis, one set over the other, and a vertical mark.

    Args:
        edges: Of the bins, one more than there are counts.
        counts: By name, in the order of the style's colours.
        mark: Where, and what is written there.
        name: Of the chart.
        x_label: Below the axis.
    """
    most = max((max(values, default=0) for values in counts.values()), default=0)
    decades = max(1, math.ceil(math.log10(max(most, 1)))) if most else 1
    x = _Scale(edges[0], edges[-1], _LEFT, WIDTH - _RIGHT)
    y = _Scale(-0.15, decades, HEIGHT - _BOTTOM, _TOP)
    parts = [_axes(_marks(ticks(edges[0], edges[-1]), x),
                   [(y(d), f"{10**d:,}") for d in range(decades + 1)], x_label)]  # fmt: skip
    for number, (label, values) in enumerate(counts.items()):
        for left, right, value in zip(edges[:-1], edges[1:], values, strict=True):
            if value:
                top = y(math.log10(value))
                parts.append(
                    f'<rect class="area s{number}" x="{x(left):.1f}" y="{top:.1f}" '
                    f'width="{x(right) - x(left):.1f}" height="{HEIGHT - _BOTTOM - top:.1f}">'
                    f"<title>{escape(label)}, {left:g} to {right:g}: {value:,}</title></rect>"
                )
    if mark is not None:
        at = x(mark[0])
        anchor, text_x = ("end", at - 4) if at > WIDTH * 0.6 else ("start", at + 4)
        parts.append(f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 6}" '
                     f'y2="{HEIGHT - _BOTTOM}"/><text class="strong" x="{text_x:.1f}" '
                     f'y="{_TOP + 2}" text-anchor="{anchor}">{escape(mark[1])}</text>')  # fmt: skip
    return _svg(parts, name)


def bars(values: Sequence[float], name: str, x_label: str) -> str:
    """Draw bars side by side, numbered from 1; more of them than pixels become one outline."""
    x = _Scale(0, max(len(values), 1), _LEFT, WIDTH - _RIGHT)
    y_ticks = ticks(0, max(values, default=1))
    y = _Scale(0, max(y_ticks[-1], max(values, default=1)), HEIGHT - _BOTTOM, _TOP)
    numbers = [t for t in ticks(1, len(values)) if t == int(t) and t >= 1]
    parts = [_axes(_marks(numbers, lambda t: x(t - 0.5)), _marks(y_ticks, y), x_label)]
    width = x(1) - x(0)
    gap = 1.0 if width > 4 else 0.0
    if len(values) > WIDTH:
        places = [n * len(values) // WIDTH for n in range(WIDTH)]
        tops = "".join(f"V{y(values[i]):.1f}H{x(i + len(values) / WIDTH):.1f}" for i in places)
        parts.append(f'<path class="bar s0" d="M{x(0):.1f},{y(0):.1f}{tops}V{y(0):.1f}Z"/>')
        return _svg(parts, name)
    parts += [
        f'<rect class="bar s0" x="{x(i):.2f}" y="{y(v):.1f}" width="{width - gap:.2f}" '
        f'height="{y(0) - y(v):.1f}"><title>{i + 1}: {v:g}</title></rect>'
        for i, v in enumerate(values)
    ]
    return _svg(parts, name)


def bands(
    spans: Sequence[tuple[tuple[float, float], tuple[float, float], str, str]],
    labels: Sequence[tuple[str, float, str]],
    name: str,
) -> str:
    """Draw bands from the left to the right.

    Args:
        spans: Heights within [0, 1] on the left and on the right, class and tooltip of each band.
        labels: Side (``left``, ``right``), height and text.
        name: Of the chart.
    """
    left, right, middle = 98, WIDTH - 118, WIDTH / 2 - 10
    y = _Scale(0, 1, _TOP + 4, HEIGHT - 10)
    parts = []
    for (top, bottom), (end_top, end_bottom), style, tip in spans:
        a, b, c, d = (f"{y(value):.1f}" for value in (top, end_top, end_bottom, bottom))
        path = (f"M{left},{a} C{middle},{a} {middle},{b} {right},{b} L{right},{c} "
                f"C{middle},{c} {middle},{d} {left},{d}Z")  # fmt: skip
        parts.append(f'<path class="band {style}" d="{path}"><title>{escape(tip)}</title></path>')
    for side, height, text in labels:
        x, anchor = (left - 6, "end") if side == "left" else (right + 6, "start")
        parts.append(f'<text x="{x}" y="{y(height) + 4:.1f}" text-anchor="{anchor}">'
                     f"{escape(text)}</text>")  # fmt: skip
    return _svg(parts, name)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers that span [low, high], about so many.

    >>> ticks(0, 9)
    [0, 2, 4, 6, 8, 10]
    """
    span = high - low
    if span <= 1e-9 * max(abs(low), abs(high), 1e-9):  # one value, but for rounding
        span = abs(high) if abs(high) > 1e-9 else 1.0
    raw = span / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step)))
    marks = [round(number * step, digits) for number in range(first, max(last, first + 1) + 1)]
    return [int(mark) if mark == int(mark) else mark for mark in marks]


def tick_texts(marks: Sequence[float]) -> list[str]:
    """Return how the ticks of an axis are written: all with the decimals that its step needs.

    >>> tick_texts([0, 5000, 10000]), tick_texts([0.58, 0.585, 0.59])
    (['0', '5,000', '10,000'], ['0.580', '0.585', '0.590'])
    """
    steps = [after - before for before, after in pairwise(marks)]
    digits = max(0, -math.floor(math.log10(min(steps, default=1)) + 1e-9))
    return [f"{mark:,.{digits}f}" for mark in marks]


def _marks(values: Sequence[float], place: Callable[[float], float]) -> list[tuple[float, str]]:
    """Return where on an axis the ticks stand, and what is written there."""
    return [(place(value), text) for value, text in zip(values, tick_texts(values), strict=True)]


class _Scale:
    """A linear map from data to pixels."""

    def __init__(self, low: float, high: float, start: float, stop: float) -> None:
        self.low, self.start = low, start
        self.factor = (stop - start) / ((high - low) or 1.0)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) * self.factor


def _axes(
    x_marks: Sequence[tuple[float, str]], y_marks: Sequence[tuple[float, str]], x_label: str
) -> str:
    parts = [
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>'
        for y, text in y_marks
    ]
    parts += [
        f'<text x="{x:.1f}" y="{HEIGHT - _BOTTOM + 14}" text-anchor="middle">{text}</text>'
        for x, text in x_marks
        if _LEFT - 1 <= x <= WIDTH - _RIGHT + 1
    ]
    parts.append(f'<text x="{(_LEFT + WIDTH) / 2}" y="{HEIGHT - 3}" text-anchor="middle">'
                 f"{escape(x_label)}</text>")  # fmt: skip
    return "".join(parts)


def _svg(parts: Sequence[str], name: str) -> str:
    return (f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">'
            f"{''.join(parts)}</svg>")  # fmt: skip
