"""Exchanges of people: moments at which two tracklets go on with each other's individual.

Trackers exchange people where they pass each other. From that moment each of the two tracklets
looks as the other one did before. How alike two individuals of one camera may look is known without
labels: tracklets of a camera that overlap in time show two.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.clustering.constraints import Ints, Links
from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.neighbors.embeddings import UnitEmbeddings

Floats = NDArray[np.float64]

SHARE = 0.95
"""Share of pairs of different individuals that are less alike than the limit."""

PAIRS = 20
"""Least number of such pairs: with fewer, the limit is unknown and nothing is cut."""

ROUNDING = 1e-6
"""Difference from the limit that may be a rounding error of float32, as among equal images."""


class Exchange(NamedTuple):
    """Likeliest moment at which two tracklets exchanged their individuals.

    Attributes:
        after: Last frame before it.
        within: Mean cosine of the images before and after it in a tracklet, mean of both.
        across: Mean cosine of those before it in one and after it in the other, mean of both.
    """

    after: int
    within: float
    across: float


def likeliest_exchange(
    one: Floats, one_frames: Ints, other: Floats, other_frames: Ints
) -> Exchange | None:
    """Return the moment at which ``across`` exceeds ``within`` most.

    None if no moment has images before and after it in both tracklets.

    Args:
        one: (M, D) unit vectors in the order of their frames.
        one_frames: (M,) frames.
        other: The same of the other tracklet.
        other_frames: As ``one_frames``.
    """
    frames = np.unique(np.concatenate([one_frames, other_frames]))
    first = max(one_frames[0], other_frames[0])
    last = min(one_frames[-1], other_frames[-1])
    frames = frames[(frames >= first) & (frames < last)]
    if not len(frames):
        return None
    before, after = _sides(one, one_frames, frames)
    their_before, their_after = _sides(other, other_frames, frames)
    within = (before * after + their_before * their_after).sum(axis=1) / 2
    across = (before * their_after + their_before * after).sum(axis=1) / 2
    best = int((across - within).argmax())
    return Exchange(int(frames[best]), float(within[best]), float(across[best]))


def after_exchanges(
    unit: UnitEmbeddings, tracklets: Ints, frames: Ints, overlaps: Links
) -> NDArray[np.bool_]:
    """Return True for each image (N,) that follows an exchange in its tracklet.

    The limit is the mean cosine below which ``SHARE`` of the overlapping tracklets are. Two of them
    exchanged their individuals at their likeliest moment if they are less alike than the limit
    within, and more alike across. A tracklet takes part in one exchange, that with the largest
    difference. Costs are linear in overlaps and the images of their tracklets.

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

    def rows(first: int) -> Floats:
        return unit.rows[images[first]].astype(np.float64)

    pairs = list(zip(overlaps.first.tolist(), overlaps.second.tolist(), strict=True))
    means = {first: rows(first).mean(axis=0) for first in {end for pair in pairs for end in pair}}
    limit = np.quantile([means[one] @ means[other] for one, other in pairs], SHARE)

    def exchanges() -> Iterator[tuple[float, int, int, int]]:
        for one, other in pairs:
            if (frames[[images[one][0], images[other][0]]] == UNKNOWN).any():
                continue
            ends = (rows(one), frames[images[one]], rows(other), frames[images[other]])
            found = likeliest_exchange(*ends)
            if found and found.within + ROUNDING < limit < found.across - ROUNDING:
                yield found.within - found.across, one, other, found.after

    done: set[int] = set()
    for _, one, other, moment in sorted(exchanges()):
        if not {one, other} & done:
            done |= {one, other}
            both = np.concatenate([images[one], images[other]])
            follows[both] = frames[both] > moment
    return follows


def _sides(rows: Floats, own: Ints, frames: Ints) -> tuple[Floats, Floats]:
    """Return the mean vectors (F, D) of the images up to each frame, and of those after it."""
    before = np.searchsorted(own, frames, side="right")[:, None]
    sums = rows.cumsum(axis=0)
    left = sums[before[:, 0] - 1]
    return left / before, (sums[-1] - left) / (len(rows) - before)
