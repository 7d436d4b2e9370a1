"""Choice of a few boxes of each tracklet: spread in time, large, not truncated, and sharp."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

CANDIDATES = 3
"""Boxes of a part of a tracklet whose sharpness is compared."""

NEARLY = 0.7
"""Share of the best value of a part above which boxes are candidates."""

TRUNCATION = 4
"""Power of the visible share in the value of a box: half a person is worth a sixteenth."""

SHARPNESS_SIZE = (64, 128)
"""Width and height at which sharpness is compared, so that it does not depend on the crop's."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Choice:
    """Candidates for crops.

    Attributes:
        rows: (K,) rows of the table, ascending by frame.
        slots: (K,) number of the crop for which each is a candidate; the sharpest becomes it.
        empty: Boxes without area.
        outside: Boxes outside of the picture.
    """

    rows: Ints
    slots: Ints
    empty: int
    outside: int


def choose_boxes(table: pa.Table, per_tracklet: int, size: tuple[int, int]) -> Choice:
    """Return candidates for ``per_tracklet`` crops of each tracklet.

    The time of a tracklet is divided into equal parts, one a crop. The value of a box is its
    visible area times the fourth power of its visible share. Candidates of a part are up to three
    boxes of nearly the best value, spread in time. A box without a track is a tracklet of its own.

    Args:
        table: Result of ``read_tracks``.
        per_tracklet: Number of crops.
        size: Width and height of the picture.
    """
    frames = table["frame"].to_numpy()
    areas, visible = _areas(table, size)
    usable = visible > 0
    values = (
        visible * np.divide(visible, areas, out=np.zeros_like(areas), where=usable) ** TRUNCATION
    )
    tracks = _tracks(table)
    rows = np.flatnonzero(usable)
    rows = rows[np.lexsort((frames[rows], tracks[rows]))]
    starts = np.flatnonzero(np.diff(tracks[rows], prepend=-1))
    chosen: list[Ints] = []
    slots: list[int] = []
    for own in np.split(rows, starts[1:]) if len(rows) else []:
        first, last = int(frames[own[0]]), int(frames[own[-1]])
        part = (frames[own] - first) * per_tracklet // (last - first + 1)
        for number in np.unique(part):
            found = _best(own[part == number], values)
            slots += [len(chosen)] * len(found)
            chosen.append(found)
    picked = np.concatenate(chosen) if chosen else np.empty(0, np.int64)
    order = np.argsort(frames[picked], kind="stable")
    return Choice(
        picked[order],
        np.array(slots, np.int64)[order],
        int((areas <= 0).sum()),
        int(((areas > 0) & ~usable).sum()),
    )


def sharpness(crop: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian over that of the values of green, at one size for all.

    >>> stripes = np.tile(np.repeat(np.array([0, 255], np.uint8), 16), (128, 2))
    >>> blurred = np.asarray(Image.fromarray(stripes).resize((4, 8)).resize((64, 128)))
    >>> sharpness(np.stack([stripes] * 3, 2)) > sharpness(np.stack([blurred] * 3, 2))
    True
    """
    green = Image.fromarray(np.ascontiguousarray(crop[..., 1]))
    grey = np.asarray(green.resize(SHARPNESS_SIZE, Image.Resampling.BILINEAR), np.float32)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * grey[1:-1, 1:-1]).var() / (grey.var() + 1))


def _best(rows: Ints, values: Floats) -> Ints:
    """Return up to ``CANDIDATES`` rows of nearly the best value, spread in time."""
    good = rows[values[rows] >= NEARLY * values[rows].max()]
    picked = np.linspace(0, len(good) - 1, min(CANDIDATES, len(good))).round().astype(np.int64)
    result: Ints = good[picked]
    return result


def _areas(table: pa.Table, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Return (N,) areas of the boxes, and of their parts in the picture."""
    x1, y1, x2, y2 = (table[name].to_numpy() for name in ("x1", "y1", "x2", "y2"))
    width = np.minimum(x2, size[0]) - np.maximum(x1, 0)
    height = np.minimum(y2, size[1]) - np.maximum(y1, 0)
    return (x2 - x1) * (y2 - y1), width.clip(min=0) * height.clip(min=0)


def _tracks(table: pa.Table) -> Ints:
    """Return (N,) number of the tracklet of each box, from 0."""
    encoded = table["track"].combine_chunks().dictionary_encode()
    numbers = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    alone = np.flatnonzero(numbers < 0)
    numbers[alone] = len(encoded.dictionary) + np.arange(len(alone))
    result: Ints = numbers
    return result
