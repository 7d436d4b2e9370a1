"""Official counts of datasets, for comparison with a copy."""

import warnings
from dataclasses import dataclass

import numpy as np

from dccc_lightning.data.records import UNKNOWN, Records, Splits


class Unverified(int):
    """Count that is unverified or disputed; a difference is a warning, not an error."""


class CountWarning(UserWarning):
    """Warning about a number of images that differs from the official one."""


@dataclass(frozen=True)
class Counts:
    """Numbers of images, distinct identities and distinct cameras; None if unknown."""

    images: int | None = None
    identities: int | None = None
    cameras: int | None = None

    @classmethod
    def of(cls, *parts: Records) -> "Counts":
        """Count the images, identities and cameras of ``parts`` together, without unknown ones.

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
    """Official counts of a dataset; the optional attribute ``facts`` of a dataset.

    Attributes:
        train: Counts of the training split, including validation if it is used for training.
        query: Counts of the query split.
        gallery: Counts of the gallery with distractors (one identity if they share a label).
        total: Counts of the three splits together.
        gallery_holds_queries: True if the gallery intentionally contains the query images.
    """

    train: Counts = Counts()
    query: Counts = Counts()
    gallery: Counts = Counts()
    total: Counts = Counts()
    gallery_holds_queries: bool = False

    def has_official_sizes(self, splits: Splits) -> bool:
        """Return True if each split has its official number of images."""
        official = (self.train.images, self.query.images, self.gallery.images)
        return official == (len(splits.train), len(splits.query), len(splits.gallery))

    def warn_if_different(self, splits: Splits) -> None:
        """Warn if the numbers of images in ``splits`` differ from the official ones."""
        official = (self.train.images, self.query.images, self.gallery.images)
        found = (len(splits.train), len(splits.query), len(splits.gallery))
        if any(o is not None and o != f for o, f in zip(official, found, strict=True)):
            # Python shows a warning once per place: reading the splits again does not repeat it.
            warnings.warn(
                f"{splits.name}: found {_listed(found)} images in {splits.root}, "
                f"expected {_listed(official)}",
                CountWarning,
                stacklevel=1,
            )


def _listed(counts: tuple[int | None, ...]) -> str:
    numbers = " / ".join("?" if count is None else f"{count:,}" for count in counts)
    return f"{numbers} train / query / gallery"
