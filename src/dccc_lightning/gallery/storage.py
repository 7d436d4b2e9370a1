"""A gallery on disk: a folder of data files and a manifest, complete or absent.

The manifest (``index.json``) names the data files and their SHA-256, and a data file carries part
of its SHA-256 in its name. So a gallery is replaced in one step, by renaming the new manifest over
the old one; files that are no longer named are removed afterwards. The SHA-256 finds damage; it is
no protection from forgery, since it lies beside the files. Nothing is unpickled: the files are
JSON, NPY, Parquet and faiss's own format.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common.files import remove_temporaries, write_atomically
from dccc_lightning.errors import UserError
from dccc_lightning.gallery.manifest import (
    DATA_FILE,
    FORMAT,
    MANIFEST,
    OWN_FILE,
    SUFFIXES,
    Manifest,
    damaged,
    file_names,
    opened_manifest,
    parsed,
    read_manifest,
    unreadable,
)

Parts = Mapping[str, bytes | memoryview]


def write_gallery(
    folder: Path, facts: Mapping[str, Any], parts: Parts, expected: Manifest | None = None
) -> Manifest:
    """Write a gallery; one that is there already, damaged or not, is replaced in one step.

    Args:
        folder: Made if it is not there.
        facts: What the manifest says beside format and files.
        parts: Contents of the data files, by ``embeddings``, ``table`` and ``proposals``.
        expected: The manifest that a gallery there must still have; None replaces any.

    Returns:
        The manifest.

    Raises:
        UserError: The folder holds something else or another manifest, or cannot be written to.
    """
    try:
        is_new = not folder.exists()
        if not is_new and not _may_be_replaced(folder):
            raise UserError(f"{folder}: exists and is no gallery; choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, fcntl.LOCK_EX):
            if expected is not None and not is_new and read_manifest(folder) != expected:
                raise UserError(
                    f"{folder}: changed by another process since it was read, so nothing was "
                    "written; run the command again"
                )
            try:
                return _write_files(folder, facts, parts)
            except BaseException:
                if is_new and not any(folder.iterdir()):
                    folder.rmdir()
                raise
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error


@contextmanager
def opened_gallery(folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, BufferedReader]]]:
    """Open a gallery: its manifest, and the data files that it names, each as it was written.

    All are of one state, whatever other processes write meanwhile: a file is opened once, and stays
    readable when it is removed. Where one is removed before that, the manifest is another file now,
    and is read again.

    Yields:
        The manifest and the data files by part.

    Raises:
        UserError: No gallery, another format, or a file missing or changed.
    """
    with ExitStack() as stack:
        missing: OSError | None = None
        before: os.stat_result | None = None
        while True:
            file = stack.enter_context(opened_manifest(folder))
            here = os.fstat(file.fileno())  # of an open file: no other can have its number
            if missing is not None and before is not None and os.path.samestat(before, here):
                raise damaged(folder, f"{Path(missing.filename).name} is missing") from missing
            manifest = parsed(folder, file)
            try:
                files: dict[str, BufferedReader] = {
                    part: stack.enter_context((folder / name).open("rb"))
                    for part, name in file_names(folder, manifest).items()
                }
                break
            except FileNotFoundError as error:
                missing, before = error, here
            except OSError as error:
                raise unreadable(folder, error) from error
        for part, data in files.items():
            try:
                digest = hashlib.file_digest(data, "sha256").hexdigest()
                data.seek(0)
            except OSError as error:
                raise unreadable(folder, error) from error
            if digest != manifest["files"][part].get("sha256"):
                raise damaged(folder, f"{Path(data.name).name} is not what was written")
        yield manifest, files


def remove_remains(folder: Path) -> None:
    """Remove from a gallery what killed processes have left there.

    These are temporary files, and data files of an earlier state. A data file that is newer than
    the manifest may be of a change that goes on, on another host even: it stays for the next
    change to remove.
    """
    _remove_temporaries(folder)
    with suppress(OSError, UserError), _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        names = set(file_names(folder, read_manifest(folder)).values())
        written = (folder / MANIFEST).stat().st_mtime_ns
        for path in _data_files(folder, names):
            if path.stat().st_mtime_ns < written:
                path.unlink()


def npy(array: NDArray[np.float32]) -> memoryview:
    """Return an array as a NPY file."""
    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getbuffer()


def mapped_npy(file: BufferedReader) -> "np.memmap[Any, np.dtype[np.float32]]":
    """Return the array of a NPY file that ``npy`` made, memory-mapped.

    Raises:
        ValueError: Another file, or an array of another type.
    """
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("its embeddings are of another NPY format")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype != np.float32 or is_fortran:
        raise ValueError("its embeddings are not float32")
    return np.memmap(file, np.float32, mode="c", offset=file.tell(), shape=shape)


def _may_be_replaced(folder: Path) -> bool:
    """Tell a gallery, damaged or not, from a folder that holds something else."""
    if not folder.is_dir():
        return False
    if all(OWN_FILE.fullmatch(path.name) for path in folder.iterdir()):
        return True
    with suppress(UserError):
        return bool(read_manifest(folder))
    return False


def _write_files(folder: Path, facts: Mapping[str, Any], parts: Parts) -> Manifest:
    files: dict[str, dict[str, Any]] = {}
    before = {path.name for path in folder.iterdir()}
    manifest = {"format": FORMAT, **facts, "files": files}
    try:
        for part, content in parts.items():
            digest = hashlib.sha256(content).hexdigest()
            name = f"{part}-{digest[:16]}{SUFFIXES[part]}"
            # One of this name that is there already may be damaged.
            write_atomically(folder / name, content)
            files[part] = {"name": name, "bytes": len(content), "sha256": digest}
        write_atomically(folder / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    except BaseException:
        for name in {entry["name"] for entry in files.values()} - before:
            (folder / name).unlink(missing_ok=True)
        raise
    for path in _data_files(folder, {entry["name"] for entry in files.values()}):
        path.unlink()
    _remove_temporaries(folder)
    return manifest


def _remove_temporaries(folder: Path) -> None:
    for name in (*(f"{part}-*" for part in SUFFIXES), MANIFEST):
        remove_temporaries(folder, name)


def _data_files(folder: Path, names: set[str]) -> list[Path]:
    """Return the data files that have none of these names."""
    return [p for p in folder.iterdir() if DATA_FILE.fullmatch(p.name) and p.name not in names]


@contextmanager
def _locked(folder: Path, operation: int) -> Iterator[None]:
    """Let one process at a time write into a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)
