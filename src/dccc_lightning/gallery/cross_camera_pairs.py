"""Pairs of images under different cameras, of one person or of two, and their cosines."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.gallery.exact_search import pair_scores

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST = 10_000_000
"""Pairs of a kind up to which all are compared; of more, this many are drawn. 10 million show a
rate of 3 in a million with the 30 errors that it takes to trust one."""

_BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class PairCounts:
    """How many pairs there are.

    Attributes:
        genuine: Of one person.
        impostor: Of two persons.
        genuine_by_person: (people,) of each one.
        by_camera: (people, cameras) images; the last column is that of unknown cameras.
    """

    genuine: int
    impostor: int
    genuine_by_person: Floats
    by_camera: csr_array

    def weighted_impostors(self, weights: Floats) -> Floats:
        """Return (B,) the impostor pairs, each as often as the weights (people, B) of both say."""
        # All pairs, less those of one known camera, less those of one person: halves of squares.
        per_camera = np.asarray(self.by_camera.T @ weights)
        everything = per_camera.sum(axis=0) ** 2 - (per_camera[:-1] ** 2).sum(axis=0)
        images = self.by_camera.sum(axis=1)
        own = images**2 - self.by_camera[:, :-1].power(2).sum(axis=1)
        result: Floats = (everything - own @ weights**2) / 2
        return result


@dataclass(frozen=True, eq=False)
class Pairs:
    """Some or all pairs of a kind.

    Attributes:
        first: (P,) image.
        second: (P,) image.
        scores: (P,) cosines, as a search scores its hits.
    """

    first: Ints
    second: Ints
    scores: Floats


def count_pairs(people: Ints, cameras: Ints) -> PairCounts:
    """Count the pairs under different cameras; an unknown camera differs from all, itself included.

    Args:
        people: (N,) from 0 on.
        cameras: (N,), ``UNKNOWN`` where nobody knows.
    """
    codes = np.unique(np.append(cameras[cameras != UNKNOWN], np.iinfo(np.int64).max))
    columns = np.where(cameras == UNKNOWN, len(codes) - 1, np.searchsorted(codes, cameras))
    shape = int(people.max(initial=-1)) + 1, len(codes)
    table = coo_array((np.ones(len(people)), (people, columns)), shape=shape).tocsr()
    totals: Floats = table.sum(axis=1)
    known = table[:, :-1]
    unknown = np.bincount(people[cameras == UNKNOWN], minlength=len(totals))
    # Ordered pairs, an image of an unknown camera with itself among them.
    ordered = totals**2 - known.power(2).sum(axis=1)
    genuine = (ordered - unknown) / 2
    everything = totals.sum() ** 2 - (known.sum(axis=0) ** 2).sum() - unknown.sum()
    impostor = (everything - (ordered - unknown).sum()) / 2
    return PairCounts(int(genuine.sum()), int(impostor), genuine, table)


def genuine_pairs(
    rows: NDArray[np.float32], people: Ints, cameras: Ints, counts: PairCounts, seed: int
) -> Pairs:
    """Return all pairs of one person, or ``MOST`` of them, drawn evenly."""
    later = _Later.of(people, cameras)
    assert later.total == counts.genuine
    rng = np.random.default_rng((seed, 0))
    number = min(later.total, MOST)
    step = later.total / max(1, number)
    found = _Found()
    for part in _blocks(number):
        # Of more pairs, one of each stretch of ``step``.
        shift = rng.random(len(part)) if later.total > number else 0.0
        ordinals = ((part + shift) * step).astype(np.int64)
        found.add(*later.pairs(np.minimum(ordinals, later.total - 1)))
    return found.scored(rows)


def impostor_pairs(
    rows: NDArray[np.float32], people: Ints, cameras: Ints, counts: PairCounts, seed: int
) -> Pairs:
    """Return all pairs of two persons, or ``MOST`` of them, drawn with replacement."""
    everybody = np.zeros_like(people)
    # Either may hold far more pairs than are wanted: of strangers under one camera, of one person.
    strangers, apart = _Later.of(everybody, people), _Later.of(everybody, cameras)
    later = min(strangers, apart, key=lambda candidates: candidates.total)
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
    return found.scored(rows, number)


def _blocks(total: int) -> Iterator[Ints]:
    """Yield every number below ``total``."""
    return (np.arange(n, min(total, n + _BLOCK)) for n in range(0, total, _BLOCK))


def _draws(total: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Yield numbers below ``total`` drawn with replacement, for ever."""
    while True:
        yield rng.integers(total, size=_BLOCK)


class _Later(NamedTuple):
    """The pairs of images of one group that lie in different blocks of it, numbered.

    Images are sorted by group and block: an image has a pair with each one after its block. Nothing
    grows with the number of pairs.

    Attributes:
        order: (N,) images.
        after: (N,) end of the block of each place.
        starts: (N + 1,) number of the first pair of each place; the last one is that of all pairs.
    """

    order: Ints
    after: Ints
    starts: Ints

    @classmethod
    def of(cls, groups: Ints, blocks: Ints) -> "_Later":
        """Sort the images; each one whose block is ``UNKNOWN`` is a block of its own."""
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
    """Return for each place where the run that it lies in ends."""
    bounds = np.append(np.flatnonzero(is_first), len(is_first))
    ends: Ints = bounds[np.cumsum(is_first)]
    return ends


class _Found:
    """Pairs, collected in parts."""

    def __init__(self) -> None:
        self._parts: list[tuple[Ints, Ints]] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, first: Ints, second: Ints) -> None:
        """Add pairs."""
        self._parts.append((first, second))
        self._length += len(first)

    def scored(self, rows: NDArray[np.float32], most: int | None = None) -> Pairs:
        """Return the first ``most`` of all, with their cosines."""
        first, second = (np.concatenate(side)[:most] for side in zip(*self._parts, strict=True))
        return Pairs(first, second, pair_scores(rows, first, second))
