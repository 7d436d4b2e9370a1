"""Exchanges of people: moments at which a tracklet goes on with another individual.

Trackers exchange people where they pass each other. The images of such a tracklet fall into two
appearances, one after the other: the later one is that of a tracklet beside it before, the earlier
one that of a tracklet beside it afterwards. How alike two individuals of one camera may look is
known without labels: tracklets of a camera that overlap in time show two.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.clustering.constraints import Ints, Links
from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.neighbors.embeddings import UnitEmbeddings

SHARE = 0.95
"""Share of pairs of different individuals that are less alike than the limit."""

PAIRS = 20
"""Least number of such pairs: with fewer, the limit is unknown and nothing is cut."""

LEAST = 2
"""Least images on either side of an exchange."""


class Change(NamedTuple):
    """Change of appearance in a sequence of images.

    Attributes:
        at: First image after it.
        across: Mean cosine of the images before and after it.
        within: Mean cosine of the images on one side, the lower one.
    """

    at: int
    across: float
    within: float


def largest_change(rows: NDArray[np.float64]) -> Change:
    """Return the change with the largest difference of ``within`` and ``across``.

    Args:
        rows: (M, D) unit vectors in the order of time, M at least twice ``LEAST``.
    """
    before = np.arange(LEAST, len(rows) - LEAST + 1)
    after = len(rows) - before
    sums = rows.cumsum(axis=0)
    left = sums[before - 1]
    right = sums[-1] - left
    sides = [
        ((total**2).sum(axis=1) - size) / (size * (size - 1))
        for total, size in ((left, before), (right, after))
    ]
    within, across = np.minimum(*sides), (left * right).sum(axis=1) / (before * after)
    best = int((within - across).argmax())
    return Change(int(before[best]), float(across[best]), float(within[best]))


def after_exchanges(
    unit: UnitEmbeddings, tracklets: Ints, frames: Ints, overlaps: Links
) -> NDArray[np.bool_]:
    """Return True for each image (N,) that follows an exchange in its tracklet.

    The limit is the mean cosine below which ``SHARE`` of the overlapping tracklets are. A tracklet
    has an exchange at its largest change, if its sides are less alike than the limit and each side
    more alike, and if both sides are more alike than that to images of overlapping tracklets: the
    later side to earlier ones, the earlier side to later ones. Costs are linear in images and
    overlaps.

    Args:
        unit: Embeddings (N, D).
        tracklets: (N,) first image of the tracklet of each image.
        frames: (N,) frames, ``UNKNOWN`` where unknown; tracklets with such images are not cut.
        overlaps: First images of tracklets of one camera that overlap in time.
    """
    follows = np.zeros(len(tracklets), dtype=np.bool_)
    if len(overlaps.first) < PAIRS:
        return follows
    order = np.lexsort([frames, tracklets])
    starts = np.flatnonzero(np.diff(tracklets[order], prepend=-1))
    images = {int(tracklets[own[0]]): own for own in np.split(order, starts[1:])}

    def rows(chosen: Ints) -> NDArray[np.float64]:
        return unit.rows[chosen].astype(np.float64)

    beside: dict[int, list[int]] = defaultdict(list)
    for one, other in zip(overlaps.first.tolist(), overlaps.second.tolist(), strict=True):
        beside[one].append(other)
        beside[other].append(one)
    means = {first: rows(images[first]).mean(axis=0) for first in beside}
    pairs = ((one, other) for one, others in beside.items() for other in others if one < other)
    limit = np.quantile([means[one] @ means[other] for one, other in pairs], SHARE)
    for first, own in images.items():
        if first not in beside or len(own) < 2 * LEAST or (frames[own] == UNKNOWN).any():
            continue
        change = largest_change(rows(own))
        if not change.across < limit < change.within:
            continue
        left, right = np.split(own, [change.at])
        others = [images[other] for other in beside[first]]
        earlier = [theirs[frames[theirs] <= frames[right[0]]] for theirs in others]
        later = [theirs[frames[theirs] >= frames[left[-1]]] for theirs in others]
        if all(
            any(
                rows(side).mean(axis=0) @ rows(theirs).mean(axis=0) > limit
                for theirs in partners
                if len(theirs)
            )
            for side, partners in ((right, earlier), (left, later))
        ):
            follows[right] = True
    return follows
