"""Test splits with fewer images an identity: at most so many, and none that is nearly another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.data.audit.inspection import inspect_all
from dccc_lightning.data.audit.near_duplicates import RADIUS
from dccc_lightning.data.records import UNKNOWN, Records, ReIDDataset, Splits

Ints = NDArray[np.int64]


@dataclass(eq=False)
class LimitedTest:
    """Dataset whose test identities have fewer images.

    Attributes:
        dataset: Dataset whose training images stay as they are.
        most: Most images of an identity, queries included, evenly spaced; None for all. Images of
            unknown identity are kept.
        drop_duplicates: Leave out images whose perceptual hash differs in at most ``RADIUS`` bits
            from that of a query or of an earlier image of their identity.
        name: Name of the dataset.
    """

    dataset: ReIDDataset
    most: int | None
    drop_duplicates: bool

    def __post_init__(self) -> None:
        self.name = self.dataset.name

    def splits(self) -> Splits:
        """Return the splits with a limited test split, as ``ReIDDataset``."""
        return self._splits

    @cached_property
    def _splits(self) -> Splits:
        splits = self.dataset.splits()
        identities = np.concatenate([splits.query.identities, splits.gallery.identities])
        kept = np.ones(len(identities), dtype=bool)
        if self.drop_duplicates and len(identities):
            kept = _distinct(identities, [*splits.query.paths, *splits.gallery.paths])
        if self.most is not None:
            kept &= _spaced(identities, kept, len(splits.query), self.most)
        query, gallery = np.split(kept, [len(splits.query)])
        return replace(
            splits,
            query=_select(splits.query, query),
            gallery=_select(splits.gallery, gallery),
        )


def limited(
    dataset: ReIDDataset, most_per_identity: int | None, drop_duplicates: bool
) -> ReIDDataset:
    """Return a dataset with a limited test split; the same if nothing is limited."""
    if most_per_identity is None and not drop_duplicates:
        return dataset
    return LimitedTest(dataset, most_per_identity, drop_duplicates)


def _select(records: Records, kept: NDArray[np.bool_]) -> Records:
    return records if kept.all() else records.select(np.flatnonzero(kept))


def _members(identities: Ints) -> list[Ints]:
    """Return the positions of the images of each known identity."""
    known = np.unique(identities[identities != UNKNOWN])
    return [np.flatnonzero(identities == identity) for identity in known]


def _spaced(
    identities: Ints, kept: NDArray[np.bool_], queries: int, most: int
) -> NDArray[np.bool_]:
    """Return a mask of the queries, and of evenly spaced others up to ``most`` an identity."""
    chosen = np.ones(len(identities), dtype=bool)
    for members in _members(identities):
        images = members[kept[members]]
        others = images[images >= queries]
        room = max(1, most - (len(images) - len(others)))
        if len(others) > room:
            places = np.linspace(0, len(others) - 1, room).round().astype(np.int64)
            chosen[np.delete(others, places)] = False
    return chosen


def _distinct(identities: Ints, paths: Sequence[Path]) -> NDArray[np.bool_]:
    """Return a mask of the images that are no near-duplicate of an earlier one of theirs."""
    hashes = [look.likeness for look in inspect_all(paths, progress=False)]
    kept = np.ones(len(identities), dtype=bool)
    for images in _members(identities):
        seen: list[int] = []
        for image in images.tolist():
            own = hashes[image]
            if own is None:
                continue  # unreadable: reported where it is read
            bits = int.from_bytes(own)
            kept[image] = all((bits ^ other).bit_count() > RADIUS for other in seen)
            if kept[image]:
                seen.append(bits)
    return kept
