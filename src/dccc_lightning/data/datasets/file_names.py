"""Search for a dataset's folder, lists of its images, and names in messages."""

import os
from collections.abc import Sequence
from pathlib import Path

from dccc_lightning.data.datasets.image_tree import is_file, visible_entries
from dccc_lightning.data.image_formats import MisnamedImages, has_image_suffix

MARKET_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
"""Train, query and gallery folder of the Market-1501 layout."""


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
