"""The detection error trade-off of a calibration as a picture."""

import io
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.special import ndtri

from dccc_lightning.common.files import write_atomically
from dccc_lightning.gallery.calibration import Calibration, Rate
from dccc_lightning.reports.fonts import PLAIN_TEXT

_BLUE, _ORANGE, _GREY = "#2f6db3", "#d9702b", "#8a8f98"
_TICKS = np.array([1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99])


@rc_context(PLAIN_TEXT)
def plot_det(found: Calibration, path: Path, title: str) -> None:
    """Draw the DET curve into a PNG: both error rates on normal-deviate axes, in per cent.

    Args:
        found: What to draw; its threshold is the dot, with the intervals of both rates.
        path: Of the PNG.
        title: Above the picture.
    """
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title, fontsize=11, loc="left")
    # A rate of 0 or 1 lies at infinity: it is drawn where less than one pair would be.
    floors = [0.5 / rate.pairs for rate in (found.false_match, found.false_non_match)]
    match = ndtri(np.clip(found.curve[:, 1], floors[0], 1 - floors[0]))
    miss = ndtri(np.clip(found.curve[:, 2], floors[1], 1 - floors[1]))
    axes.plot(match, miss, lw=2, color=_BLUE)
    x, x_error = _point(found.false_match, floors[0])
    y, y_error = _point(found.false_non_match, floors[1])
    axes.errorbar(x, y, xerr=x_error, yerr=y_error, fmt="o", color=_ORANGE, capsize=3,
                  label=f"threshold {found.rounded}")  # fmt: skip
    diagonal = ndtri([min(floors), 1 - min(floors)])
    axes.plot(diagonal, diagonal, ls=":", lw=1, color=_GREY,
              label=f"equal error {100 * found.equal_error:.2f} %")  # fmt: skip
    for axis, limits, floor in (
        (axes.xaxis, axes.set_xlim, floors[0]),
        (axes.yaxis, axes.set_ylim, floors[1]),
    ):
        ticks = _TICKS[floor <= _TICKS]
        axis.set_ticks(ndtri(ticks), [f"{100 * tick:g}" for tick in ticks])
        limits(ndtri(floor / 1.5), ndtri(min(0.995, 1 - floor)))
    axes.set_xlabel("false match rate, %", fontsize=9)
    axes.set_ylabel("false non-match rate, %", fontsize=9)
    axes.tick_params(labelsize=9)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomically(path, buffer.getvalue())


def _point(rate: Rate, floor: float) -> tuple[float, list[list[float]]]:
    """Return where a rate lies on its axis, and how far its interval reaches down and up."""
    clipped = np.clip([rate.low, rate.value, rate.high], floor, 1 - floor)
    low, value, high = (float(deviate) for deviate in ndtri(clipped))
    return value, [[value - low], [high - value]]
