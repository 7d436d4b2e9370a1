"""Custom dataset: a folder tree of images, with or without labels."""

import os
import warnings
from collections.abc import Mapping, Sequence

from dccc_lightning.common import checks
from dccc_lightning.data.datasets.image_labels import (
    GALLERY,
    QUERY,
    TRAIN,
    ImageLabels,
    PathPattern,
    quoted,
)
from dccc_lightning.data.datasets.image_tree import walk_images
from dccc_lightning.data.datasets.label_numbers import column_numbers, names_of, records_of
from dccc_lightning.data.datasets.label_rules import DISTRACTORS, JUNK, LabelRules
from dccc_lightning.data.datasets.label_table import read_table
from dccc_lightning.data.datasets.numbered_splits import require_match
from dccc_lightning.data.datasets.small_cameras import warn_of_small_cameras
from dccc_lightning.data.datasets.split_assignment import assign_splits
from dccc_lightning.data.datasets.unknown_labels import UNKNOWN_WORDS
from dccc_lightning.data.image_formats import SUFFIXES
from dccc_lightning.data.records import Splits
from dccc_lightning.errors import UserError


class ImageFolder:
    """Dataset of a folder tree of JPEG, PNG, BMP, TIFF and WebP files.

    Cameras, identities and sessions are strings, numbered in sorted order (``Splits.camera_names``,
    ``Splits.identity_names``, ``Splits.column_names``); unknown ones are ``UNKNOWN``. Without
    identities, query and gallery are empty. ``split_assignment.assign_splits`` divides the images.

    Args:
        root: Folder of the images.
        pattern: Regular expression that reads labels from paths, see ``PathPattern``; images that
            do not match have no labels.
        table: CSV file of labels, see ``read_table``; only images in the table are used.
        test_share: Share of the evaluable identities used for query and gallery, if neither pattern
            nor table gives the splits.
        unknown: Words for an unknown identity, camera, session or split.
        junk: Identities whose query and gallery images are ignored.
        distractors: Identities that are never a match, see ``LabelRules``.
        splits: Alternative names of ``train``, ``query``, ``gallery``, ``test`` and ``ignore`` in
            pattern or table.
        outside: Allow links and paths in the table that lead out of ``root``.
        name: Name of the dataset in logs and reports.
        **labels: Labels joined from groups of the pattern or columns of the table, see
            ``LabelTemplates``.

    Raises:
        UserError: ``root`` is None.
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or arguments contradict each other.
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
        **labels: object,
    ) -> None:
        if root is None:
            raise UserError("dataset.root=PATH is needed: the folder of the images")
        if pattern is not None and table is not None:
            raise ValueError("pattern and table must not both be given")
        if not isinstance(outside, bool):
            raise TypeError(f"outside must be true or false, got {outside!r}")
        self.name = name
        self.root = checks.path("root", root)
        self.labels = {label: text for label, text in labels.items() if text is not None}
        if pattern is None and table is None and self.labels:
            raise ValueError(f"{next(iter(self.labels))} needs a pattern or a table")
        self.pattern = None if pattern is None else PathPattern(pattern, self.labels)
        self.table = None if table is None else checks.path("table", table)
        self.test_share = checks.real("test_share", test_share, 0, 1)
        self.rules = LabelRules(unknown, junk, distractors, splits)
        self.outside = outside
        self._splits: Splits | None = None

    def splits(self) -> Splits:
        """Find the images and divide them into splits; the result is cached.

        Raises:
            UserError: The folder or its images are missing, a link leads outside, the table is
                invalid, the pattern matches no path, or no query has a match.
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
        cameras = names_of(image.camera for image in images)
        identities = names_of(image.identity for image in images)
        columns = column_numbers(images, counted=("frame",))
        records = records_of(self.root, images, identities, cameras, columns)
        warn_of_small_cameras(self.name, records.cameras)
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
            column_names={name: tuple(names) for name, names in columns.items() if name != "frame"},
            layout=self._layout(),
            protocol="market1501" if cameras or _is_divided(images) else "leave_one_out",
        )
        require_match(splits)
        return splits

    def _layout(self) -> str:
        if self.table is not None:
            return f"the rows of {self.table}"
        if self.pattern is not None:
            return f"any tree of images, labels from {quoted(self.pattern.expression.pattern)}"
        return "any tree of images"

    def _labelled(self) -> list[ImageLabels]:
        """Return the images sorted by path, with their labels."""
        if self.table is not None:
            return read_table(self.table, self.root, self.outside, self.labels)
        paths = sorted(walk_images(self.root, self.outside))
        if self.pattern is None or not paths:
            return [ImageLabels(path) for path in paths]
        found = [self.pattern.labels(path) for path in paths]
        strangers = [path for path, labels in zip(paths, found, strict=True) if labels is None]
        if len(strangers) == len(paths):
            raise UserError(
                f"{self.name}: dataset.pattern={quoted(self.pattern.expression.pattern)} matches "
                f"none of the {len(paths)} images in {self.root}, the first is {paths[0]!r}"
            )
        if strangers:
            warnings.warn(
                f"{self.name}: {len(strangers)} of {len(paths)} images do not match "
                "dataset.pattern and have no camera and identity, the first is "
                f"{strangers[0]!r}",
                stacklevel=1,
            )
        return [labels or ImageLabels(path) for path, labels in zip(paths, found, strict=True)]

    def _warn_of_shared_identities(
        self, images: Sequence[ImageLabels], assigned: Sequence[str]
    ) -> None:
        """Warn about identities in both training and test."""
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
                f"the first is {shared[0]!r}: metrics will be too optimistic",
                stacklevel=1,
            )


def _is_divided(images: Sequence[ImageLabels]) -> bool:
    """Return True if pattern or table say which images are queries or the gallery."""
    return any(image.split in (QUERY, GALLERY) for image in images)
