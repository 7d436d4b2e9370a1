"""Writing files so that they are complete or absent."""

import fcntl
import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dccc_lightning.errors import UnwritableFileError

_TEMPORARY = re.compile(r"\..+\.\d+")


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write ``content`` under a temporary name beside ``path``, then rename it.

    Raises:
        UnwritableFileError: The disk is full, or the folder is read-only; ``path`` is as before.
    """
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise UnwritableFileError(
            f"{path} cannot be written: {error.strerror or error}; make room or choose another "
            "folder"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that takes its place at the end.

    It is locked meanwhile, which tells it from one that a killed process has left there; those of
    ``path`` are removed. An exception leaves ``path`` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_temporaries(path.parent, glob.escape(path.name))
    temporary, file = _locked_beside(path)
    with file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a crash could leave the name without content
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def remove_temporaries(folder: Path, names: str = "*") -> None:
    """Remove temporary files of ``replacing`` whose process is gone.

    A lock ends with the process that holds it, on other hosts of a shared file system too. What
    cannot be locked (no right to write it, a file system without locks) stays.

    Args:
        folder: Where they are.
        names: Pattern of the files whose temporaries are meant.
    """
    for path in folder.glob(f".{names}.*[0-9]"):
        if _TEMPORARY.fullmatch(path.name):
            with suppress(OSError), path.open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(file, path):
                    path.unlink()


def _locked_beside(path: Path) -> tuple[Path, BinaryIO]:
    """Create a temporary file that no other process removes while it is open."""
    while True:
        temporary = path.with_name(f".{path.name}.{int.from_bytes(os.urandom(6))}")
        file = temporary.open("xb")
        with suppress(OSError):  # without locks nothing is removed either
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(file, temporary):
            return temporary, file
        file.close()  # removed between its creation and the lock


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
