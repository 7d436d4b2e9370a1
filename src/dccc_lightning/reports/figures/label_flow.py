"""Where the images of the last epoch's clusters have gone."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def label_flow(labels: Ints, previous: Ints) -> dict[str, int]:
    """Count images by what became of them, and clusters that came together or fell apart.

    Clusters of the two epochs are matched one to one as ``quality.churn`` matches them: greedily by
    the number of images they share.

    Args:
        labels: (N,) of this epoch, -1 for outliers.
        previous: (N,) of the last one.

    Returns:
        Images: ``kept`` (in the cluster matched with theirs), ``moved`` (in another), ``left``
        (now outliers), ``joined`` (outliers before), ``out`` (outliers in both). Clusters:
        ``merged`` (two or more earlier ones put more than half of their images into it), ``split``
        (of earlier ones: two or more new ones drew more than half of their images from it).

    >>> label_flow(np.array([0, 0, 1, 1, -1]), np.array([5, 5, 3, -1, -1]))
    {'kept': 3, 'moved': 0, 'left': 0, 'joined': 1, 'out': 1, 'merged': 0, 'split': 0}
    """
    both = (labels >= 0) & (previous >= 0)
    now, before, counts = _shared(labels[both], previous[both])
    kept = 0
    taken: tuple[set[int], set[int]] = set(), set()
    for place in np.argsort(-counts, kind="stable"):
        if now[place] not in taken[0] and before[place] not in taken[1]:
            taken[0].add(int(now[place]))
            taken[1].add(int(before[place]))
            kept += int(counts[place])
    return {
        "kept": kept,
        "moved": int(both.sum()) - kept,
        "left": int(np.sum((labels < 0) & (previous >= 0))),
        "joined": int(np.sum((labels >= 0) & (previous < 0))),
        "out": int(np.sum((labels < 0) & (previous < 0))),
        "merged": _gathered(now, before, counts, previous),
        "split": _gathered(before, now, counts, labels),
    }


def _shared(first: Ints, second: Ints) -> tuple[Ints, Ints, Ints]:
    pairs, counts = np.unique(np.stack([first, second]), axis=1, return_counts=True)
    return pairs[0], pairs[1], counts


def _gathered(wholes: Ints, parts: Ints, counts: Ints, labels: Ints) -> int:
    """Count the wholes that hold more than half of each of several parts, whose ``labels`` are."""
    values, sizes = np.unique(labels, return_counts=True)
    major = 2 * counts > sizes[np.searchsorted(values, parts)]
    return int(np.sum(np.unique(wholes[major], return_counts=True)[1] > 1))
