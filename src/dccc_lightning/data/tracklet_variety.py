"""Variety of tracklets: images of a cluster from many tracklets, and from far apart in each.

Neighbouring frames of a tracklet are near-duplicates, so an image of another tracklet tells more
about an individual than the next frame does.
"""

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.data.records import UNKNOWN, Records

IntArray = NDArray[np.int64]


def tracklet_numbers(records: Records) -> IntArray | None:
    """Return a number (N,) for the tracklet of each image; None if no tracklet is known.

    Tracklets of other cameras or sessions are others, and an image without a tracklet is one of its
    own.
    """
    tracklets = records.column("tracklet")
    known = tracklets != UNKNOWN
    if not known.any():
        return None
    keys = np.stack([records.cameras, records.column("session"), tracklets], axis=1)
    numbers: IntArray = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    numbers[~known] = len(records) + np.arange(len(records))[~known]
    return numbers


def spread_offsets(sizes: IntArray) -> IntArray:
    """Return for each run of ``sizes`` its offsets in an order whose beginnings are spread.

    The order is that of the van der Corput sequence: the second offset is half a run away from the
    first, the next two halve the gaps, and so on.

    >>> spread_offsets(np.array([4, 1, 6])).tolist()
    [0, 2, 1, 3, 0, 0, 3, 2, 5, 1, 4]
    """
    offsets = np.empty(int(sizes.sum()), dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes).tolist():
        bits = max(1, (size - 1).bit_length())
        steps = (np.arange(size) << bits) // size
        reverse = sum(((steps >> bit) & 1) << (bits - 1 - bit) for bit in range(bits))
        rows = starts[sizes == size]
        offsets[rows[:, None] + np.arange(size)] = np.argsort(reverse)
    return offsets


def draw_varied(
    rng: np.random.Generator,
    first: IntArray,
    size: IntArray,
    offsets: IntArray,
    anchor: int,
    draws: int,
) -> IntArray:
    """Draw positions from runs, one of each run in turn, in random order of the runs.

    The images of a run are taken in the order of ``spread_offsets``, from a random image on. In the
    run of the anchor, if it is among these, the anchor counts as taken. Images repeat only when all
    are taken.

    Args:
        rng: Random generator.
        first: (R,) first position of each run.
        size: (R,) length of each run.
        offsets: ``spread_offsets`` of all runs, by position.
        anchor: Position of the anchor.
        draws: Number of positions.
    """
    order = rng.permutation(len(first))
    first, size = first[order], size[order]
    start = rng.integers(0, size)
    own = (first <= anchor) & (anchor < first + size)
    start[own] = anchor - first[own]
    found: list[IntArray] = []
    drawn = turn = 0
    while drawn < draws and turn < size.max():
        there = size > turn if turn else ~own
        at = first[there]
        found.append(at + (start[there] + offsets[at + turn]) % size[there])
        drawn, turn = drawn + len(at), turn + 1
    return np.resize(np.concatenate(found) if drawn else np.array([anchor]), draws)
