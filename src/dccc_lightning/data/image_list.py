"""Parquet tables of image paths and labels, read and written in constant memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, starmap
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dccc_lightning.common.files import replacing
from dccc_lightning.data.datasets.image_tree import walk_images
from dccc_lightning.data.records import UNKNOWN, Records, Splits
from dccc_lightning.errors import UserError

ROWS = 65_536
"""Number of rows in memory at a time."""

SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("camera", pa.string(), nullable=False),
        pa.field("identity", pa.string(), nullable=False),
        pa.field("session", pa.string(), nullable=False),
        pa.field("tracklet", pa.string(), nullable=False),
        pa.field("frame", pa.string(), nullable=False),
    ]
)


class ListedImage(NamedTuple):
    """A row of a table of images.

    Attributes:
        path: Path of the file.
        camera: Name of the camera (not its number, which differs by dataset); empty if unknown.
        identity: Name of the identity; empty if unknown.
        session: Name of the session; empty if unknown.
        tracklet: Name of the tracklet, which is one of its camera; empty if unknown.
        frame: Number of the frame, or of another order of moments; empty if unknown.
    """

    path: str
    camera: str = ""
    identity: str = ""
    session: str = ""
    tracklet: str = ""
    frame: str = ""

    @property
    def sighting(self) -> str:
        """Session, or tracklet if that is unknown; images of one sighting are no match."""
        return sighting(self.camera, self.session, self.tracklet)


def sighting(camera: str, session: str, tracklet: str) -> str:
    """Return the name of a sighting: the session, else the tracklet of a camera, else nothing.

    >>> sighting("hall", "monday", "7"), sighting("hall", "", "7"), sighting("hall", "", "")
    ('monday', 'hall tracklet 7', '')
    """
    return session or (f"{camera} tracklet {tracklet}".strip() if tracklet else "")


def listed_split(splits: Splits, split: str) -> Iterator[ListedImage]:
    """Yield the images of ``train``, ``query``, ``gallery`` or ``all``, with absolute paths."""
    for name in ("train", "query", "gallery") if split == "all" else (split,):
        records: Records = getattr(splits, name)
        labels = (
            (records.cameras, splits.camera_names),
            (records.identities, splits.identity_names),
            *(
                (records.column(name), splits.column_names.get(name, ()))
                for name in ("session", "tracklet", "frame")
            ),
        )
        columns = [[_name(n, names) for n in values.tolist()] for values, names in labels]
        for path, *cells in zip(records.paths, *columns, strict=True):
            yield ListedImage(str(path.absolute()), *cells)


def _name(number: int, names: Sequence[str]) -> str:
    if number == UNKNOWN:
        return ""
    return names[number] if names else str(number)


def listed_folder(folder: Path) -> Iterator[ListedImage]:
    """Yield the images of a folder tree, with absolute paths, following links.

    Raises:
        UserError: As ``image_tree.walk_images``.
    """
    root = folder.absolute()
    return (ListedImage(str(root / path)) for path in walk_images(root, outside=True))


def write_table(
    path: Path, images: Iterable[ListedImage], metadata: Mapping[str, str] | None = None
) -> int:
    """Write a Parquet table of images atomically.

    Returns:
        The number of rows.

    Raises:
        UserError: A file name is not valid UTF-8.
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
        raise UserError(f"the file name {error.object!r} is not UTF-8; rename it") from error
    return rows


def read_table(path: Path, start: int = 0) -> Iterator[ListedImage]:
    """Yield the rows of a table written by ``write_table``, beginning with row ``start``."""
    with pq.ParquetFile(path) as table:
        for number in range(table.num_row_groups):
            rows = table.metadata.row_group(number).num_rows
            if start < rows:
                columns = table.read_row_group(number).slice(start).to_pydict()
                yield from starmap(ListedImage, zip(*columns.values(), strict=True))
            start = max(0, start - rows)
