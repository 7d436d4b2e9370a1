"""MSMT17 (Wei et al., CVPR 2018): 126,441 boxes of 4,101 people from fifteen cameras.

Three layouts exist: V1 and V2 (blurred faces) with lists of files, and copies repacked in the
Market-1501 layout. The layout is detected from the folder.
"""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dccc_lightning.common import checks
from dccc_lightning.data.datasets.file_names import (
    MARKET_FOLDERS,
    MAX_DIGITS,
    NameRule,
    Row,
    build_splits,
    find_dataset_folder,
    place,
    read_market_layout,
    require_images,
    shown,
)
from dccc_lightning.data.datasets.official_counts import Counts, Facts
from dccc_lightning.data.records import Splits
from dccc_lightning.errors import UserError

FOLDERS = ("MSMT17_V1", "MSMT17_V2", "MSMT17", "msmt17")
FACTS = Facts(
    train=Counts(32_621, 1_041),
    query=Counts(11_659, 3_060),
    gallery=Counts(82_161, 3_060),
    total=Counts(cameras=15),
)
"""Training includes validation; every test identity is in query and gallery."""

IMAGE_FOLDERS = (("train", "test"), ("mask_train_v2", "mask_test_v2"))
"""Training and test images of V1 and of V2."""

LISTS = {
    "train": ("list_train.txt", "list_val.txt"),
    "query": ("list_query.txt",),
    "gallery": ("list_gallery.txt",),
}
"""Lists of each split; training includes validation, as published."""

LIST_NAMES = NameRule(
    r"(?P<identity>\d+)_\d+_(?P<camera>0*[1-9]\d*)_\w+", "0000_000_01_0303morning_0008_0.jpg"
)
IDENTITY = re.compile(rf"\d{{1,{MAX_DIGITS}}}", re.ASCII)
REPACKED_NAMES = NameRule(
    r"(?P<identity>-1|\d+)_c(?P<camera>0*[1-9]\d*)(?:s\d+)?_\w+", "0000_c12_0008.jpg"
)


class MSMT17:
    """MSMT17 V1, V2 or repacked in the Market-1501 layout.

    Test identities start at 0 in the lists; they are renumbered above the training identities.

    Args:
        root: Folder MSMT17_V1 or MSMT17_V2 (or of a repacked copy), or the folder that contains
            it; V1 takes precedence over V2.
        name: Name of the dataset in logs and reports.
    """

    facts = FACTS

    def __init__(self, root: str | os.PathLike[str], name: str = "msmt17") -> None:
        self.root = checks.path("root", root)
        self.name = name

    def splits(self) -> Splits:
        """Read the lists, or the three folders of a repacked copy.

        Raises:
            UserError: A folder, list or listed file is missing, or a line or name does not parse.
        """
        marks = [*(name for names in LISTS.values() for name in names), MARKET_FOLDERS[0]]
        home, official = find_dataset_folder(self.root, FOLDERS, marks)
        if (home / MARKET_FOLDERS[0]).is_dir():
            return read_market_layout(
                self.name, home, rule=REPACKED_NAMES, facts=FACTS, one_numbering=False
            )
        v1, v2 = ("{" + ",".join(pair) + "}" for pair in IMAGE_FOLDERS)
        expected = (
            f"{official}/{v1} (V2: {v2}) and list_{{train,val,query,gallery}}.txt with lines as "
            f'"0000/{LIST_NAMES.example} 0", or {{{",".join(MARKET_FOLDERS)}}}'
        )
        folders = self._image_folders(home, expected)
        rows = [self._read_lists(home, folders, split, expected) for split in LISTS]
        layout = (
            f"{{{folders[0].name},{folders[1].name}}} with list_{{train,val,query,gallery}}.txt"
        )
        splits = build_splits(self.name, home, rows, layout=layout, one_numbering=False)
        require_images(splits, expected)
        FACTS.warn_if_different(splits)
        return splits

    def _image_folders(self, home: Path, expected: str) -> tuple[Path, Path]:
        """Return the folders of training and test images."""
        train, test = next(
            (pair for pair in IMAGE_FOLDERS if any((home / name).is_dir() for name in pair)),
            IMAGE_FOLDERS[0],
        )
        for name in (train, test):
            if not (home / name).is_dir():
                raise UserError(
                    f"{self.name}: {place(home, name, 'folder')}; expected {expected}; "
                    "set dataset.root"
                )
        return home / train, home / test

    def _read_lists(
        self, home: Path, folders: tuple[Path, Path], split: str, expected: str
    ) -> list[Row]:
        """Return the rows of a split, sorted by path."""
        rows: list[Row] = []
        for name in LISTS[split]:
            if not (home / name).is_file():
                raise UserError(
                    f"{self.name}: {place(home, name, 'list')}; expected {expected}; "
                    "set dataset.root"
                )
            rows += self._read_list(home / name, folders[0 if split == "train" else 1])
        return sorted(rows)

    def _read_list(self, path: Path, folder: Path) -> list[Row]:
        """Return the rows of a list, whose paths are relative to ``folder``."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.name}: cannot read {path}: {error}") from error
        rows: list[Row] = []
        strangers: list[str] = []
        for line in filter(None, map(str.strip, text.splitlines())):
            name, _, identity = line.rpartition(" ")
            image = Path(name)
            parsed = LIST_NAMES.parse(image.name)
            inside = not image.is_absolute() and ".." not in image.parts
            if parsed is None or not inside or not IDENTITY.fullmatch(identity):
                strangers.append(line)
            else:
                rows.append((folder / image, int(identity), parsed[1]))
        if strangers:
            raise UserError(
                f"{self.name}: {len(strangers)} line(s) of {path} do not match "
                f'"0000/{LIST_NAMES.example} 0", the first is "{shown(strangers[0])}"'
            )
        missing = missing_files([row[0] for row in rows])
        if missing:
            raise UserError(
                f"{self.name}: {len(missing)} file(s) of {path} are not in {folder}, "
                f"the first is {shown(missing[0])}; unpack the archive again or set dataset.root"
            )
        return rows


def missing_files(paths: Sequence[Path]) -> list[Path]:
    """Return the paths that do not exist, listing each folder once."""
    listings: dict[Path, set[str]] = {}
    for folder in {path.parent for path in paths}:
        listings[folder] = set()
        with suppress(OSError, ValueError):  # missing folder, or invalid name
            listings[folder] = {entry.name for entry in folder.iterdir()}
    return [path for path in paths if path.name not in listings[path.parent]]
