"""Atomic writing of files."""

import fcntl
import glob
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from dccc_lightning.errors import UnwritableFileError

_TEMPORARY = re.compile(r"\..+\.\d+")


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write ``content`` under a temporary name beside ``path``, then rename it.

    Raises:
        UnwritableFileError: The disk is full or the folder is read-only; ``path`` is unchanged.
    """
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise UnwritableFileError(
            f"{path} cannot be written: {error.strerror or error}; free disk space or choose "
            "another folder"
        ) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as indented JSON; see ``write_atomically``."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that replaces it when the block ends.

    The file is locked while open; unlocked temporaries of ``path``, left by killed processes, are
    removed first. If the block raises, ``path`` is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_temporaries(path.parent, glob.escape(path.name))
    temporary, file = _locked_beside(path)
    with file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())  # a crash after the rename could otherwise lose the content
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def remove_temporaries(folder: Path, names: str = "*") -> None:
    """Remove temporary files of ``replacing`` whose process has ended.

    Such files are not locked any more. A file that cannot be locked (no permission, a file system
    without locks) is kept.

    Args:
        folder: Folder of the files.
        names: Glob pattern of the final names.
    """
    for path in folder.glob(f".{names}.*[0-9]"):
        if _TEMPORARY.fullmatch(path.name):
            with suppress(OSError), path.open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(file, path):
                    path.unlink()


def _locked_beside(path: Path) -> tuple[Path, BinaryIO]:
    """Create and lock a temporary file, which ``remove_temporaries`` then spares."""
    while True:
        temporary = path.with_name(f".{path.name}.{int.from_bytes(os.urandom(6))}")
        file = temporary.open("xb")
        with suppress(OSError):  # a file system without locks: no file is removed either
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(file, temporary):
            return temporary, file
        file.close()  # removed by another process between creation and lock


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
