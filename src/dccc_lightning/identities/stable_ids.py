"""Ids that stay: new clusters take the ids of the old ones that their images were in."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_NUMBERED = re.compile(r"id([0-9]{1,18})")


class Continued(NamedTuple):
    """Ids of a new clustering.

    Attributes:
        ids: Id of each cluster.
        opened: Ids that are new.
        retired: For each earlier id that is in no cluster, the id that most of its images have now.
    """

    ids: list[str]
    opened: list[str]
    retired: dict[str, str]


def continued(
    labels: NDArray[np.int64], earlier: Sequence[str | None], used: Iterable[str] = ()
) -> Continued:
    """Give each cluster the id of the earlier identity with which it shares most images.

    Pairs of cluster and earlier identity are matched one to one, greedily by the number of images
    in common, ties by id, then by cluster; numbers of clusters are without influence. A cluster
    without a match opens a new id, ``id0001`` and so on, in the order of the clusters. No id is
    used twice: numbers go on after the highest in ``earlier`` and ``used``.

    Args:
        labels: (N,) clusters from 0.
        earlier: Id of each image so far, None for a new image; any text.
        used: Ids that are taken, though no image has them.

    >>> found = continued(np.array([0, 0, 1, 2]), ["0007", "0007", "NA", None])
    >>> found.ids, found.opened
    (['0007', 'NA', 'id0001'], ['id0001'])
    """
    common = Counter(
        (int(label), old) for label, old in zip(labels, earlier, strict=True) if old is not None
    )
    ids: dict[int, str] = {}
    given: set[str] = set()
    for (label, old), _ in sorted(common.items(), key=lambda p: (-p[1], p[0][1], p[0][0])):
        if label not in ids and old not in given:
            ids[label] = old
            given.add(old)
    known = {old for _, old in common}
    number = max(map(_number, (*known, *used)), default=0)
    opened = []
    for label in range(int(labels.max(initial=-1)) + 1):
        if label not in ids:
            number += 1
            ids[label] = f"id{number:04d}"
            opened.append(ids[label])
    retired = {
        old: ids[
            max((count, -label) for (label, own), count in common.items() if own == old)[1] * -1
        ]
        for old in sorted(known - given)
    }
    return Continued([ids[label] for label in sorted(ids)], opened, retired)


def _number(identity: str) -> int:
    match = _NUMBERED.fullmatch(identity)
    return int(match[1]) if match else 0
