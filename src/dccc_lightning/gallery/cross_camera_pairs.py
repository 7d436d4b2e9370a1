"""Genuine and impostor pairs of images of different cameras and sightings, and their cosines."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.gallery.exact_search import pair_scores
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.neighbors.turned_rows import TURNS, shifted, to_rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST = 10_000_000
"""Most pairs of a kind to compare; of more, a sample of this size. 10 million pairs show a rate of
3 in a million with 30 errors, enough by the rule of 30."""

_BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Numbers of pairs.

    Attributes:
        genuine: Pairs of one person.
        impostor: Pairs of two persons.
        genuine_by_person: (people,) genuine pairs of each person.
        images: (people,) images of each person.
        alike: By inclusion and exclusion over the views: a sign and the (people, values) numbers of
            images with each known value of the view, or of both.
    """

    genuine: int
    impostor: int
    genuine_by_person: Floats
    images: Floats
    alike: tuple[tuple[int, csr_array], ...]

    def weighted_impostors(self, weights: Floats) -> Floats:
        """Return (B,) the sums over impostor pairs of the product of both weights (people, B)."""
        # All pairs, minus those alike in a view, minus those of one person: halves of squares.
        everything, own = (self.images @ weights) ** 2, self.images**2
        for sign, table in self.alike:
            everything = everything - sign * (np.asarray(table.T @ weights) ** 2).sum(axis=0)
            own = own - sign * table.power(2).sum(axis=1)
        result: Floats = (everything - own @ weights**2) / 2
        return result


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of images with their scores.

    Attributes:
        first: (P,) first image.
        second: (P,) second image.
        scores: (P,) cosines, equal to those of a search.
    """

    first: Ints
    second: Ints
    scores: Floats


def count_pairs(people: Ints, *views: Ints) -> PairCounts:
    """Count the pairs that differ in all views; an unknown value differs from all, itself included.

    Args:
        people: (N,) from 0 on.
        *views: (N,) cameras or sightings each, or ``UNKNOWN``.
    """
    count = int(people.max(initial=-1)) + 1
    images = np.bincount(people, minlength=count).astype(np.float64)
    alike = tuple(
        (-1 if number % 2 == 0 else 1, _table(people, count, chosen))
        for number in range(1, len(views) + 1)
        for chosen in combinations(views, number)
    )
    alone = np.all([view == UNKNOWN for view in views], axis=0)
    unknown = np.bincount(people[alone], minlength=count)
    # Ordered pairs, including an image of unknown views with itself.
    ordered, everything = images**2, images.sum() ** 2 - unknown.sum()
    for sign, table in alike:
        ordered = ordered - sign * table.power(2).sum(axis=1)
        everything -= sign * (table.sum(axis=0) ** 2).sum()
    genuine = (ordered - unknown) / 2
    impostor = (everything - (ordered - unknown).sum()) / 2
    return PairCounts(int(genuine.sum()), int(impostor), genuine, images, alike)


def _table(people: Ints, count: int, views: Sequence[Ints]) -> csr_array:
    """Return the numbers of images of each person with each known combination of values."""
    known = np.all([view != UNKNOWN for view in views], axis=0)
    stacked = np.stack([view[known] for view in views], axis=1)
    columns = np.unique(stacked, axis=0, return_inverse=True)[1].ravel()
    shape = count, int(columns.max(initial=-1)) + 1
    return coo_array((np.ones(len(columns)), (people[known], columns)), shape=shape).tocsr()


def _differ(views: Sequence[Ints], first: Ints, second: Ints) -> NDArray[np.bool_]:
    """Return a mask of the pairs that differ in all views."""
    apart: NDArray[np.bool_] = np.ones(len(first), dtype=np.bool_)
    for view in views:
        apart &= (view[first] != view[second]) | (view[first] == UNKNOWN)
    return apart


def genuine_pairs(
    unit: UnitEmbeddings, people: Ints, views: Sequence[Ints], counts: PairCounts, seed: int
) -> Pairs:
    """Return all pairs of one person, or an evenly spaced sample of about ``MOST``."""
    later = _Later.of(people, views[0])
    assert later.total >= counts.genuine
    rng = np.random.default_rng((seed, 0))
    number = min(later.total, MOST)
    step = later.total / max(1, number)
    found = _Found()
    for part in _blocks(number):
        # One random pair per stretch of ``step`` where a sample is drawn.
        shift = rng.random(len(part)) if later.total > number else 0.0
        ordinals = ((part + shift) * step).astype(np.int64)
        first, second = later.pairs(np.minimum(ordinals, later.total - 1))
        kept = _differ(views[1:], first, second) if len(views) > 1 else slice(None)
        found.add(first[kept], second[kept])
    return found.scored(unit)


def impostor_pairs(
    unit: UnitEmbeddings, people: Ints, views: Sequence[Ints], counts: PairCounts, seed: int
) -> Pairs:
    """Return all pairs of two persons, or a sample of ``MOST``, drawn with replacement."""
    one_group = np.zeros_like(people)
    # Superset of the impostor pairs: pairs of two persons, or of two cameras, whichever is smaller.
    two_persons, two_cameras = _Later.of(one_group, people), _Later.of(one_group, views[0])
    later = min(two_persons, two_cameras, key=lambda pairs: pairs.total)
    rng = np.random.default_rng((seed, 1))
    number = min(counts.impostor, MOST)
    found = _Found()
    for ordinals in _blocks(later.total) if counts.impostor <= MOST else _draws(later.total, rng):
        first, second = later.pairs(ordinals)
        kept = _differ(views, first, second) & (people[first] != people[second])
        found.add(first[kept], second[kept])
        if len(found) >= number:
            break
    return found.scored(unit, number)


def _blocks(total: int) -> Iterator[Ints]:
    """Yield every number below ``total``."""
    return (np.arange(n, min(total, n + _BLOCK)) for n in range(0, total, _BLOCK))


def _draws(total: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Yield numbers below ``total`` drawn with replacement, without end."""
    while True:
        yield rng.integers(total, size=_BLOCK)


