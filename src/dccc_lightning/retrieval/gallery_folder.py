"""A gallery on disk: a folder of data files and a manifest, complete or absent.

The manifest (``index.json``) names the data files and their SHA-256, and a data file carries part
of its SHA-256 in its name. So a gallery is replaced in one step, by renaming the new manifest over
the old one; files that are no longer named are removed afterwards. Nothing is unpickled: the files
are JSON, NPY, Parquet and faiss's own format, which is only read where its SHA-256 is right.
"""

import fcntl
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.errors import UserError
from dccc_lightning.files import write_atomically

FORMAT = 1
"""Layout of the folder; raise it with every change that older versions cannot read."""

MANIFEST = "index.json"
_SUFFIXES = {"embeddings": ".npy", "table": ".parquet", "proposals": ".faiss"}
_DATA_FILE = re.compile(r"(embeddings|table|proposals)-[0-9a-f]{16}\.(npy|parquet|faiss)")
_LARGEST_MANIFEST = 1 << 20
_ATTEMPTS = 3

Parts = Mapping[str, bytes | memoryview]
Manifest = Mapping[str, Any]


def is_gallery(folder: Path) -> bool:
    """Tell whether a folder holds a gallery."""
    return (folder / MANIFEST).is_file()


def write_gallery(
    folder: Path, facts: Mapping[str, Any], parts: Parts, expected: Manifest | None = None
) -> Manifest:
    """Write a gallery; one that is there already is replaced in one step.

    Args:
        folder: Made under a temporary name if it is not there.
        facts: What the manifest says beside format and files.
        parts: Contents of the data files, by ``embeddings``, ``table`` and ``proposals``.
        expected: The manifest that a gallery there must still have; None replaces any.

    Returns:
        The manifest.

    Raises:
        UserError: The folder holds something else or another manifest, or cannot be written to.
    """
    try:
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            if not is_gallery(folder):
                raise UserError(f"{folder}: exists and is no gallery; choose another folder")
            with _locked(folder):
                if expected is not None and read_manifest(folder) != expected:
                    raise UserError(
                        f"{folder}: changed by another process since it was read, so nothing was "
                        "written; run the command again"
                    )
                return _write_files(folder, facts, parts)
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
        try:
            temporary.mkdir(parents=True)
            manifest = _write_files(temporary, facts, parts)
            temporary.rename(folder)
            return manifest
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read what a gallery says of itself.

    Raises:
        UserError: No gallery, a damaged manifest, or one of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(
            f"{folder}: no gallery there ({MANIFEST} is missing); task=index builds one"
        )
    try:
        if path.stat().st_size > _LARGEST_MANIFEST:
            raise ValueError("too large")
        manifest = json.loads(path.read_text())
        number = manifest["format"]
        if not isinstance(number, int) or not isinstance(manifest["files"], dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(folder, f"{MANIFEST} cannot be read") from error
    if number != FORMAT:
        raise UserError(
            f"{folder}: a gallery of format {number}, this version of the package reads format "
            f"{FORMAT}; build it anew with task=index"
        )
    return dict(manifest)


def read_gallery(folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """Read the manifest and check every data file that it names.

    Returns:
        The manifest and the paths of the data files by part.

    Raises:
        UserError: No gallery, another format, or a file missing or changed.
    """
    for attempt in range(_ATTEMPTS):
        manifest = read_manifest(folder)
        paths = {}
        for part, facts in manifest["files"].items():
            name = facts.get("name") if isinstance(facts, dict) else None
            if not isinstance(name, str) or not _DATA_FILE.fullmatch(name):
                raise damaged(folder, f"{MANIFEST} names no file of a gallery as its {part}")
            paths[str(part)] = folder / name
        try:
            for part, path in paths.items():
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                if digest != manifest["files"][part].get("sha256"):
                    raise damaged(folder, f"{path.name} is not what was written")
            return manifest, paths
        except FileNotFoundError as error:
            if attempt + 1 == _ATTEMPTS:  # before that, another process may have replaced it
                raise damaged(folder, f"{Path(error.filename).name} is missing") from error
        except OSError as error:
            raise UserError(f"{folder}: cannot be read ({error.strerror or error})") from error
    raise AssertionError("unreachable")


def damaged(folder: Path, reason: str) -> UserError:
    """Return the error for a gallery that is not what was written."""
    return UserError(f"{folder}: the gallery is damaged, {reason}; build it anew with task=index")


def npy(array: NDArray[np.float32]) -> memoryview:
    """Return an array as a NPY file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getbuffer()


def _write_files(folder: Path, facts: Mapping[str, Any], parts: Parts) -> Manifest:
    files = {}
    for part, content in parts.items():
        digest = hashlib.sha256(content).hexdigest()
        name = f"{part}-{digest[:16]}{_SUFFIXES[part]}"
        if not (folder / name).exists():
            write_atomically(folder / name, content)
        files[part] = {"name": name, "bytes": len(content), "sha256": digest}
    manifest = {"format": FORMAT, **facts, "files": files}
    write_atomically(folder / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    kept = {entry["name"] for entry in files.values()}
    for path in folder.iterdir():
        if _DATA_FILE.fullmatch(path.name) and path.name not in kept:
            path.unlink()
    return manifest


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time write into a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
