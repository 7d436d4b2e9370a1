"""Search for hashes that differ in few bits, without comparing all pairs.

Hashes that differ in fewer bits than the number of bands have at least one band in common. So only
hashes with an equal band are compared, which are adjacent when sorted by that band.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.data.audit.perceptual_hash import BANDS

RADIUS = BANDS - 1
"""Maximum number of bits in which near-duplicates differ."""

Indices = NDArray[np.int64]
KindOf = Callable[[Indices, Indices], Indices]
"""Function of two arrays of positions that returns the kind of each pair, a number from 0."""


class NearPair(NamedTuple):
    """A pair of near-duplicates.

    Attributes:
        kind: Kind of the pair; 0 within a group.
        first: Smaller position.
        second: Larger position.
        bits: Number of bits in which the hashes differ.
    """

    kind: int
    first: int
    second: int
    bits: int


class NearDuplicateSearch:
    """Search for near-duplicates of every hash, by kind.

    Memory is linear in the number of hashes, and so is time where few hashes share a band. Within
    a group (such as frames of a static camera), a hash is compared until its first near-duplicate.

    Args:
        hashes: N results of ``perceptual_hash``.
        groups: (N,) int64; a pair within a group is of kind 0.
        kinds: Number of kinds.
        kind_of: Symmetric function that returns the kinds of pairs from different groups.
    """

    def __init__(
        self, hashes: Sequence[bytes], groups: Indices, kinds: int, kind_of: KindOf
    ) -> None:
        content = np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(len(hashes), 2 * BANDS)
        self._words, self._bands = content.view(np.uint64), content.view(np.uint16)
        self._groups, self._kind_of = groups, kind_of
        self._others = np.full((kinds, len(hashes)), -1, dtype=np.int64)
        self._bits = np.full((kinds, len(hashes)), RADIUS + 1, dtype=np.int64)

    def pairs(self) -> list[NearPair]:
        """Return pairs sorted by kind and position.

        For each hash and kind with a near-duplicate there is one pair: with any near-duplicate for
        kind 0, with the nearest for the other kinds.
        """
        for band in range(BANDS):
            order = np.lexsort((self._groups, self._bands[:, band]))
            is_new_key = np.diff(self._bands[order, band], prepend=-1) != 0
            is_new_run = is_new_key | (np.diff(self._groups[order], prepend=-1) != 0)
            runs = _spans(is_new_run)
            self._compare_within(order, *runs, step=1)
            self._compare_within(order, *runs, step=-1)
            self._compare_across(order, runs[1], _spans(is_new_key)[1])
        return [
            NearPair(kind, first, second, bits)
            for kind, (others, distances) in enumerate(zip(self._others, self._bits, strict=True))
            for first, second, bits in sorted(
                {
                    (min(one, other), max(one, other), int(distances[one]))
                    for one, other in enumerate(others.tolist())
                    if other >= 0
                }
            )
        ]

    def _compare_within(self, order: Indices, start: Indices, stop: Indices, step: int) -> None:
        """Compare hashes without a near-duplicate of kind 0 with the next ones of their group."""
        (places,) = np.nonzero(self._others[0, order] < 0)
        apart = 0
        while len(places):
            apart += step
            there = places + apart
            places = places[(start[places] <= there) & (there < stop[places])]
            self._note(order[places], order[places + apart], np.zeros_like(places))
            places = places[self._others[0, order[places]] < 0]

    def _compare_across(self, order: Indices, run_stop: Indices, key_stop: Indices) -> None:
        """Compare hashes with later hashes of other groups."""
        places, beyond = np.arange(len(order)), 0
        while len(places):
            places = places[run_stop[places] + beyond < key_stop[places]]
            first, second = order[places], order[run_stop[places] + beyond]
            self._note(first, second, self._kind_of(first, second))
            beyond += 1

    def _note(self, first: Indices, second: Indices, kind: Indices) -> None:
        """Record near pairs that are nearer than the recorded ones."""
        bits = np.bitwise_count(self._words[first] ^ self._words[second]).sum(1, dtype=np.int64)
        (near,) = np.nonzero(bits <= RADIUS)
        near = near[np.lexsort((first[near], second[near], bits[near]))[::-1]]
        for one, other in ((first[near], second[near]), (second[near], first[near])):
            better = bits[near] < self._bits[kind[near], one]
            at = kind[near][better], one[better]
            self._others[at] = other[better]  # of repeated positions, the last is the nearest
            self._bits[at] = bits[near][better]


def _spans(is_new: NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """Return the start and stop of the run that contains each position."""
    (starts,) = np.nonzero(is_new)
    stretch = np.cumsum(is_new) - 1
    return starts[stretch], np.append(starts, len(is_new))[stretch + 1]
