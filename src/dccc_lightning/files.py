"""Writing files so that they are complete or absent."""

import os
from pathlib import Path

from dccc_lightning.errors import UnwritableFileError


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write ``content`` under a temporary name beside ``path``, then rename it.

    Raises:
        UnwritableFileError: The disk is full, or the folder is read-only; ``path`` is as before.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        with temporary.open("rb+") as file:
            os.fsync(
                file.fileno()
            )  # or a crash of the machine could leave the name without content
        temporary.replace(path)
    except OSError as error:
        raise UnwritableFileError(
            f"{path} cannot be written: {error.strerror or error}; make room or choose another "
            "folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Remove what a process that was killed while it wrote into ``folder`` has left there."""
    for path in folder.glob(".*.*[0-9]"):
        if path.suffix[1:].isdigit():
            path.unlink(missing_ok=True)
