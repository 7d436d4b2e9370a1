"""Sizes and proportions of the images of a dataset."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import NamedTuple

from dccc_lightning.data.audit.inspection import Inspection

MOST_COMMON = 5
"""Number of most common sizes that are listed."""


_SAME_ASPECT = 1.15

_STEP = 16
"""Sizes are multiples of the patches of transformers."""


class Range(NamedTuple):
    """Minimum, median and maximum."""

    smallest: float
    median: float
    largest: float


@dataclass(frozen=True)
class Sizes:
    """Statistics of image sizes, after EXIF rotation.

    Attributes:
        width: Range of the widths, in pixels.
        height: Range of the heights, in pixels.
        aspect: Range of height / width.
        different: Number of distinct sizes.
        wide: Number of images that are wider than tall.
        common: Most common sizes, as (width, height, number of images).
    """

    width: Range
    height: Range
    aspect: Range
    different: int
    wide: int
    common: tuple[tuple[int, int, int], ...]


def sizes_of(inspections: Sequence[Inspection]) -> Sizes | None:
    """Return statistics of the sizes of decodable images; None if no image can be decoded.

    >>> looks = [Inspection(None, size=size) for size in ((64, 128), (64, 128), (100, 50))]
    >>> sizes_of(looks).aspect
    Range(smallest=0.5, median=2.0, largest=2.0)
    """
    sizes = [look.size for look in inspections if look.size is not None]
    if not sizes:
        return None
    aspects = [height / width for width, height in sizes]
    counts = Counter(sizes)
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_COMMON]
    return Sizes(
        width=_range([width for width, _ in sizes]),
        height=_range([height for _, height in sizes]),
        aspect=_range(aspects),
        different=len(counts),
        wide=sum(aspect < 1 for aspect in aspects),
        common=tuple((width, height, count) for (width, height), count in common),
    )


def proposed_size(sizes: Sizes, height: int, width: int) -> tuple[int, int] | None:
    """Return height and width of the median aspect and about as many pixels; None if they fit.

    A size fits if its aspect differs from the median by at most 15 %. None also where no size in
    multiples of 16, from 32 on, fits with half to twice the pixels.

    Args:
        sizes: Of the images of a dataset.
        height: Height in use.
        width: Width in use.

    >>> square = sizes_of([Inspection(None, size=(100, 104))])
    >>> proposed_size(square, 256, 128), proposed_size(square, 192, 192)
    ((176, 176), None)
    """
    aspect = sizes.aspect.median
    if _fits(aspect, height, width):
        return None
    wides = range(2 * _STEP, 4 * max(height, width) + 1, _STEP)
    options = [(max(2, round(wide * aspect / _STEP)) * _STEP, wide) for wide in wides]
    changes = {
        size: abs(math.log2(math.prod(size) / (height * width)))
        for size in options
        if _fits(aspect, *size)
    }
    best = min(changes, key=changes.__getitem__, default=None)
    return None if best is None or changes[best] > 1 else best


def _fits(aspect: float, height: int, width: int) -> bool:
    return 1 / _SAME_ASPECT <= aspect * width / height <= _SAME_ASPECT


def _range(values: Sequence[float]) -> Range:
    return Range(min(values), median_low(values), max(values))
