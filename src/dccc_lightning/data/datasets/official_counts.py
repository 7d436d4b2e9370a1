"""Official counts of datasets, for comparison with a copy."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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

    @classmethod
    def of(cls, settings: object) -> "Facts":
        """Return the facts that settings give: ``{train: {images: 12936, identities: 751?}}``.

        A count with a question mark is ``Unverified``.

        Raises:
            TypeError: A count is not a number, optionally with a question mark.
            ValueError: A split or a count has an unknown name.

        >>> Facts.of({"query": {"images": "10?"}}).query.images
        10
        """
        if settings is None:
            return cls()
        if not isinstance(settings, Mapping):
            raise TypeError(f"facts must be {{train: {{images: NUMBER}}, ...}}, got {settings!r}")
        found: dict[str, Any] = {}
        for split, counts in settings.items():
            if split == "gallery_holds_queries":
                found[split] = bool(counts)
            elif split not in ("train", "query", "gallery", "total"):
                raise ValueError(f"facts must be of train, query, gallery, total, got {split}")
            elif not isinstance(counts, Mapping) or not set(counts) <= set(vars(Counts())):
                names = ", ".join(vars(Counts()))
                raise ValueError(f"facts.{split} must have some of {names}, got {counts!r}")
            else:
                found[split] = Counts(**{k: _count(f"{split}.{k}", v) for k, v in counts.items()})
        return cls(**found)

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


def _count(name: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{1,12}\?", value, re.ASCII):
        return Unverified(value[:-1])
    raise TypeError(f"facts.{name} must be a number, with a ? if unverified, got {value!r}")


def _listed(counts: tuple[int | None, ...]) -> str:
    numbers = " / ".join("?" if count is None else f"{count:,}" for count in counts)
    return f"{numbers} train / query / gallery"
