"""Dataset whose layout is declared by settings: folders or lists of each split, and names."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from dccc_lightning.common import checks
from dccc_lightning.data.datasets.file_names import find_dataset_folder, place, shown
from dccc_lightning.data.datasets.image_labels import GALLERY, QUERY, TEST, TRAIN, ImageLabels
from dccc_lightning.data.datasets.label_numbers import CameraNumbers
from dccc_lightning.data.datasets.layout_variant import (
    ALL,
    LayoutVariant,
    merged_splits,
    variant_of,
)
from dccc_lightning.data.datasets.numbered_splits import numbered_splits, require_images
from dccc_lightning.data.datasets.official_counts import Facts
from dccc_lightning.data.datasets.official_divisions import Divisions
from dccc_lightning.data.datasets.row_files import plain
from dccc_lightning.data.datasets.split_assignment import assign_splits, divide_identities
from dccc_lightning.data.datasets.split_source import SplitSource
from dccc_lightning.data.datasets.unknown_labels import words_of
from dccc_lightning.data.image_formats import MisnamedImages
from dccc_lightning.data.records import Splits
from dccc_lightning.errors import UserError


class DeclaredLayout:
    """Dataset whose layout is declared by settings, as in ``conf/dataset/``.

    Args:
        root: Dataset's folder, or the folder that contains it.
        name: Name of the dataset in logs and reports.
        splits: Folder, or settings of a ``SplitSource``, or a list of these, for train, query and
            gallery; instead of them ``all`` or ``test`` for images to be divided.
        folders: Possible names of the dataset's folder inside ``root``, the official one first.
        variants: Settings by name of a variant, which replace the others.
        variant: Name of the variant; None for the first one whose folders exist.
        junk: Identities that are not read.
        distractors: Identities that occur in the gallery only.
        cameras: See ``CameraNumbers``.
        one_numbering: True if an identity means the same in training and test.
        test_share: Share of the identities used for query and gallery, if there is no split for
            training; see ``split_assignment``. None for the official division, or half.
        divisions: Official divisions of people, if there is no split for training; see
            ``Divisions``.
        split: Number of the official division.
        facts: Official counts, see ``Facts.of``.
        protocol: Name of the evaluation protocol of the dataset's authors.
        layout: Description of the folder's layout; None for one from the other settings.
        marks: Folders and files by which the dataset's folder is recognised; None for its lists, or
            the folders of its splits.
        source: Public code or page from which the layout is known.
        remark: Trap of the layout, or its licence.
        **reading: Settings of ``SplitSource`` for all splits.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting is unknown or invalid.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        name: str,
        splits: Mapping[str, object] | None = None,
        *,
        folders: Sequence[str] = (),
        variants: Mapping[str, Mapping[str, object]] | None = None,
        variant: str | int | None = None,
        junk: object = ("-1",),
        distractors: object = (),
        cameras: object = None,
        one_numbering: bool = True,
        test_share: float | None = None,
        divisions: Mapping[str, object] | None = None,
        split: int = 0,
        facts: Mapping[str, object] | None = None,
        protocol: str = "market1501",
        layout: str | None = None,
        marks: Sequence[str] | None = None,
        source: str | None = None,
        remark: str | None = None,
        **reading: object,
    ) -> None:
        self.name = name
        self.root = checks.path("root", root)
        self.official_folders = tuple(folders)
        self.junk = frozenset(map(plain, words_of("junk", junk)))
        self.distractors = frozenset(map(plain, words_of("distractors", distractors)))
        self.cameras = CameraNumbers(cameras)
        self.one_numbering = checks.boolean("one_numbering", one_numbering)
        self.source, self.remark = source, remark
        usual = {
            "splits": splits or {}, "facts": facts, "protocol": protocol, "layout": layout,
            "marks": marks, "test_share": test_share, "divisions": divisions, **reading,
        }  # fmt: skip
        self.layouts = {
            key: variant_of(
                {**usual, **own, "splits": merged_splits(usual["splits"], own.get("splits"))}
            )
            for key, own in (variants or {"": {}}).items()
        }
        self.split = checks.integer("split", split, 0)
        if self.split and (test_share is not None or not any(
            layout.divisions for layout in self.layouts.values()
        )):  # fmt: skip
            raise ValueError(f"split must be 0 without official divisions, got {split}")
        self.variant = None if variant is None else str(variant)
        if self.variant is not None:
            checks.choice("variant", self.variant, tuple(self.layouts))

    @property
    def facts(self) -> Facts:
        """Official counts of the chosen variant, or of the one that is found."""
        return self._found()[0].facts

    @property
    def protocol(self) -> str:
        """Name of the evaluation protocol of the chosen variant."""
        return self._found()[0].protocol

    def splits(self) -> Splits:
        """Read the folders or lists.

        Raises:
            UserError: A folder or list is missing or empty, or a name does not match.
        """
        layout, home, official = self._found()
        possible = self.layouts.values() if self.variant is None else [layout]
        expected = f"{official}/{', or '.join(other.text for other in possible)}"
        for kind, names, exists in (
            ("folder", layout.folders(), Path.is_dir),
            ("list", layout.files(), Path.is_file),
        ):
            for missing in (name for name in names if not exists(home / name)):
                raise UserError(
                    f"{self.name}: {place(home, missing, kind)}; expected {expected}; "
                    "set dataset.root"
                )
        others = MisnamedImages()
        images = {
            split: self._kept(home, sources, others) for split, sources in layout.sources.items()
        }
        others.warn(self.name)
        self._refuse_distractors(layout, images.get(QUERY, []))
        divided, origin = self._divided(layout, home, images)
        splits = numbered_splits(
            self.name, home, divided, self.cameras,
            one_numbering=self.one_numbering,
            keeps_numbers=all(
                source.templates.is_one_group("identity")
                for sources in layout.sources.values() for source in sources
            ),
            layout=layout.text + origin, protocol=layout.protocol,
        )  # fmt: skip
        needed = [TRAIN, QUERY, GALLERY] if not {ALL, TEST} & set(images) else [TRAIN]
        if layout.test_share == 1:
            needed = [QUERY, GALLERY]
        require_images(splits, expected, [s for s in needed if s in images or TRAIN not in images])
        layout.facts.warn_if_different(splits)
        return splits

    def _found(self) -> tuple[LayoutVariant, Path, Path]:
        """Return the variant's layout, its folder, and the folder to recommend in messages."""
        marks = [
            mark
            for layout in self.layouts.values()
            for mark in ([layout.home] if layout.home else layout.marks)
        ]
        home, official = find_dataset_folder(self.root, self.official_folders, marks)
        if self.variant is not None:
            chosen = self.layouts[self.variant]
        else:
            possible = list(self.layouts.values())
            chosen = max(possible, key=lambda layout: layout.is_in(home))
        if chosen.home and self.root.name == chosen.home and self.root.is_dir():
            return chosen, self.root, self.root
        if not chosen.home:
            return chosen, home, official
        return chosen, home / chosen.home, home / chosen.home

    def _kept(
        self, home: Path, sources: Sequence[SplitSource], others: MisnamedImages
    ) -> list[ImageLabels]:
        """Return the images of sources without junk."""
        images = [image for source in sources for image in source.read(self.name, home, others)]
        if strange := [image for image in images if self.cameras.refuses(image.camera)]:
            raise UserError(
                f"{self.name}: {len(strange)} image name(s) have a camera that the dataset does "
                f"not have, the first is {shown(strange[0].path)} with {strange[0].camera!r}; "
                "move them elsewhere or correct dataset.root"
            )
        return [image for image in images if plain(image.identity) not in self.junk]

    def _refuse_distractors(self, layout: LayoutVariant, queries: Sequence[ImageLabels]) -> None:
        strange = [image.path for image in queries if plain(image.identity) in self.distractors]
        if strange:
            where = " or ".join(source.folder for source in layout.sources.get(GALLERY, ()))
            raise UserError(
                f"{self.name}: {len(strange)} query image(s) of a distractor, the first is "
                f"{shown(strange[0])}; move them to {where}, or correct dataset.distractors"
            )

    def _divided(
        self, layout: LayoutVariant, home: Path, images: Mapping[str, Sequence[ImageLabels]]
    ) -> tuple[dict[str, list[ImageLabels]], str]:
        """Return the images of training, query and gallery, and the origin of a division."""
        parts = {split: list(images.get(split, ())) for split in (TRAIN, QUERY, GALLERY)}
        share = 0.5 if layout.test_share is None else layout.test_share
        if TRAIN not in images and share < 1 and QUERY in images:
            if layout.test_share is None and layout.divisions is not None:
                return self._officially_divided(layout.divisions, home, parts)
            return divide_identities(parts, share, self.distractors), ""
        for split in (ALL, TEST):
            undivided = [image._replace(split="" if split == ALL else TEST)
                         for image in images.get(split, ())]  # fmt: skip
            assigned = assign_splits(undivided, share)
            for image, chosen in zip(undivided, assigned, strict=True):
                parts[chosen].append(image)
        return parts, ""

    def _officially_divided(
        self, divisions: Divisions, home: Path, parts: Mapping[str, Sequence[ImageLabels]]
    ) -> tuple[dict[str, list[ImageLabels]], str]:
        """Return the splits of the official division, or with a warning those of this package."""
        found = divisions.divided(self.name, home, self.split, parts, self.distractors)
        if found is not None:
            return found[0], f"; {found[1]}"
        files = " or ".join(divisions.files)
        if self.split:
            raise UserError(
                f"{self.name}: dataset.split={self.split} needs {files} in {home}, the file of the "
                "official divisions"
            )
        warnings.warn(
            f"{self.name}: no {files} in {home}, the file of the official divisions: the test "
            "people are chosen by this package, and results are comparable with its own alone",
            stacklevel=1,
        )
        chosen = divide_identities(parts, divisions.test_share, self.distractors)
        return chosen, "; divided by this package"
