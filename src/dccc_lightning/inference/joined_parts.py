"""Joining of the parts of an embedding that was made by several commands, in constant memory."""

import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dccc_lightning.common.files import write_json
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.common.progress import announced
from dccc_lightning.data.image_list import SCHEMA, read_table, write_table
from dccc_lightning.errors import UserError
from dccc_lightning.inference.bulk_embedding import (
    MANIFEST,
    PARTIAL,
    TABLE,
    join_lists,
    place,
    stored_about,
)
from dccc_lightning.inference.embedding_file import HEADER_BYTES, EmbeddingFile
from dccc_lightning.inference.embedding_share import SKIPPED

_OWN = {"part", "images", "skipped", "seconds", "checkpoint", "of_list"}
"""Entries of a manifest that differ between parts; the checkpoint is compared by fingerprint."""


@dataclass(frozen=True)
class Part:
    """A finished part of an embedding.

    Attributes:
        folder: Its folder.
        manifest: Content of its manifest.
        number: Its number, from 1.
        count: Number of parts of the embedding.
        positions: Positions of its images in the list.
        same: Entries that all parts have in common.
    """

    folder: Path
    manifest: dict[str, Any]
    number: int
    count: int
    positions: range
    same: dict[str, Any]

    @property
    def embeddings(self) -> Path:
        """File of the rows."""
        return self.folder / f"embeddings.{self.manifest['file_format']}"


def join_parts(folders: Sequence[Path], output: Path) -> dict[str, Any]:
    """Join the parts of an embedding into the files of an embedding in one piece.

    Args:
        folders: Output folders of the parts, in any order.
        output: Folder to write to.

    Returns:
        The content of the manifest.

    Raises:
        UserError: A part is missing, unfinished, damaged, given twice or of another embedding.
    """
    parts = checked_parts([_read(folder) for folder in folders])
    first, work = parts[0], output / PARTIAL
    rows = [int(part.manifest["images"]) for part in parts]
    manifest = {
        key: value for key, value in first.manifest.items() if key not in ("part", "of_list")
    }
    manifest["images"] = sum(rows)
    for key in ("skipped", "seconds"):
        manifest[key] = sum(part.manifest[key] for part in parts)
    manifest["seconds"] = round(manifest["seconds"], 1)
    if not manifest["images"]:
        raise UserError(f"{first.folder.parent}: none of the images of the parts could be read")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    file = EmbeddingFile(
        work / first.embeddings.name, manifest["feature_dim"], manifest["file_format"]
    )
    with closing(file), announced("joining", manifest["images"]) as phase:
        for part, count in zip(parts, rows, strict=True):
            file.append_file(part.embeddings, count)
            phase.advance(count)
        file.finish(stored_about(manifest))
    images = (image for part in parts for image in read_table(part.folder / TABLE))
    write_table(work / TABLE, images, stored_about(manifest))
    if manifest["skipped"]:
        join_lists([part.folder / SKIPPED for part in parts], work / SKIPPED)
    write_json(work / MANIFEST, manifest)
    place(work, output, first.embeddings.name)
    return manifest


def checked_parts(parts: Sequence[Part]) -> list[Part]:
    """Return the parts in the order of the list.

    Raises:
        UserError: They are not the parts of one embedding, each once.
    """
    first = parts[0]
    for part in parts[1:]:
        for key, value in first.same.items():
            if part.same.get(key) != value:
                raise UserError(
                    f"{part.folder}: has {key} {_shown(part.same.get(key))}, {first.folder} has "
                    f"{_shown(value)}; embed its part again as the others"
                )
    ordered = sorted(parts, key=lambda part: (part.number, str(part.folder)))
    for before, part in pairwise(ordered):
        if before.number == part.number:
            raise UserError(
                f"{before.folder} and {part.folder}: both are part {part.number} of "
                f"{part.count}; give each part once"
            )
    if absent := sorted(set(range(1, first.count + 1)) - {part.number for part in parts}):
        named = ", ".join(map(str, absent[:10])) + (", ..." if len(absent) > 10 else "")
        raise UserError(
            f"part {named} of {first.count} missing: {len(absent)} in all; embed with "
            f"part={absent[0]}/{first.count}"
        )
    end = 0
    for part in ordered:
        if part.positions.start != end:
            raise UserError(
                f"{part.folder}: begins with image {part.positions.start} of the list, not "
                f"{end}; embed all parts with the same loader.eval_batch_size"
            )
        end = part.positions.stop
    return ordered


def _read(folder: Path) -> Part:
    """Read a part, and compare the sizes of its files with its manifest.

    Raises:
        UserError: The part is unfinished or damaged, or the folder is no part.
    """
    if not (folder / MANIFEST).is_file():
        if (folder / PARTIAL).is_dir():
            again = path_argument("resume", folder)
            raise UserError(f"{folder}: the part is not finished; {again} continues it")
        raise UserError(f"{folder}: no part of an embedding (no {MANIFEST})")
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest.get("part") is None:
            raise UserError(f"{folder}: not a part but a whole embedding (of task=embed, no part=)")
        number, count = map(int, manifest["part"].split("/"))
        listed = manifest["of_list"]
        same = {key: value for key, value in manifest.items() if key not in _OWN}
        same |= {
            "parts": count,
            "images in the list": listed["images"],
            "list of images": listed["sha256"],
        }
        part = Part(folder, manifest, number, count, range(listed["start"], listed["stop"]), same)
        rows = pq.read_metadata(folder / TABLE).num_rows
        schema = pq.read_schema(folder / TABLE)
        size = HEADER_BYTES + 4 * manifest["images"] * manifest["feature_dim"]
        skipped = (folder / SKIPPED).read_bytes().count(b"\n") if manifest["skipped"] else 0
        is_whole = (
            schema.names == SCHEMA.names
            and rows == manifest["images"] == len(part.positions) - skipped
            and skipped == manifest["skipped"]
            and part.embeddings.stat().st_size == size
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise UserError(f"{folder}: the part is damaged ({error}); embed it again") from error
    if not is_whole:
        raise UserError(f"{folder}: the part is damaged (lengths of its files); embed it again")
    return part


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
