"""Manifest of a gallery: its data files and its kind of search."""

import json
import re
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from dccc_lightning.common.overrides import path_argument
from dccc_lightning.errors import UserError

FORMAT = 1
"""Version of the format; increment it with every change that older versions cannot read."""

MANIFEST = "index.json"
SUFFIXES = {"embeddings": ".npy", "table": ".parquet", "proposals": ".faiss"}
DATA_FILE = re.compile(r"(embeddings|table|proposals)-[0-9a-f]{16}\.(npy|parquet|faiss)")
OWN_FILE = re.compile(rf"\.?({DATA_FILE.pattern}|{MANIFEST})(\.\d+)?")
"""Names of data files, the manifest, and their temporary files."""
_LARGEST_MANIFEST = 1 << 20

Manifest = Mapping[str, Any]


def is_gallery(folder: Path) -> bool:
    """Return True if a folder holds a gallery."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a gallery.

    Raises:
        UserError: No gallery, or a manifest that is damaged or of another format.
    """
    with open_manifest(folder) as file:
        return parse_manifest(folder, file)


def open_manifest(folder: Path) -> BufferedReader:
    """Open the file of a manifest.

    Raises:
        UserError: No gallery, or no permission to read it.
    """
    try:
        return (folder / MANIFEST).open("rb")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise UserError(
            f"{folder}: no gallery there ({MANIFEST} is missing); {_command(folder)} builds one"
        ) from error
    except OSError as error:
        raise unreadable(folder, error) from error


def parse_manifest(folder: Path, file: BufferedReader) -> dict[str, Any]:
    """Read a manifest from its file; raises as ``read_manifest``."""
    try:
        content = file.read(_LARGEST_MANIFEST + 1)
        if len(content) > _LARGEST_MANIFEST:
            raise ValueError("too large")
        manifest = json.loads(content)
        number = manifest["format"]
        if not isinstance(number, int) or not isinstance(manifest["files"], dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(folder, f"{MANIFEST} cannot be read") from error
    if number != FORMAT:
        raise UserError(
            f"{folder}: a gallery of format {number}, this version of the package reads format "
            f"{FORMAT}; {_command(folder)} builds it anew"
        )
    return dict(manifest)


def unreadable(folder: Path, error: OSError) -> UserError:
    """Return the error for a gallery that cannot be read."""
    return UserError(f"{folder}: cannot be read ({error.strerror or error})")


def file_names(folder: Path, manifest: Manifest) -> dict[str, str]:
    """Return the names of the data files by part.

    Raises:
        UserError: A name is not one of ``write_gallery``.
    """
    names = {}
    for part, facts in manifest["files"].items():
        name = facts.get("name") if isinstance(facts, dict) else None
        if not isinstance(name, str) or not DATA_FILE.fullmatch(name):
            raise damaged(folder, f"{MANIFEST} names no file of a gallery as its {part}")
        names[str(part)] = name
    return names


def damaged(folder: Path, reason: str) -> UserError:
    """Return the error for a damaged gallery."""
    return UserError(
        f"{folder}: the gallery is damaged, {reason}; {_command(folder)} builds it anew"
    )


def _command(folder: Path) -> str:
    return f"task=index input=IMAGES ckpt=CHECKPOINT {path_argument('index', folder)} replace=true"
