"""Genuine and impostor pairs of images under different cameras, and their cosines."""

from collections.abc import Iterator
from dataclasses import dataclass
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
        by_camera: (people, cameras) numbers of images; the last column is of unknown cameras.
    """

    genuine: int
    impostor: int
    genuine_by_person: Floats
    by_camera: csr_array

    def weighted_impostors(self, weights: Floats) -> Floats:
        """Return (B,) the sums over impostor pairs of the product of both weights (people, B)."""
        # All pairs, minus those of one known camera, minus those of one person: halves of squares.
        per_camera = np.asarray(self.by_camera.T @ weights)
        everything = per_camera.sum(axis=0) ** 2 - (per_camera[:-1] ** 2).sum(axis=0)
        images = self.by_camera.sum(axis=1)
        own = images**2 - self.by_camera[:, :-1].power(2).sum(axis=1)
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


def count_pairs(people: Ints, cameras: Ints) -> PairCounts:
    """Count the pairs under different cameras; an unknown camera differs from all, itself included.

    Args:
        people: (N,) from 0 on.
        cameras: (N,) cameras, or ``UNKNOWN``.
    """
    codes = np.unique(np.append(cameras[cameras != UNKNOWN], np.iinfo(np.int64).max))
    columns = np.where(cameras == UNKNOWN, len(codes) - 1, np.searchsorted(codes, cameras))
    shape = int(people.max(initial=-1)) + 1, len(codes)
    table = coo_array((np.ones(len(people)), (people, columns)), shape=shape).tocsr()
    totals: Floats = table.sum(axis=1)
    known = table[:, :-1]
    unknown = np.bincount(people[cameras == UNKNOWN], minlength=len(totals))
    # Ordered pairs, including an image of an unknown camera with itself.
    ordered = totals**2 - known.power(2).sum(axis=1)
    genuine = (ordered - unknown) / 2
    everything = totals.sum() ** 2 - (known.sum(axis=0) ** 2).sum() - unknown.sum()
    impostor = (everything - (ordered - unknown).sum()) / 2
    return PairCounts(int(genuine.sum()), int(impostor), genuine, table)


def genuine_pairs(
    unit: UnitEmbeddings, people: Ints, cameras: Ints, counts: PairCounts, seed: int
) -> Pairs:
    """Return all pairs of one person, or an evenly spaced sample of ``MOST``."""
    later = _Later.of(people, cameras)
    assert later.total == counts.genuine
    rng = np.random.default_rng((seed, 0))
    number = min(later.total, MOST)
    step = later.total / max(1, number)
    found = _Found()
    for part in _blocks(number):
        # One random pair per stretch of ``step`` where a sample is drawn.
        shift = rng.random(len(part)) if later.total > number else 0.0
        ordinals = ((part + shift) * step).astype(np.int64)
        found.add(*later.pairs(np.minimum(ordinals, later.total - 1)))
    return found.scored(unit)


def impostor_pairs(
    unit: UnitEmbeddings, people: Ints, cameras: Ints, counts: PairCounts, seed: int
) -> Pairs:
    """Return all pairs of two persons, or a sample of ``MOST``, drawn with replacement."""
    one_group = np.zeros_like(people)
    # Superset of the impostor pairs: pairs of two persons, or of two cameras, whichever is smaller.
    two_persons, two_cameras = _Later.of(one_group, people), _Later.of(one_group, cameras)
    later = min(two_persons, two_cameras, key=lambda pairs: pairs.total)
    rng = np.random.default_rng((seed, 1))
    number = min(counts.impostor, MOST)
    found = _Found()
    for ordinals in _blocks(later.total) if counts.impostor <= MOST else _draws(later.total, rng):
        first, second = later.pairs(ordinals)
        kept = (cameras[first] != cameras[second]) | (cameras[first] == UNKNOWN)
        kept &= people[first] != people[second]
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
