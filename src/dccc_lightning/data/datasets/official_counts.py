"""What is known of a dataset before it is read: official counts, to compare a copy with."""

import warnings
from dataclasses import dataclass

import numpy as np

from dccc_lightning.data.records import UNKNOWN, Records, Splits


class Unverified(int):
    """A count that sources disagree on, or that nobody checked: to differ from it is no error."""


class CountWarning(UserWarning):
    """A dataset has other numbers of images than its authors say."""


@dataclass(frozen=True)
class Counts:
    """Numbers of images, of distinct identities and of distinct cameras; None where unknown."""

    images: int | None = None
    identities: int | None = None
    cameras: int | None = None

    @classmethod
    def of(cls, *parts: Records) -> "Counts":
        """Count what ``parts`` hold together; an unknown identity or camera is not one.

        >>> from pathlib import Path
        >>> Counts.of(Records.from_rows([(Path("a.jpg"), 7, 0), (Path("b.jpg"), -1, 3)]))
        Counts(images=2, identities=1, cameras=2)
        """
        identities = np.concatenate([part.identities for part in parts])
        cameras = np.concatenate([part.cameras for part in parts])
        return cls(
            sum(len(part) for part in parts),
            len(np.unique(identities[identities != UNKNOWN])),
            len(np.unique(cameras[cameras != UNKNOWN])),
        )


@dataclass(frozen=True)
class Facts:
    """What a dataset's authors say of it; a dataset may have them as its attribute ``facts``.

    Attributes:
        train: counts of the training split, validation included where training uses it.
        query: counts of the query split.
        gallery: counts of the gallery, distractors included (one identity if all share a label).
        total: counts of all three together.
        gallery_holds_queries: whether the gallery contains the query images again, by intention.
    """

    train: Counts = Counts()
    query: Counts = Counts()
    gallery: Counts = Counts()
    total: Counts = Counts()
    gallery_holds_queries: bool = False

    def has_official_sizes(self, splits: Splits) -> bool:
        """Tell whether each split has the number of images that its authors say it has."""
        official = (self.train.images, self.query.images, self.gallery.images)
        return official == (len(splits.train), len(splits.query), len(splits.gallery))

    def warn_if_different(self, splits: Splits) -> None:
        """Warn in one line if ``splits`` has other numbers of images; that is no refusal."""
        official = (self.train.images, self.query.images, self.gallery.images)
        found = (len(splits.train), len(splits.query), len(splits.gallery))
        if any(o is not None and o != f for o, f in zip(official, found, strict=True)):
            # One place for all callers: Python then shows it once, however often splits are read.
            warnings.warn(
                f"{splits.name}: found {_listed(found)} images in {splits.root}, "
                f"expected {_listed(official)}",
                CountWarning,
                stacklevel=1,
            )


def _listed(counts: tuple[int | None, ...]) -> str:
    numbers = " / ".join("?" if count is None else f"{count:,}" for count in counts)
    return f"{numbers} train / query / gallery"