class _Later(NamedTuple):
    """Numbered pairs of images in the same group and different blocks.

    Images are sorted by group and block, and each forms a pair with all images of its group after
    its block. Memory does not grow with the number of pairs.

    Attributes:
        order: (N,) images, sorted.
        after: (N,) end of the block of each position.
        starts: (N + 1,) number of the first pair of each position; the last entry is the total.
    """

    order: Ints
    after: Ints
    starts: Ints

    @classmethod
    def of(cls, groups: Ints, blocks: Ints) -> "_Later":
        """Sort the images; those with block ``UNKNOWN`` each become a block of their own."""
        order = np.lexsort((blocks, groups))
        new_group = np.diff(groups[order], prepend=-1) != 0
        new_block = new_group | (np.diff(blocks[order], prepend=UNKNOWN) != 0)
        new_block |= blocks[order] == UNKNOWN
        after, ends = _ends(new_block), _ends(new_group)
        return cls(order, after, np.concatenate([[0], np.cumsum(ends - after)]))

    @property
    def total(self) -> int:
        """Number of pairs."""
        return int(self.starts[-1])

    def pairs(self, ordinals: Ints) -> tuple[Ints, Ints]:
        """Return the images of the pairs with these numbers."""
        places = np.searchsorted(self.starts, ordinals, side="right") - 1
        seconds = self.after[places] + (ordinals - self.starts[places])
        return self.order[places], self.order[seconds]


def _ends(is_first: NDArray[np.bool_]) -> Ints:
    """Return the end of the run at each position."""
    bounds = np.append(np.flatnonzero(is_first), len(is_first))
    ends: Ints = bounds[np.cumsum(is_first)]
    return ends


class _Found:
    """Pairs collected in parts."""

    def __init__(self) -> None:
        self._parts: list[tuple[Ints, Ints]] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, first: Ints, second: Ints) -> None:
        """Add pairs."""
        self._parts.append((first, second))
        self._length += len(first)

    def scored(self, unit: UnitEmbeddings, most: int | None = None) -> Pairs:
        """Return the first ``most`` pairs with their cosines."""
        first, second = (np.concatenate(side)[:most] for side in zip(*self._parts, strict=True))
        return Pairs(first, second, _scores(unit, first, second))


def _scores(unit: UnitEmbeddings, first: Ints, second: Ints) -> Floats:
    """Return the scores of pairs, of images that turn at their best turn."""
    if unit.turned is None:
        return pair_scores(unit.rows, first, second)
    rows = to_rows(torch.from_numpy(unit.turned)).numpy()
    each = [
        pair_scores(np.concatenate([rows, turned]), first, second + len(rows))
        for turned in np.split(shifted(rows), TURNS)
    ]
    best: Floats = np.maximum.reduce(each)
    return best
