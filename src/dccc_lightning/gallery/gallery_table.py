"""Table of a gallery: id, file, camera and identity of every image."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from dccc_lightning.data.records import UNKNOWN

Names: TypeAlias = NDArray[np.object_]
Labels: TypeAlias = Iterable[object]
"""Names or numbers of cameras or identities; ``""``, ``UNKNOWN`` and None are unknown ones."""

NO_NAME = ""
"""Name of an unknown camera or identity."""

_SCHEMA = pa.schema(
    [("id", pa.int64()), ("path", pa.string()), ("camera", pa.string()), ("identity", pa.string())]
)


@dataclass(frozen=True)
class Hit:
    """Image found by a search.

    Attributes:
        id: Id in the gallery.
        score: Cosine of its embedding and the query's.
        path: File.
        camera: Name of the camera, empty if unknown.
        identity: Name of the identity, empty if unknown.
    """

    id: int
    score: float
    path: str
    camera: str
    identity: str


@dataclass(frozen=True, eq=False)
class GalleryTable:
    """Images of a gallery, one per row.

    Cameras and identities are names, because numbers of one dataset mean nothing in another.

    Attributes:
        ids: (N,) int64, ascending; the id of an image never changes.
        paths: (N,) files.
        cameras: (N,) names, ``NO_NAME`` where unknown.
        identities: (N,) names, ``NO_NAME`` where unknown.
    """

    ids: NDArray[np.int64]
    paths: Names
    cameras: Names
    identities: Names

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def camera_codes(self) -> NDArray[np.int64]:
        """(N,) number of each camera, see ``code``; ``UNKNOWN`` where unknown."""
        return np.array([self._codes[camera] for camera in self.cameras], dtype=np.int64)

    def code(self, camera: str) -> int:
        """Return the number of a camera in ``camera_codes``, ``UNKNOWN`` if absent."""
        return self._codes.get(camera, UNKNOWN)

    @cached_property
    def _codes(self) -> dict[str, int]:
        codes = {camera: code for code, camera in enumerate(sorted(set(self.cameras)))}
        return codes | {NO_NAME: UNKNOWN}

    def select(self, rows: NDArray[Any]) -> "GalleryTable":
        """Return the rows at these positions or under this mask."""
        return GalleryTable(
            self.ids[rows], self.paths[rows], self.cameras[rows], self.identities[rows]
        )

    def hit(self, row: int, score: float) -> Hit:
        """Return a row as a hit."""
        return Hit(
            id=int(self.ids[row]),
            score=score,
            path=str(self.paths[row]),
            camera=str(self.cameras[row]),
            identity=str(self.identities[row]),
        )

    def joined(self, other: "GalleryTable") -> "GalleryTable":
        """Return the rows of both."""
        return GalleryTable(
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.paths, other.paths]),
            np.concatenate([self.cameras, other.cameras]),
            np.concatenate([self.identities, other.identities]),
        )

    def to_parquet(self) -> bytes:
        """Return the table as a Parquet file."""
        columns = (self.ids, self.paths, self.cameras, self.identities)
        arrays = [
            pa.array(column, type=field.type)
            for column, field in zip(columns, _SCHEMA, strict=True)
        ]
        sink = pa.BufferOutputStream()
        pyarrow.parquet.write_table(pa.table(arrays, schema=_SCHEMA), sink)
        content: bytes = sink.getvalue().to_pybytes()
        return content

    @classmethod
    def from_parquet(cls, content: bytes) -> "GalleryTable":
        """Read the result of ``to_parquet``.

        Raises:
            ValueError: Not a Parquet file, other columns, empty cells, or ids that do not ascend.
        """
        try:
            # pyarrow.parquet.read_table sometimes aborted processes with torch, at their end
            table = pyarrow.parquet.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"not a Parquet file ({type(error).__name__})") from error
        if not table.schema.remove_metadata().equals(_SCHEMA):
            raise ValueError(f"the table has the columns {', '.join(table.column_names)}")
        if any(column.null_count for column in table.columns):
            raise ValueError("the table has empty cells")
        ids, *names = (column.to_numpy(zero_copy_only=False) for column in table.columns)
        if (np.diff(ids) <= 0).any() or (ids < 0).any():
            raise ValueError("the ids of the table do not ascend")
        return cls(ids, *(column.astype(object) for column in names))


def make_table(
    first_id: int,
    count: int,
    paths: Iterable[str | os.PathLike[str]],
    cameras: Labels | None,
    identities: Labels | None,
) -> GalleryTable:
    """Return the table of images with ids from ``first_id``.

    Args:
        first_id: Id of the first image.
        count: Number N of embeddings.
        paths: N files, all different.
        cameras: N names or numbers, or None if all are unknown.
        identities: The same.

    Raises:
        ValueError: Lengths differ, or a path repeats.
    """
    files = [os.fspath(path) for path in paths]
    if len(files) != count:
        raise ValueError(
            f"paths must have one entry per embedding, got {len(files)} for {count} embeddings"
        )
    seen: set[str] = set()
    for path in files:
        if path in seen:
            raise ValueError(f"paths must not repeat, got {path!r} twice")
        seen.add(path)
    columns = []
    for label, values in (("cameras", cameras), ("identities", identities)):
        column = [NO_NAME] * len(files) if values is None else names(values)
        if len(column) != len(files):
            raise ValueError(
                f"{label} must have one entry per path, got {len(column)} for {len(files)} paths"
            )
        columns.append(_array(column))
    ids = np.arange(first_id, first_id + len(files), dtype=np.int64)
    return GalleryTable(ids, _array(files), *columns)


def names(labels: Labels) -> list[str]:
    """Return the names of cameras or identities.

    Unknown ones, ``UNKNOWN``, None, and NaN or NA as pandas has them, are ``NO_NAME``; whole
    numbers are one name whatever their type, as pandas makes floats of a column with gaps.

    >>> names([3, 3.0, "hall", UNKNOWN, None, float("nan")])
    ['3', '3', 'hall', '', '', '']
    """
    values = labels.tolist() if hasattr(labels, "tolist") else labels  # arrays and tensors
    return [_name(label) for label in values]


def _name(label: object) -> str:
    if isinstance(label, (float, np.floating)) and float(label).is_integer():
        label = int(label)
    same = label == label  # noqa: PLR0124  # false for NaN and NaT, no truth value for pandas.NA
    is_known = isinstance(same, (bool, np.bool_)) and bool(same) and label not in (None, UNKNOWN)
    return str(label) if is_known else NO_NAME


def excluded_cameras(cameras: object, queries: int) -> list[str]:
    """Return the name of the camera to exclude for each query, empty for none.

    Raises:
        TypeError: ``cameras`` is neither a camera nor a list of them.
        ValueError: Not one camera per query.
    """
    if cameras is None or isinstance(cameras, (str, int, np.integer)):
        return names([cameras]) * queries
    if not isinstance(cameras, Iterable):
        raise TypeError(f"exclude_camera must be a camera or one per query, got {cameras!r}")
    listed = names(cameras)
    if len(listed) != queries:
        raise ValueError(
            f"exclude_camera must be a camera or one for each of {queries} queries, got "
            f"{len(listed)}"
        )
    return listed


def _array(values: list[str]) -> Names:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
