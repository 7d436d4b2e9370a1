"""Verification of a dataset: counts of its splits and checks of every file."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from dccc_lightning.data.audit.image_sizes import Sizes, sizes_of
from dccc_lightning.data.audit.inspection import Inspection, inspect_all
from dccc_lightning.data.audit.likeness import TITLES, near_duplicates
from dccc_lightning.data.audit.split_images import SPLITS, SplitImage, is_match, split_images
from dccc_lightning.data.datasets.official_counts import Counts, Facts, Unverified
from dccc_lightning.data.records import UNKNOWN, Splits

MEASURES = ("images", "identities", "cameras")
DUPLICATES = ("leaked", "two_identities", "query_in_gallery", "duplicates")
"""Defects of files of equal content, most severe first."""


@dataclass(frozen=True)
class Figure:
    """A count of a split and the official count.

    Attributes:
        split: One of ``SPLITS``, or "total".
        measure: One of ``MEASURES``.
        found: Count in the dataset.
        official: Official count; None if unknown.
    """

    split: str
    measure: str
    found: int
    official: int | None

    @property
    def is_verified(self) -> bool:
        """True if the official count is verified, so that a difference is an error."""
        return self.official is not None and not isinstance(self.official, Unverified)

    @property
    def differs(self) -> bool:
        """True if an official count is known and differs."""
        return self.official is not None and self.found != self.official

    def __str__(self) -> str:
        return f"{self.found:,} {self.measure} in {self.split}, expected {self.official:,}"


@dataclass(frozen=True)
class Check:
    """Result of the search for one kind of defect.

    Attributes:
        key: Name in verify.json.
        title: Name in the printed report.
        is_fatal: True for an error, False for a warning.
        items: Defects found, one line each; None if the check does not apply to the dataset.
    """

    key: str
    title: str
    is_fatal: bool
    items: tuple[str, ...] | None

    def __str__(self) -> str:
        return f"{self.title}: {len(self.items or ()):,}"


@dataclass(frozen=True)
class Report:
    """Result of verifying a dataset.

    Attributes:
        figures: Counts of the splits.
        checks: Results of all checks, with and without defects.
        sizes: Statistics of the image sizes; None if no image can be decoded.
        notes: Warnings of the dataset's reader.
    """

    figures: tuple[Figure, ...]
    checks: tuple[Check, ...]
    sizes: Sizes | None = None
    notes: tuple[str, ...] = ()

    @property
    def errors(self) -> list[str]:
        """Differing counts and fatal defects, one line each."""
        return [str(f) for f in self.figures if f.differs and f.is_verified] + [
            str(check) for check in self.checks if check.items and check.is_fatal
        ]

    @property
    def warnings(self) -> list[str]:
        """Differing unverified counts, other defects and notes, one line each."""
        return (
            [str(f) for f in self.figures if f.differs and not f.is_verified]
            + [str(check) for check in self.checks if check.items and not check.is_fatal]
            + list(self.notes)
        )


def examine(
    splits: Splits, facts: Facts, progress: bool = True, notes: Sequence[str] = ()
) -> Report:
    """Compare the counts of ``splits`` with the official ones and inspect every file in parallel.

    Args:
        splits: Splits of the dataset.
        facts: Official counts of the dataset.
        progress: Show a progress bar.
        notes: Warnings of the dataset's reader.
    """
    parts = [getattr(splits, split) for split in SPLITS]
    inspections = inspect_all([path for part in parts for path in part.paths], progress)
    return Report(
        tuple(compare_counts(splits, facts)),
        tuple(run_checks(splits, facts, inspections)),
        sizes_of(inspections),
        tuple(notes),
    )


def compare_counts(splits: Splits, facts: Facts) -> Iterator[Figure]:
    """Yield the counts of each split and of all splits, with the official ones."""
    for split in (*SPLITS, "total"):
        names = SPLITS if split == "total" else (split,)
        found, official = Counts.of(*(getattr(splits, n) for n in names)), getattr(facts, split)
        for measure in MEASURES:
            yield Figure(split, measure, getattr(found, measure), getattr(official, measure))


def run_checks(splits: Splits, facts: Facts, inspections: Sequence[Inspection]) -> Iterator[Check]:
    """Yield the result of every check.

    Args:
        splits: Splits of the dataset.
        facts: Official counts of the dataset.
        inspections: Inspections of the training, query and gallery images, in this order.
    """
    images = list(split_images(splits))
    looks = list(zip(images, inspections, strict=True))
    empty = tuple(image.name for image, look in looks if look.is_empty)
    broken = tuple(f"{image.name}: {look.problem}" for image, look in looks if look.problem)
    yield Check("empty", "empty files", True, empty)
    yield Check("unreadable", "files that cannot be decoded", True, broken)
    yield Check("shared_identities", "identities in training and test", True, _shared(splits))

    by_content: defaultdict[bytes, list[SplitImage]] = defaultdict(list)
    for image, look in looks:
        if look.digest is not None:
            by_content[look.digest].append(image)
    found: dict[str | None, list[str]] = defaultdict(list)
    for group in by_content.values():
        if len(group) > 1:
            defect = _worst_defect(group, facts.gallery_holds_queries)
            found[defect].append(" = ".join(image.name for image in group))
    leaked, two_identities, query_in_gallery, duplicates = (tuple(found[d]) for d in DUPLICATES)
    yield Check("leaked", "images in training and test", True, leaked)
    yield Check("two_identities", "images under two identities", True, two_identities)
    yield Check("query_in_gallery", "queries with themselves as a match", True, query_in_gallery)
    yield Check("duplicates", "other duplicate images", False, duplicates)

    near = near_duplicates(images, inspections)
    for kind, (key, title) in TITLES.items():
        yield Check(key, title, False, near[kind])
    paged = tuple(f"{image.name}: {look.pages} pages" for image, look in looks if look.pages > 1)
    yield Check("pages", "files with several pages, first used", False, paged)

    queries = [image for image in images if image.split == "query" and image.identity != UNKNOWN]
    lonely = _unmatched(queries, [image for image in images if image.split == "gallery"])
    yield Check("unmatched", "queries without a match", len(lonely) == len(queries), lonely)


def _shared(splits: Splits) -> tuple[str, ...] | None:
    """Return identities in both training and test; None if they are numbered separately."""
    if splits.shared_identities is None:
        return None
    tested = np.concatenate([splits.query.identities, splits.gallery.identities])
    both = set(np.intersect1d(splits.train.identities, tested).tolist()) - {UNKNOWN}
    return tuple(f"{identity:04d}" for identity in sorted(both | {*splits.shared_identities}))


def _worst_defect(group: Sequence[SplitImage], gallery_holds_queries: bool) -> str | None:
    """Return which of ``DUPLICATES`` images of equal content are; None if intended."""
    train, query, gallery = ([image for image in group if image.split == s] for s in SPLITS)
    if train and (query or gallery):
        return "leaked"
    if len({image.identity for image in group} - {UNKNOWN}) > 1:
        return "two_identities"
    if any(is_match(image, other) for image, other in product(query, gallery)):
        return "query_in_gallery"
    if gallery_holds_queries and len(query) == len(gallery) == 1:
        return None
    return "duplicates"


def _unmatched(queries: Sequence[SplitImage], gallery: Sequence[SplitImage]) -> tuple[str, ...]:
    """Return the names of queries without a match in the gallery."""
    seen = {image[2:]: image for image in gallery}
    by_identity: defaultdict[int, list[SplitImage]] = defaultdict(list)
    for image in seen.values():  # one image of each combination of labels suffices
        by_identity[image.identity].append(image)
    return tuple(
        query.name
        for query in queries
        if not any(is_match(query, image) for image in by_identity[query.identity])
    )
