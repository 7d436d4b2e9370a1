"""LaST (Shu et al., 2021): people in films, who change clothes, places and seasons.

Cameras are unknown: each image gets a separate camera, so that the same-camera filter of the
evaluation removes nothing.
"""

import os
import re
from itertools import count
from pathlib import Path

from dccc_lightning.common import checks
from dccc_lightning.data.datasets.file_names import (
    MAX_DIGITS,
    build_splits,
    find_dataset_folder,
    list_images,
    place,
    require_images,
    shown,
)
from dccc_lightning.data.datasets.image_tree import is_folder, visible_entries
from dccc_lightning.data.datasets.official_counts import Counts, Facts
from dccc_lightning.data.image_formats import MisnamedImages
from dccc_lightning.data.records import Splits
from dccc_lightning.errors import UserError

FOLDERS = ("last", "LaST", "LAST")
PARTS = ("train", "test/query", "test/gallery")
"""Train, query and gallery; the validation split (val/query, val/gallery) is not used."""

FACTS = Facts(
    train=Counts(71_248, 5_000),
    query=Counts(10_176),
    gallery=Counts(125_353),
)
LAYOUT = "{train/<id>,test/query,test/gallery/<id>} with queries as <id>_<anything>.jpg"
FOLDER = re.compile(rf"(\d{{1,{MAX_DIGITS}}})", re.ASCII)
QUERY = re.compile(rf"(\d{{1,{MAX_DIGITS}}})(?:_.*)?\.\w+", re.ASCII | re.DOTALL)


class LaST:
    """LaST as distributed by its authors.

    Args:
        root: Folder last, or the folder that contains it.
        name: Name of the dataset in logs and reports.
    """

    facts = FACTS

    def __init__(self, root: str | os.PathLike[str], name: str = "last") -> None:
        self.root = checks.path("root", root)
        self.name = name

    def splits(self) -> Splits:
        """Read the folders of the identities and the queries.

        Raises:
            UserError: A folder is missing or empty, or a name does not begin with an identity.
        """
        home, official = find_dataset_folder(self.root, FOLDERS, PARTS[1:])
        expected = f"{official}/{LAYOUT}"
        for part in PARTS:
            if not (home / part).is_dir():
                raise UserError(
                    f"{self.name}: {place(home, part, 'folder')}; expected {expected}; "
                    "set dataset.root"
                )
        train, query, gallery = (home / part for part in PARTS)
        others = MisnamedImages()
        people = [
            self._by_folder(train, others),
            self._by_name(query, others),
            self._by_folder(gallery, others),
        ]
        others.warn(self.name)
        cameras = count()
        rows = [[(path, person, next(cameras)) for path, person in part] for part in people]
        splits = build_splits(self.name, home, rows, layout=LAYOUT, one_numbering=False)
        require_images(splits, expected)
        FACTS.warn_if_different(splits)
        return splits

    def _by_folder(self, folder: Path, others: MisnamedImages) -> list[tuple[Path, int]]:
        """Return the images in subfolders named by identity, sorted by path."""
        homes = [folder / entry.name for entry in visible_entries(folder) if is_folder(entry)]
        identities = self._identities(folder, [home.name for home in homes], FOLDER, "000001")
        return [
            (home / name, identity)
            for home, identity in zip(homes, identities, strict=True)
            for name in list_images(home, others)
        ]

    def _by_name(self, folder: Path, others: MisnamedImages) -> list[tuple[Path, int]]:
        """Return the images in ``folder``, whose names begin with an identity, sorted by name."""
        names = list_images(folder, others)
        identities = self._identities(folder, names, QUERY, "000001_0001.jpg")
        return [(folder / name, identity) for name, identity in zip(names, identities, strict=True)]

    def _identities(
        self, folder: Path, names: list[str], pattern: re.Pattern[str], example: str
    ) -> list[int]:
        """Return the identities at the beginning of names.

        Raises:
            UserError: A name does not begin with an identity.
        """
        matches = [pattern.fullmatch(name) for name in names]
        strangers = [name for name, match in zip(names, matches, strict=True) if match is None]
        if strangers:
            raise UserError(
                f"{self.name}: {len(strangers)} name(s) in {folder} do not match {example}, "
                f"the first is {shown(strangers[0])}; move them elsewhere or correct dataset.root"
            )
        return [int(match[1]) for match in matches if match is not None]
