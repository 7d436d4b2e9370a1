"""Sizes and proportions of the images of a dataset."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import NamedTuple

from dccc_lightning.data.audit.inspection import Inspection

MOST_COMMON = 5
"""Sizes that are counted one by one."""


class Range(NamedTuple):
    """Smallest, middle and largest of some values."""

    smallest: float
    median: float
    largest: float


@dataclass(frozen=True)
class Sizes:
    """Sizes of images, upright.

    Attributes:
        width: in pixels.
        height: in pixels.
        aspect: height by width.
        different: number of different sizes.
        wide: number of images that are wider than tall.
        common: the most common sizes, as width, height and number of images.
    """

    width: Range
    height: Range
    aspect: Range
    different: int
    wide: int
    common: tuple[tuple[int, int, int], ...]


def sizes_of(inspections: Sequence[Inspection]) -> Sizes | None:
    """Return the sizes of the images that can be decoded; None where there are none.

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


def _range(values: Sequence[float]) -> Range:
    return Range(min(values), median_low(values), max(values))
