"""Finding the image files of a folder tree, wherever its links lead."""

import os
from collections.abc import Iterator
from pathlib import Path

from dccc_lightning.data.image_formats import OtherImages, has_image_suffix
from dccc_lightning.errors import UserError


def is_inside(real_path: str, real_root: str) -> bool:
    """Tell whether a path lies below a folder; both without links (``os.path.realpath``)."""
    return real_path.startswith(real_root if real_root.endswith(os.sep) else real_root + os.sep)


def walk_images(root: Path, outside: bool = False) -> Iterator[str]:
    """Yield the images below ``root``, relative to it with ``/`` between folders.

    They come by name, the files of a folder before its folders; one folder at a time is in memory.
    Files and folders whose name begins with a dot are left out, and so are links that lead to
    somewhere inside the root: what is there is read in its own place. No folder is read twice, so
    links cannot make the search run in circles. A broken link named like an image is yielded:
    reading it will say so. Other files that are images by their first bytes are counted, and named
    in a warning at the end.

    Args:
        root: A folder; may itself be a link.
        outside: Follow links that lead out of the root, to files and to folders.

    Raises:
        UserError: A link leads out of the root and ``outside`` is False, a folder cannot be read,
            or the path of an image is not UTF-8.
    """
    real_root = os.path.realpath(root)
    pending, seen, others = [""], {real_root}, OtherImages()
    while pending:
        prefix = pending.pop()
        folders: list[str] = []
        for entry in _entries(root / prefix):
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


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, but for hidden entries, by name.

    The order is fixed, for it decides which of two ways into a folder counts.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if e.name[0] != "."), key=lambda e: e.name)
    except OSError as error:
        raise UserError(
            f"cannot read the folder {os.fspath(folder)!r}: {error.strerror}"
        ) from error


def _utf8(path: str) -> str:
    """Return ``path``, if tables, JSON and the terminal can hold it."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(f"the file name {os.fsencode(path)!r} is not UTF-8; rename it") from None
    return path
