"""One's own images: a tree of files, with cameras and identities or without."""

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence

from dccc_lightning.common import checks
from dccc_lightning.data.datasets.image_labels import (
    GALLERY,
    QUERY,
    TRAIN,
    ImageLabels,
    PathPattern,
    read_table,
)
from dccc_lightning.data.datasets.image_tree import walk_images
from dccc_lightning.data.datasets.label_rules import DISTRACTORS, JUNK, LabelRules
from dccc_lightning.data.datasets.split_assignment import assign_splits
from dccc_lightning.data.datasets.unknown_labels import UNKNOWN_WORDS
from dccc_lightning.data.image_formats import SUFFIXES
from dccc_lightning.data.records import UNKNOWN, Records, Splits
from dccc_lightning.errors import UserError


class ImageFolder:
    """Any tree of JPEG, PNG, BMP, TIFF and WebP files.

    Cameras and identities are strings, numbered in their sorted order (``Splits.camera_names`` and
    ``Splits.identity_names``); unknown ones are ``UNKNOWN``. Without identities, query and gallery
    are empty. ``partition.assign_splits`` says which images are in which split.

    Args:
        root: The folder of the images.
        pattern: Regular expression that reads labels from paths, see ``PathPattern``; images that
            it does not fit have none.
        table: A CSV of labels, see ``read_table``; its rows alone are then the dataset.
        test_share: Part of the identities that can be evaluated that query and gallery get, where
            neither pattern nor table tells the split.
        unknown: Words for an unknown identity, camera or split.
        junk: Identities whose query and gallery images are left out.
        distractors: Identities of strangers, see ``LabelRules``.
        splits: Names that mean ``train``, ``query``, ``gallery``, ``test`` or ``ignore``, where
            pattern or table has others.
        outside: Allow links and paths of the table that lead out of ``root``.
        name: What the dataset is called in logs and reports.

    Raises:
        UserError: ``root`` is None.
        TypeError: An argument is of another type.
        ValueError: An argument is out of its range, or arguments contradict each other.
    """

    def __init__(
        self,
        *,
        root: str | os.PathLike[str] | None,
        pattern: str | None = None,
        table: str | os.PathLike[str] | None = None,
        test_share: float = 0.5,
        unknown: Sequence[str] | str | None = UNKNOWN_WORDS,
        junk: Sequence[str] | str | None = JUNK,
        distractors: Sequence[str] | str | None = DISTRACTORS,
        splits: Mapping[str, object] | None = None,
        outside: bool = False,
        name: str = "folder",
    ) -> None:
        if root is None:
            raise UserError("dataset.root=PATH is needed: the folder of the images")
        if pattern is not None and table is not None:
            raise ValueError("pattern and table must not both be given")
        if not isinstance(outside, bool):
            raise TypeError(f"outside must be true or false, got {outside!r}")
        self.name = name
        self.root = checks.path("root", root)
        self.pattern = None if pattern is None else PathPattern(pattern)
        self.table = None if table is None else checks.path("table", table)
        self.test_share = checks.real("test_share", test_share, 0, 1)
        self.rules = LabelRules(unknown, junk, distractors, splits)
        self.outside = outside
        self._splits: Splits | None = None

    def splits(self) -> Splits:
        """Find the images and divide them; the second call remembers the first.

        Raises:
            UserError: No folder, no image, a link or a table that cannot be followed, a pattern
                that fits no path, or a query and gallery without a match.
        """
        if self._splits is None:
            self._splits = self._read()
        return self._splits

    def _read(self) -> Splits:
        if not self.root.is_dir():
            kind = "a file, not a folder; unpack it first" if self.root.is_file() else "no folder"
            raise UserError(f"{self.name}: {self.root} is {kind}; set dataset.root")
        images = self._labelled()
        if not images:
            kinds = ", ".join(sorted(SUFFIXES))
            place = self.root if self.table is None else f"the table {self.table}"
            raise UserError(f"{self.name}: no images ({kinds}) in {place}; set dataset.root")
        images = self.rules.applied(self.name, images)
        if not images:
            raise UserError(f"{self.name}: all images in {self.root} are junk or of ignored splits")
        assigned = assign_splits(images, self.test_share)
        self._warn_of_shared_identities(images, assigned)
        cameras = _names(image.camera for image in images)
        identities = _names(image.identity for image in images)
        records = Records.from_rows(
            [
                (
                    self.root / image.path,
                    identities.get(image.identity, UNKNOWN),
                    cameras.get(image.camera, UNKNOWN),
                )
                for image in images
            ]
        )
        train, query, gallery = (
            records.select([i for i, other in enumerate(assigned) if other == split])
            for split in (TRAIN, QUERY, GALLERY)
        )
        splits = Splits(
            self.name,
            self.root,
            train,
            query,
            gallery,
            camera_names=tuple(cameras),
            identity_names=tuple(identities),
            layout=self._layout(),
        )
        _require_match(splits)
        return splits

    def _layout(self) -> str:
        if self.table is not None:
            return f"the rows of {self.table}"
        if self.pattern is not None:
            return f"any tree of images, labels from {self.pattern.expression.pattern!r}"
        return "any tree of images"

    def _labelled(self) -> list[ImageLabels]:
        """Return the images in the order of their paths, with all that is known of them."""
        if self.table is not None:
            return read_table(self.table, self.root, self.outside)
        paths = sorted(walk_images(self.root, self.outside))
        if self.pattern is None or not paths:
            return [ImageLabels(path) for path in paths]
        found = [self.pattern.labels(path) for path in paths]
        strangers = [path for path, labels in zip(paths, found, strict=True) if labels is None]
        if len(strangers) == len(paths):
            raise UserError(
                f"{self.name}: dataset.pattern={self.pattern.expression.pattern!r} fits none of "
                f"the {len(paths)} images in {self.root}, the first is {paths[0]!r}"
            )
        if strangers:
            warnings.warn(
                f"{self.name}: {len(strangers)} of {len(paths)} images do not fit dataset.pattern "
                "and train without camera and identity, the first is "
                f"{strangers[0]!r}",
                stacklevel=1,
            )
        return [labels or ImageLabels(path) for path, labels in zip(paths, found, strict=True)]

    def _warn_of_shared_identities(
        self, images: Sequence[ImageLabels], assigned: Sequence[str]
    ) -> None:
        """Warn of identities that a given division puts into training and test."""
        trained, tested = (
            {
                image.identity
                for image, split in zip(images, assigned, strict=True)
                if image.identity and (split == TRAIN) == training
            }
            for training in (True, False)
        )
        if shared := sorted(trained & tested):
            warnings.warn(
                f"{self.name}: {len(shared)} identities are in the training and in the test split, "
                f"the first is {shared[0]!r}: figures will be too good",
                stacklevel=1,
            )


def _names(labels: Iterable[str]) -> dict[str, int]:
    """Number the labels that are there in sorted order."""
    return {label: number for number, label in enumerate(sorted(set(labels) - {""}))}


def _require_match(splits: Splits) -> None:
    """Refuse a test split that nothing can be found in; none at all is fine."""
    query, gallery = splits.query, splits.gallery
    if not len(query) and not len(gallery):
        return
    seen: dict[int, set[int]] = {}
    for identity, camera in zip(gallery.identities, gallery.cameras, strict=True):
        seen.setdefault(int(identity), set()).add(int(camera))
    for identity, camera in zip(query.identities, query.cameras, strict=True):
        others = seen.get(int(identity), set()) - ({int(camera)} - {UNKNOWN})
        if identity != UNKNOWN and others:
            return
    raise UserError(
        f"{splits.name}: {len(query)} query and {len(gallery)} gallery images, but no query has a "
        "match in the gallery under another camera; correct the splits, or leave them out"
    )
