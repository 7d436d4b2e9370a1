"""Gallery on disk: a folder of data files and a manifest, written atomically.

The manifest (``index.json``) names the data files and their SHA-256, part of which is in each file
name. So renaming the new manifest over the old one replaces a gallery atomically; unused files are
removed afterwards. The SHA-256 detects damage, not forgery. Nothing is unpickled: the files are
JSON, NPY, Parquet and faiss's format.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common.files import remove_temporaries, write_atomically, write_json
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
    open_manifest,
    parse_manifest,
    read_manifest,
    unreadable,
)

Parts = Mapping[str, bytes | memoryview]


def write_gallery(
    folder: Path, facts: Mapping[str, Any], parts: Parts, expected: Manifest | None = None
) -> Manifest:
    """Write a gallery; an existing one, damaged or not, is replaced atomically.

    Args:
        folder: Folder, created if missing.
        facts: Entries of the manifest beside format and files.
        parts: Contents of the data files, by ``embeddings``, ``table`` and ``proposals``.
        expected: Manifest that an existing gallery must have; None replaces any.

    Returns:
        The manifest.

    Raises:
        UserError: The folder holds other files or another manifest, or cannot be written to.
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
def open_gallery(folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, BufferedReader]]]:
    """Open the manifest and the data files of a gallery, and verify their SHA-256.

    All are of one state while other processes write: open files stay readable when removed. If a
    file is removed before it is opened, the manifest has been replaced and is read again.

    Yields:
        The manifest and the data files by part.

    Raises:
        UserError: No gallery, another format, or a missing or changed file.
    """
    with ExitStack() as stack:
        missing: OSError | None = None
        before: os.stat_result | None = None
        while True:
            file = stack.enter_context(open_manifest(folder))
            here = os.fstat(file.fileno())  # of an open file: no other can have its number
            if missing is not None and before is not None and os.path.samestat(before, here):
                raise damaged(folder, f"{Path(missing.filename).name} is missing") from missing
            manifest = parse_manifest(folder, file)
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
    """Remove the files that killed processes have left in a gallery.

    These are temporary files and data files of an earlier state. A data file newer than the
    manifest may belong to a change in progress, also on another host, and stays.
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


def map_npy(file: BufferedReader) -> "np.memmap[Any, np.dtype[np.float32]]":
    """Return the memory-mapped array of a NPY file that ``npy`` made.

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
    """Return True for a gallery, damaged or not; False for a folder with other files only.

    Other files beside a data file, such as those of file managers, are kept.
    """
    if not folder.is_dir():
        return False
    files = [path.name for path in folder.iterdir()]
    if any(map(DATA_FILE.fullmatch, files)) or all(map(OWN_FILE.fullmatch, files)):
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
            # Written also if it exists: that file may be damaged.
            write_atomically(folder / name, content)
            files[part] = {"name": name, "bytes": len(content), "sha256": digest}
        write_json(folder / MANIFEST, manifest)
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
    """Return the data files with other names."""
    return [p for p in folder.iterdir() if DATA_FILE.fullmatch(p.name) and p.name not in names]


@contextmanager
def _locked(folder: Path, operation: int) -> Iterator[None]:
    """Lock a folder against writes by other processes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)
