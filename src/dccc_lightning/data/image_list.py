"""Lists of images on disk: any number of paths, cameras and identities in constant memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dccc_lightning.common.files import replacing
from dccc_lightning.data.datasets.image_tree import walk_images
from dccc_lightning.data.records import UNKNOWN, Records, Splits
from dccc_lightning.errors import UserError

ROWS = 65_536
"""Rows that are in memory at a time."""

SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("camera", pa.string(), nullable=False),
        pa.field("identity", pa.string(), nullable=False),
    ]
)


class ListedImage(NamedTuple):
    """A row of a table of images.

    Attributes:
        path: Of the file.
        camera: Its name, empty if nobody knows: numbers mean nothing beyond one dataset.
        identity: The same.
    """

    path: str
    camera: str = ""
    identity: str = ""


def listed_split(splits: Splits, split: str) -> Iterator[ListedImage]:
    """Yield the images of ``train``, ``query`` or ``gallery``, or of ``all``, by absolute paths."""
    for name in ("train", "query", "gallery") if split == "all" else (split,):
        records: Records = getattr(splits, name)
        rows = zip(records.paths, records.cameras, records.identities, strict=True)
        for path, camera, identity in rows:
            yield ListedImage(
                str(path.absolute()),
                _name(int(camera), splits.camera_names),
                _name(int(identity), splits.identity_names),
            )


def _name(number: int, names: Sequence[str]) -> str:
    if number == UNKNOWN:
        return ""
    return names[number] if names else str(number)


def listed_folder(folder: Path) -> Iterator[ListedImage]:
    """Yield the images of a tree, by absolute paths; links are followed as the user's own.

    Raises:
        UserError: See ``image_tree.walk_images``.
    """
    root = folder.absolute()
    return (ListedImage(str(root / path)) for path in walk_images(root, outside=True))


def write_table(
    path: Path, images: Iterable[ListedImage], metadata: Mapping[str, str] | None = None
) -> int:
    """Write a Parquet table of images; it is complete or absent.

    Returns:
        The number of rows.

    Raises:
        UserError: The name of a file is not text.
    """
    remaining, rows = iter(images), 0
    schema = SCHEMA.with_metadata(metadata or {})
    try:
        with replacing(path) as file, pq.ParquetWriter(file, schema) as writer:
            while chunk := list(islice(remaining, ROWS)):
                columns = [list(column) for column in zip(*chunk, strict=True)]
                writer.write_table(pa.table(columns, schema=writer.schema))
                rows += len(chunk)
    except UnicodeEncodeError as error:
        raise UserError(f"the name {error.object!r} is not text; rename the file") from error
    return rows


def read_table(path: Path, start: int = 0) -> Iterator[ListedImage]:
    """Yield the rows of a table that ``write_table`` wrote, from row ``start`` on."""
    with pq.ParquetFile(path) as table:
        for number in range(table.num_row_groups):
            rows = table.metadata.row_group(number).num_rows
            if start < rows:
                columns = table.read_row_group(number).slice(start).to_pydict()
                yield from map(ListedImage._make, zip(*columns.values(), strict=True))
            start = max(0, start - rows)
