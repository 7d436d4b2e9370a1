"""Questions to a person about identities, the most doubtful first: which to merge or to split."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from dccc_lightning.clustering.constraints import Constraints
from dccc_lightning.metrics.cluster_margins import Margins, cluster_margins
from dccc_lightning.neighbors.camera_normalization import any_camera_repeats, center
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.neighbors.nearest import knn

Ints = NDArray[np.int64]

MERGE, SPLIT = "merge", "split"

_BLOCK = 4096

_NEAREST = 4
"""Identities that are compared with each, itself included."""

_ANOTHER_CAMERA = 0.1
"""Doubt added by each further camera that sees an identity at the same time."""


class Question(NamedTuple):
    """Do images of two groups show one individual?

    Attributes:
        kind: ``MERGE`` of two identities, or ``SPLIT`` of one.
        first: Images of one group, its typical or most doubtful image first.
        second: Images of the other group, its typical image first.
    """

    kind: str
    first: list[int]
    second: list[int]


class Suggestions(NamedTuple):
    """The first questions, merges before splits: they bring more (docs/identities.md).

    Attributes:
        questions: At most as many of a kind as were wanted.
        left_out: Number of questions beyond these.
    """

    questions: list[Question]
    left_out: int


def suggestions(
    unit: UnitEmbeddings,
    labels: Ints,
    constraints: Constraints,
    cameras: Ints,
    moments: Sequence[object],
    most: int = 30,
    tiles: int = 6,
) -> Suggestions:
    """Choose questions about identities.

    The mean of its camera is subtracted from each embedding, for otherwise the nearest identities
    are those of one camera. Merges: an identity and one of its three nearest, by the cosine of
    their centres; each identity is in one merge at most, so that answers are spread. Splits: one
    for each identity, of an image that is in one frame with another one, else of the image with
    the lowest margin; its side are the images that are nearer to it than to the typical image.
    Pairs that the constraints decide are left out. A group shows one image of each tracklet or
    earlier decision, the nearest to its first image first.

    Args:
        unit: Embeddings (N, D).
        labels: (N,) identities from 0.
        constraints: Images known to be the same or different.
        cameras: (N,) cameras, -1 where unknown.
        moments: N session and frame of each image, None where unknown.
        most: Questions of a kind.
        tiles: Images of a group.
    """
    unit = center(unit, cameras) if any_camera_repeats(cameras) else unit
    margins = cluster_margins(labels, unit)
    typical = _typical(labels, margins)
    members = _members(labels)
    groups = constraints.groups

    def shown(first: int, among: Ints) -> list[int]:
        near = among[np.argsort(-(unit.rows[among] @ unit.rows[first]), kind="stable")]
        near = np.concatenate([[first], near])
        return [
            int(i) for i in near[np.sort(np.unique(groups[near], return_index=True)[1])][:tiles]
        ]

    pairs = _nearest_pairs(unit, labels, constraints)
    merges = [
        Question(MERGE, shown(typical[a], members[a]), shown(typical[b], members[b]))
        for a, b in _spread(pairs)[:most]
    ]
    frames = [
        None if moment is None else (camera, moment)
        for camera, moment in zip(cameras.tolist(), moments, strict=True)
    ]
    doubtful = _doubtful(labels, margins, typical, groups, frames)
    splits = []
    for one, other in doubtful[:most]:
        own = members[labels[one]]
        near = unit.rows[own] @ unit.rows[one] > unit.rows[own] @ unit.rows[other]
        near = near & (groups[own] != groups[other])
        rest = own[~np.isin(groups[own], groups[own[near]])]
        splits.append(Question(SPLIT, shown(one, own[near]), shown(other, rest)))
    questions = merges + splits
    return Suggestions(questions, len(pairs) + len(doubtful) - len(questions))


def doubts(labels: Ints, margins: Margins, cameras: Ints, moments: Sequence[object]) -> Ints:
    """Return the identities, the most doubtful first.

    Doubt is the lowest margin (negated), 1 for each image beyond the first of a camera and moment,
    and 0.1 for each camera beyond the first at one moment.

    Args:
        labels: (N,) identities from 0.
        margins: Of ``labels``.
        cameras: (N,) cameras.
        moments: N session and frame of each image, None where unknown.
    """
    doubt = np.full(int(labels.max()) + 1, -np.inf)
    np.maximum.at(doubt, labels, -np.nan_to_num(margins.margin))
    places = zip(labels.tolist(), moments, cameras.tolist(), strict=True)
    seen = Counter(place for place in places if place[1] is not None)
    for (label, _, _), count in seen.items():
        doubt[label] += count - 1
    at_once = Counter((label, moment) for label, moment, _ in seen)
    for (label, _), count in at_once.items():
        doubt[label] += _ANOTHER_CAMERA * (count - 1)
    return np.argsort(-doubt, kind="stable")


def _members(labels: Ints) -> list[Ints]:
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels))[:-1])


def _typical(labels: Ints, margins: Margins) -> Ints:
    """Return the image of each identity that is nearest to its centre."""
    order = np.lexsort((margins.own, labels))
    return order[np.unique(labels[order], return_index=True)[1]]


def _nearest_pairs(
    unit: UnitEmbeddings, labels: Ints, constraints: Constraints
) -> list[tuple[int, int]]:
    """Return near pairs of identities, the nearest first, without those that are kept apart."""
    count = int(labels.max()) + 1
    sums = torch.zeros(count, unit.rows.shape[1], dtype=torch.float64)
    for start in range(0, len(labels), _BLOCK):
        own, rows = (part[start : start + _BLOCK] for part in (labels, unit.rows))
        sums.index_add_(0, torch.from_numpy(own), torch.from_numpy(rows).double())
    distances, nearest = knn(F.normalize(sums, dim=1).float(), min(_NEAREST, count))
    low = np.repeat(np.arange(count), nearest.shape[1] - 1)
    high = nearest[:, 1:].ravel()
    rank = np.lexsort((np.maximum(low, high), np.minimum(low, high), distances[:, 1:].ravel()))
    apart = constraints.apart
    pairs = dict.fromkeys(
        (int(min(low[n], high[n])), int(max(low[n], high[n]))) for n in rank.tolist()
    )
    for one, other in zip(labels[apart.first].tolist(), labels[apart.second].tolist(), strict=True):
        pairs.pop((min(one, other), max(one, other)), None)
    return list(pairs)


def _spread(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the first pairs whose identities are in no pair before."""
    taken: set[int] = set()
    kept = []
    for pair in pairs:
        if taken.isdisjoint(pair):
            taken.update(pair)
            kept.append(pair)
    return kept


def _doubtful(
    labels: Ints, margins: Margins, typical: Ints, groups: Ints, frames: Sequence[object]
) -> list[tuple[int, int]]:
    """Return a pair of images of one identity each, the most doubtful first."""
    pairs: dict[int, tuple[int, int]] = {}
    seen: dict[tuple[int, object], int] = {}
    doubt = np.where(np.isnan(margins.margin), -margins.own, margins.margin)
    for image in np.argsort(-doubt, kind="stable").tolist():
        if (frame := frames[image]) is not None:
            other = seen.setdefault((int(labels[image]), frame), image)
            if groups[other] != groups[image]:
                pairs[int(labels[image])] = image, other
    pairs = dict(sorted(pairs.items(), key=lambda pair: doubt[pair[1][0]]))
    for image in np.argsort(doubt, kind="stable").tolist():
        other = int(typical[labels[image]])
        if groups[image] != groups[other]:
            pairs.setdefault(int(labels[image]), (image, other))
    return list(pairs.values())
