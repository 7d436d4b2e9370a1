"""Finding the image files of a folder tree, wherever its links lead."""

import os
from pathlib import Path

from dccc_lightning.errors import UserError

TREE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
"""Suffixes, in lower case, of the files that are images: BMP, JPEG, PNG and WebP."""


def has_image_suffix(name: str) -> bool:
    """Tell whether a file is an image by its name; upper case counts as lower case.

    >>> has_image_suffix("a/IMG_0001.JPG"), has_image_suffix("notes.txt")
    (True, False)
    """
    return Path(name).suffix.lower() in TREE_SUFFIXES


def is_inside(real_path: str, real_root: str) -> bool:
    """Tell whether a path lies below a folder; both without links (``os.path.realpath``)."""
    return real_path.startswith(real_root if real_root.endswith(os.sep) else real_root + os.sep)


def list_tree(root: Path, outside: bool = False) -> list[str]:
    """Return the images below ``root``, relative to it with ``/`` between folders, sorted.

    Files and folders whose name begins with a dot are left out, and so are links that lead to
    somewhere inside the root: what is there is read in its own place. No folder is read twice, so
    links cannot make the search run in circles. A broken link named like an image is returned:
    whoever reads it will say so.

    Args:
        root: An existing folder; may itself be a link.
        outside: Follow links that lead out of the root, to files and to folders.

    Raises:
        UserError: A link leads out of the root and ``outside`` is False, a folder cannot be read,
            or a name is not UTF-8.
    """
    real_root = os.path.realpath(root)
    status = root.stat()
    seen = {(status.st_dev, status.st_ino)}
    pending = [""]
    found: list[str] = []
    while pending:
        prefix = pending.pop()
        for entry in _entries(root / prefix):
            if entry.name.startswith("."):
                continue
            path = f"{prefix}{entry.name}"
            _require_utf8(entry)
            if entry.is_symlink():
                target = os.path.realpath(entry.path)
                if not _exists(target):
                    if has_image_suffix(entry.name):
                        found.append(path)
                    continue
                if target == real_root or is_inside(target, real_root):
                    continue
                is_wanted = entry.is_dir() or has_image_suffix(entry.name)
                if is_wanted and not outside:
                    raise UserError(
                        f"{entry.path!r} is a link that leads out of {os.fspath(root)!r}, to "
                        f"{target!r}; set dataset.outside=true to follow such links"
                    )
            if entry.is_dir():
                status = entry.stat()
                if (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    pending.append(f"{path}/")
            elif has_image_suffix(entry.name) and entry.is_file():
                found.append(path)
    return sorted(found)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a name too long, a folder that may not be entered
        return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder by name: which of two ways into a folder counts must be fixed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"cannot read the folder {os.fspath(folder)!r}: {error.strerror}"
        ) from error


def _require_utf8(entry: os.DirEntry[str]) -> None:
    # Tables, JSON and the terminal could not hold such a name.
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"the file name {os.fsencode(entry.path)!r} is not UTF-8; rename it"
        ) from None
