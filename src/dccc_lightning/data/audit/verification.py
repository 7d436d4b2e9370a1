"""What can be wrong with a dataset, found by counting and by looking into every file of it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from dccc_lightning.data.audit.image_sizes import Sizes, sizes_of
from dccc_lightning.data.audit.inspection import Inspection, inspect_all
from dccc_lightning.data.audit.likeness import TITLES, near_duplicates
from dccc_lightning.data.audit.split_images import SPLITS, SplitImage, is_right, split_images
from dccc_lightning.data.datasets.official_counts import Counts, Facts, Unverified
from dccc_lightning.data.records import UNKNOWN, Splits

MEASURES = ("images", "identities", "cameras")
DUPLICATES = ("leaked", "two_identities", "query_in_gallery", "duplicates")
"""What can be wrong with files of equal content, the worst first."""


@dataclass(frozen=True)
class Figure:
    """One count of a split, beside the official one.

    Attributes:
        split: one of ``SPLITS``, or "total".
        measure: one of ``MEASURES``.
        found: the count.
        official: the official count; None where nobody says.
    """

    split: str
    measure: str
    found: int
    official: int | None

    @property
    def is_verified(self) -> bool:
        """Whether the official count is sure, so that another one is an error."""
        return self.official is not None and not isinstance(self.official, Unverified)

    @property
    def differs(self) -> bool:
        """Whether there is an official count, and it is another one."""
        return self.official is not None and self.found != self.official

    def __str__(self) -> str:
        return f"{self.found:,} {self.measure} in {self.split}, expected {self.official:,}"


@dataclass(frozen=True)
class Check:
    """One kind of defect, looked for.

    Attributes:
        key: its name in verify.json.
        title: its name for people.
        is_fatal: whether it makes the dataset unfit, or is only worth a warning.
        items: what was found, each in one line; None where there was no way to look.
    """

    key: str
    title: str
    is_fatal: bool
    items: tuple[str, ...] | None

    def __str__(self) -> str:
        return f"{self.title}: {len(self.items or ()):,}"


@dataclass(frozen=True)
class Report:
    """All that was found.

    Attributes:
        figures: the counts.
        checks: every kind of defect, found or not.
        sizes: of the images; None where none can be decoded.
        notes: warnings of the dataset's reader.
    """

    figures: tuple[Figure, ...]
    checks: tuple[Check, ...]
    sizes: Sizes | None = None
    notes: tuple[str, ...] = ()

    @property
    def errors(self) -> list[str]:
        """What makes the dataset unfit, one line each."""
        return [str(f) for f in self.figures if f.differs and f.is_verified] + [
            str(check) for check in self.checks if check.items and check.is_fatal
        ]

    @property
    def warnings(self) -> list[str]:
        """What is worth knowing, one line each."""
        return (
            [str(f) for f in self.figures if f.differs and not f.is_verified]
            + [str(check) for check in self.checks if check.items and not check.is_fatal]
            + list(self.notes)
        )


def examine(
    splits: Splits, facts: Facts, progress: bool = True, notes: Sequence[str] = ()
) -> Report:
    """Count what ``splits`` hold and inspect every file, in parallel.

    Args:
        splits: as the dataset has read itself.
        facts: what is known of the dataset.
        progress: show a progress bar.
        notes: warnings of the dataset's reader.
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
    """Yield the counts of each split and of all together, beside the official ones."""
    for split in (*SPLITS, "total"):
        names = SPLITS if split == "total" else (split,)
        found, official = Counts.of(*(getattr(splits, n) for n in names)), getattr(facts, split)
        for measure in MEASURES:
            yield Figure(split, measure, getattr(found, measure), getattr(official, measure))


def run_checks(splits: Splits, facts: Facts, inspections: Sequence[Inspection]) -> Iterator[Check]:
    """Yield every kind of defect, found or not.

    Args:
        splits: as the dataset has read itself.
        facts: what is known of the dataset.
        inspections: of the training, query and gallery images, in this order.
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
    yield Check("duplicates", "other images that are there twice", False, duplicates)

    near = near_duplicates(images, inspections)
    for kind, (key, title) in TITLES.items():
        yield Check(key, title, False, near[kind])
    paged = tuple(f"{image.name}: {look.pages} pages" for image, look in looks if look.pages > 1)
    yield Check("pages", "files of which the first page is read", False, paged)

    queries = [image for image in images if image.split == "query" and image.identity != UNKNOWN]
    lonely = _unmatched(queries, [image for image in images if image.split == "gallery"])
    yield Check("unmatched", "queries without a match", len(lonely) == len(queries), lonely)


def _shared(splits: Splits) -> tuple[str, ...] | None:
    """Return the identities in training and test, None where equal numbers mean nothing."""
    if splits.shared_identities is None:
        return None
    tested = np.concatenate([splits.query.identities, splits.gallery.identities])
    both = set(np.intersect1d(splits.train.identities, tested).tolist()) - {UNKNOWN}
    return tuple(f"{identity:04d}" for identity in sorted(both | {*splits.shared_identities}))


def _worst_defect(group: Sequence[SplitImage], gallery_holds_queries: bool) -> str | None:
    """Tell which of ``DUPLICATES`` images of equal content are; None if that is intended."""
    train, query, gallery = ([image for image in group if image.split == s] for s in SPLITS)
    if train and (query or gallery):
        return "leaked"
    if len({image.identity for image in group} - {UNKNOWN}) > 1:
        return "two_identities"
    if any(is_right(image, other) for image, other in product(query, gallery)):
        return "query_in_gallery"
    if gallery_holds_queries and len(query) == len(gallery) == 1:
        return None
    return "duplicates"


def _unmatched(queries: Sequence[SplitImage], gallery: Sequence[SplitImage]) -> tuple[str, ...]:
    """Return the names of the queries that no gallery image is right for."""
    seen = {(image.identity, image.camera): image for image in gallery}
    by_identity: defaultdict[int, list[SplitImage]] = defaultdict(list)
    for image in seen.values():  # one image of each camera tells
        by_identity[image.identity].append(image)
    return tuple(
        query.name
        for query in queries
        if not any(is_right(query, image) for image in by_identity[query.identity])
    )
