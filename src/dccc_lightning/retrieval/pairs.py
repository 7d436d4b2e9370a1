"""Pairs of images under different cameras, of one person or of two, and their cosines."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.data.records import UNKNOWN

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
    by_camera: Floats

    def weighted_impostors(self, weights: Floats) -> Floats:
        """Return (B,) the impostor pairs, each as often as the weights (people, B) of both say."""
        # All pairs, less those of one known camera, less those of one person: halves of squares.
        per_camera = self.by_camera.T @ weights
        everything = per_camera.sum(axis=0) ** 2 - (per_camera[:-1] ** 2).sum(axis=0)
        images = self.by_camera.sum(axis=1)
        own = images**2 - (self.by_camera[:, :-1] ** 2).sum(axis=1)
        result: Floats = (everything - own @ weights**2) / 2
        return result


@dataclass(frozen=True, eq=False)
class Pairs:
    """Some or all pairs of a kind.

    Attributes:
        first: (P,) image.
        second: (P,) image.
        scores: (P,) float32 cosines.
    """

    first: Ints
    second: Ints
    scores: NDArray[np.float32]


def count_pairs(people: Ints, cameras: Ints) -> PairCounts:
    """Count the pairs under different cameras; an unknown camera differs from all, itself included.

    Args:
        people: (N,) from 0 on.
        cameras: (N,), ``UNKNOWN`` where nobody knows.
    """
    codes = np.unique(np.append(cameras[cameras != UNKNOWN], np.iinfo(np.int64).max))
    columns = np.where(cameras == UNKNOWN, len(codes) - 1, np.searchsorted(codes, cameras))
    size = int(people.max(initial=-1)) + 1
    flat = np.bincount(people * len(codes) + columns, minlength=size * len(codes))
    table = flat.reshape(size, len(codes)).astype(np.float64)
    totals, unknown, known = table.sum(axis=1), table[:, -1], table[:, :-1]
    # Ordered pairs, an image of an unknown camera with itself among them.
    ordered = totals**2 - (known**2).sum(axis=1)
    genuine = (ordered - unknown) / 2
    everything = totals.sum() ** 2 - (known.sum(axis=0) ** 2).sum() - unknown.sum()
    impostor = (everything - (ordered - unknown).sum()) / 2
    return PairCounts(int(genuine.sum()), int(impostor), genuine, table)


def genuine_pairs(
    rows: NDArray[np.float32], people: Ints, cameras: Ints, counts: PairCounts, seed: int
) -> Pairs:
    """Return all pairs of one person, or ``MOST`` of them, drawn evenly."""
    order = np.argsort(people, kind="stable")
    bounds = np.searchsorted(people[order], np.arange(len(counts.genuine_by_person) + 1))
    parts = []
    share = min(1.0, MOST / max(1, counts.genuine))
    rng = np.random.default_rng((seed, 0))
    for start, stop in pairwise(bounds):
        mine = order[start:stop]
        first, second = _different_cameras(*np.triu_indices(len(mine), 1), cameras[mine])
        if share < 1:
            kept = rng.random(len(first)) < share
            first, second = first[kept], second[kept]
        parts.append((mine[first], mine[second]))
    first, second = (np.concatenate(side) for side in zip(*parts, strict=True))
    return Pairs(first, second, _cosines(rows, first, second))


def impostor_pairs(
    rows: NDArray[np.float32], people: Ints, cameras: Ints, counts: PairCounts, seed: int
) -> Pairs:
    """Return all pairs of two persons, or ``MOST`` of them, drawn with replacement."""
    parts = []
    if counts.impostor <= MOST:
        candidates: Iterator[tuple[Ints, Ints]] = _all_pairs(len(rows))
    else:
        candidates = _drawn_pairs(len(rows), np.random.default_rng((seed, 1)))
    found = 0
    for first, second in candidates:
        strangers = people[first] != people[second]
        chosen = _different_cameras(first[strangers], second[strangers], cameras)
        parts.append(chosen)
        found += len(chosen[0])
        if found >= min(counts.impostor, MOST):
            break
    first, second = (np.concatenate(side)[:MOST] for side in zip(*parts, strict=True))
    return Pairs(first, second, _cosines(rows, first, second))


def _different_cameras(first: Ints, second: Ints, cameras: Ints) -> tuple[Ints, Ints]:
    kept = (cameras[first] != cameras[second]) | (cameras[first] == UNKNOWN)
    return first[kept], second[kept]


def _all_pairs(n: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield every pair of positions, in blocks of rows."""
    block = max(1, _BLOCK // n)
    for start in range(0, n, block):
        first = np.arange(start, min(n, start + block))
        pairs = np.stack(np.broadcast_arrays(first[:, None], np.arange(n)), axis=-1).reshape(-1, 2)
        above = pairs[pairs[:, 0] < pairs[:, 1]]
        yield above[:, 0], above[:, 1]


def _drawn_pairs(n: int, rng: np.random.Generator) -> Iterator[tuple[Ints, Ints]]:
    """Yield pairs of positions drawn with replacement, for ever."""
    while True:
        first, second = rng.integers(n, size=(2, _BLOCK))
        yield first, second


def _cosines(rows: NDArray[np.float32], first: Ints, second: Ints) -> NDArray[np.float32]:
    """Return the product of each pair of rows, in blocks."""
    scores = np.empty(len(first), dtype=np.float32)
    block = max(1, _BLOCK // rows.shape[1])
    for start in range(0, len(first), block):
        part = slice(start, start + block)
        scores[part] = np.einsum("pd,pd->p", rows[first[part]], rows[second[part]])
    return scores
