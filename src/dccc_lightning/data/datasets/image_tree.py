"""Search for image files in a folder tree, following links."""

import os
from collections.abc import Iterator
from pathlib import Path

from dccc_lightning.data.image_formats import MisnamedImages, has_image_suffix
from dccc_lightning.errors import UserError


def is_inside(real_path: str, real_root: str) -> bool:
    """Return True if a path lies below a folder; both resolved by ``os.path.realpath``."""
    return real_path.startswith(real_root if real_root.endswith(os.sep) else real_root + os.sep)


def walk_images(root: Path, outside: bool = False) -> Iterator[str]:
    """Yield the images below ``root``, as relative paths with ``/`` between folders.

    Paths are sorted by name, with the files of a folder before its subfolders; one folder at a time
    is in memory. Hidden files and folders are skipped, and so are links to targets inside the root.
    No folder is read twice, so cyclic links do no harm. A broken link with an image suffix is
    yielded; reading it fails later. A warning at the end counts files that are images by their
    first bytes, but not by their suffix.

    Args:
        root: Folder, or link to a folder.
        outside: Follow links to files and folders outside of the root.

    Raises:
        UserError: A link leads out of the root and ``outside`` is False, a folder cannot be read,
            or the path of an image is not UTF-8.
    """
    real_root = os.path.realpath(root)
    pending, seen, others = [""], {real_root}, MisnamedImages()
    while pending:
        prefix = pending.pop()
        folders: list[str] = []
        for entry in visible_entries(root / prefix):
            path, target = f"{prefix}{entry.name}", entry.path
            if entry.is_symlink():
                target = os.path.realpath(entry.path)
                if not os.path.exists(target):  # noqa: PTH110  # Path.exists raises for some
                    if has_image_suffix(path):
                        yield _utf8(path)
                    continue
                if target == real_root or is_inside(target, real_root):
                    continue
                if not outside and (entry.is_dir() or has_image_suffix(path)):
                    raise UserError(
                        f"{entry.path!r} is a link that leads out of {os.fspath(root)!r}, to "
                        f"{target!r}; set dataset.outside=true to follow such links"
                    )
            if entry.is_dir():
                if (folder := os.path.realpath(target)) not in seen:
                    seen.add(folder)
                    folders.append(f"{path}/")
            elif not entry.is_file():
                continue
            elif has_image_suffix(path):
                yield _utf8(path)
            elif outside or not entry.is_symlink():
                others.look(target, path)
        pending += reversed(folders)
    others.warn(os.fspath(root))


def visible_entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder without hidden ones, sorted by name.

    The order determines by which of several links a folder is read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if e.name[0] != "."), key=lambda e: e.name)
    except OSError as error:
        raise UserError(
            f"cannot read the folder {os.fspath(folder)!r}: {error.strerror}"
        ) from error


def is_file(entry: os.DirEntry[str]) -> bool:
    """Return True for a file or a link to one, False for a broken link or a loop of links."""
    return os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file()  # noqa: PTH113


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return True for a folder or a link to one, False for a broken link or a loop of links."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()  # noqa: PTH112


def _utf8(path: str) -> str:
    """Return ``path`` if it is valid UTF-8, as tables and JSON require."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(f"the file name {os.fsencode(path)!r} is not UTF-8; rename it") from None
    return path
