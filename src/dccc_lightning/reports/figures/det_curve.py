"""Detection error trade-off (DET) curve of a calibration."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from scipy.special import ndtri

from dccc_lightning.common.files import write_atomically
from dccc_lightning.gallery.calibration import Calibration, Rate
from dccc_lightning.reports.figures.chart import GREY, Chart, to_png

_TICKS = np.array([1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99])


def plot_det(found: Calibration, path: Path, title: str) -> None:
    """Draw the DET curve into a PNG: both error rates on normal-deviate axes, in per cent.

    Args:
        found: Calibration; its threshold is the dot, with the intervals of both rates.
        path: Of the PNG.
        title: Above the picture.
    """
    chart = Chart(title, lambda axes: _draw(axes, found))
    write_atomically(path, to_png([chart], (6.4, 5.6)))


def _draw(axes: Axes, found: Calibration) -> None:
    # A rate of 0 or 1 lies at infinity: it is drawn where less than one pair would be.
    floors = [0.5 / rate.pairs for rate in (found.false_match, found.false_non_match)]
    match = ndtri(np.clip(found.curve[:, 1], floors[0], 1 - floors[0]))
    miss = ndtri(np.clip(found.curve[:, 2], floors[1], 1 - floors[1]))
    axes.plot(match, miss)
    x, x_error = _point(found.false_match, floors[0])
    y, y_error = _point(found.false_non_match, floors[1])
    axes.errorbar(x, y, xerr=x_error, yerr=y_error, fmt="o", capsize=3,
                  label=f"threshold {found.rounded}")  # fmt: skip
    diagonal = ndtri([min(floors), 1 - min(floors)])
    axes.plot(diagonal, diagonal, ls=":", lw=1, color=GREY,
              label=f"equal error {100 * found.equal_error:.2f} %")  # fmt: skip
    for axis, limits, floor in (
        (axes.xaxis, axes.set_xlim, floors[0]),
        (axes.yaxis, axes.set_ylim, floors[1]),
    ):
        ticks = _TICKS[floor <= _TICKS]
        axis.set_ticks(ndtri(ticks), [f"{100 * tick:g}" for tick in ticks])
        limits(ndtri(floor / 1.5), ndtri(min(0.995, 1 - floor)))
    axes.grid(visible=True, axis="both")
    axes.set(xlabel="false match rate, %", ylabel="false non-match rate, %")
    axes.legend()


def _point(rate: Rate, floor: float) -> tuple[float, list[list[float]]]:
    """Return the position of a rate on its axis, and the lengths of its interval down and up."""
    clipped = np.clip([rate.low, rate.value, rate.high], floor, 1 - floor)
    low, value, high = (float(deviate) for deviate in ndtri(clipped))
    return value, [[value - low], [high - value]]
