"""Readers of folders of crops whose file names contain the identity and the camera."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dccc_lightning.data.datasets.image_tree import is_file, visible_entries
from dccc_lightning.data.datasets.official_counts import Facts
from dccc_lightning.data.image_formats import MisnamedImages, has_image_suffix
from dccc_lightning.data.records import Records, Splits
from dccc_lightning.errors import UserError

MARKET_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
"""Train, query and gallery folder of the Market-1501 layout."""

JUNK = (-1,)
"""Identities of bad detections, which are ignored in evaluation and not read."""

MAX_DIGITS = 9
"""Maximum number of digits of an identity or a camera, which leaves room for offsets in int64."""

Row = tuple[Path, int, int]
"""Path, identity, 0-based camera."""


@dataclass(frozen=True)
class NameRule:
    """Rule that reads identity and camera from a file name without its folder.

    Attributes:
        pattern: Regular expression of the whole name without suffix; its groups ``identity`` and
            ``camera`` (counted from 1) are numbers.
        example: Name that follows the rule, for messages.
        cameras: Numbers of the cameras, in order, if they are not 1, 2, 3, ...
    """

    pattern: str
    example: str
    cameras: tuple[int, ...] = ()

    def parse(self, name: str) -> tuple[int, int] | None:
        """Return the identity and the 0-based camera of a file name; None if it does not match.

        >>> MARKET_NAMES.parse("0001_c12s1_001051_00.jpg")
        (1, 11)
        >>> MARKET_NAMES.parse("holiday.jpg") is None
        True
        """
        match = re.fullmatch(self.pattern, Path(name).stem, re.ASCII)
        if match is None or max(map(len, match.group("identity", "camera"))) > MAX_DIGITS:
            return None
        identity, camera = int(match["identity"]), int(match["camera"])
        if not self.cameras:
            return identity, camera - 1
        return (identity, self.cameras.index(camera)) if camera in self.cameras else None


NO_FACTS = Facts()

MARKET_NAMES = NameRule(
    r"(?P<identity>-1|\d+)_c(?P<camera>0*[1-9]\d*)s\d+_\w+", "0001_c1s1_001051_00.jpg"
)


def find_dataset_folder(
    root: str | os.PathLike[str], folders: Sequence[str], marks: Sequence[str]
) -> tuple[Path, Path]:
    """Find the dataset's folder: ``root`` if it contains one of ``marks``, or a child of it.

    Args:
        root: Dataset's folder, or the folder that contains it.
        folders: Possible names of the dataset's folder, the official one first.
        marks: Names of folders or files by which a dataset's folder is recognised.

    Returns:
        The folder to read and the folder to recommend in messages; they differ only if the dataset
        was not found.
    """
    root = Path(root).expanduser()
    candidates = [root, *(root / folder for folder in folders)]
    for candidate in candidates:
        if any((candidate / mark).exists() for mark in marks):
            return candidate, candidate
    for candidate in candidates[1:]:
        if candidate.is_dir():
            return candidate, candidate
    return root, root if root.name in folders else candidates[min(1, len(folders))]


def place(home: Path, missing: str, kind: str) -> str:
    """Return a message about a missing dataset folder, or a missing part of it."""
    return f"no {kind} {missing} in {home}" if home.is_dir() else f"no folder {home}"


def shown(name: str | os.PathLike[str]) -> str:
    """Return a name for a message, escaped if it has line breaks or undecodable bytes.

    >>> shown("a b.jpg"), shown("a" + chr(10) + "b.jpg") == ascii("a" + chr(10) + "b.jpg")
    ('a b.jpg', True)
    """
    text = os.fspath(name)
    return text if text.isprintable() else ascii(text)


def list_images(folder: Path, others: MisnamedImages) -> list[str]:
    """Return the sorted names of the images in ``folder``, ignoring hidden and other files.

    Args:
        folder: Folder to list.
        others: Counter of images among the ignored files.

    Raises:
        UserError: The folder cannot be read.
    """
    names = [entry.name for entry in visible_entries(folder) if is_file(entry)]
    for name in names:
        if not has_image_suffix(name):
            others.look(folder / name)
    return [name for name in names if has_image_suffix(name)]


def read_folder(
    dataset: str, folder: Path, rule: NameRule, others: MisnamedImages, junk: Sequence[int] = JUNK
) -> list[Row]:
    """Return the rows of the images in ``folder`` without junk, sorted by name.

    Raises:
        UserError: Names do not follow ``rule``.
    """
    rows: list[Row] = []
    strangers: list[str] = []
    for name in list_images(folder, others):
        parsed = rule.parse(name)
        if parsed is None:
            strangers.append(name)
        elif parsed[0] not in junk:
            rows.append((folder / name, *parsed))
    if strangers:
        raise UserError(
            f"{dataset}: {len(strangers)} image name(s) in {folder} do not match {rule.example}, "
            f"the first is {shown(strangers[0])}; move them elsewhere or correct dataset.root"
        )
    return rows


def build_splits(
    name: str,
    home: Path,
    rows: Sequence[list[Row]],
    *,
    layout: str = "",
    one_numbering: bool = True,
) -> Splits:
    """Build splits, renumbering test identities if they overlap with training identities.

    Query and gallery identities are shifted by the same offset.

    Args:
        name: Name of the dataset.
        home: Dataset's folder.
        rows: Rows of train, query and gallery.
        layout: Value of ``Splits.layout``.
        one_numbering: True if a number means the same identity in training and test; renumbered
            identities are then listed in ``Splits.shared_identities``.
    """
    train, query, gallery = (Records.from_rows(part) for part in rows)
    tested = np.concatenate([query.identities, gallery.identities])
    shared = np.intersect1d(train.identities, tested)
    if len(shared):
        offset = int(train.identities.max()) + 1
        for split in (query, gallery):
            split.identities[:] += offset
    return Splits(
        name,
        home,
        train,
        query,
        gallery,
        layout=layout,
        shared_identities=tuple(shared.tolist()) if one_numbering else None,
    )


def require_images(splits: Splits, expected: str, *, test: bool = True) -> None:
    """Raise an error if a split has no images.

    Raises:
        UserError: The training split, or with ``test`` the query or gallery split, is empty.
    """
    needed = {"train": splits.train, "query": splits.query, "gallery": splits.gallery}
    for split, records in needed.items():
        if not len(records) and (test or split == "train"):
            raise UserError(
                f"{splits.name}: no images for the {split} split in {splits.root}; "
                f"expected {expected}; set dataset.root"
            )


def read_market_layout(
    name: str,
    root: str | os.PathLike[str],
    *,
    folders: Sequence[str] = (),
    parts: tuple[str, str, str] = MARKET_FOLDERS,
    rule: NameRule = MARKET_NAMES,
    facts: Facts = NO_FACTS,
    require_test: bool = True,
    one_numbering: bool = True,
    junk: Sequence[int] = JUNK,
    distractors: Sequence[int] = (),
) -> Splits:
    """Read a dataset in the layout of Market-1501: three folders of images.

    Args:
        name: Name of the dataset, for ``Splits.name`` and messages.
        root: Dataset's folder, or the folder that contains it.
        folders: Possible names of the dataset's folder inside ``root``, the official one first.
        parts: Names of the train, query and gallery folder.
        rule: Rule that reads identity and camera from file names.
        facts: Official counts; a different number of images leads to a warning.
        require_test: False if the query and gallery folders may be missing or empty.
        one_numbering: True if a number means the same identity in training and test.
        junk: Identities that are not read.
        distractors: Identities that occur in the gallery only.

    Raises:
        UserError: A folder is missing, a name does not parse, a distractor is a query, or a split
            is empty.
    """
    home, official = find_dataset_folder(root, folders, parts)
    layout = f"{{{','.join(parts)}}} with names as {rule.example}"
    expected = f"{official}/{layout}"
    rows: list[list[Row]] = []
    others = MisnamedImages()
    for position, folder in enumerate(parts):
        if (home / folder).is_dir():
            rows.append(read_folder(name, home / folder, rule, others, junk))
        elif require_test or position == 0:
            raise UserError(
                f"{name}: {place(home, folder, 'folder')}; expected {expected}; set dataset.root"
            )
        else:
            rows.append([])
    others.warn(name)
    if strangers := [path for path, identity, _ in rows[1] if identity in distractors]:
        raise UserError(
            f"{name}: {len(strangers)} query image(s) of a distractor, the first is "
            f"{shown(strangers[0])}; move them to {parts[2]}, or correct dataset.distractors"
        )
    splits = build_splits(name, home, rows, layout=layout, one_numbering=one_numbering)
    require_images(splits, expected, test=require_test)
    facts.warn_if_different(splits)
    return splits
