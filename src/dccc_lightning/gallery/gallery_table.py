"""Table of a gallery: id, file and labels of every image."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dccc_lightning.common.parquet_files import open_parquet, parquet_bytes
from dccc_lightning.data.image_list import sighting
from dccc_lightning.data.records import UNKNOWN

Names: TypeAlias = NDArray[np.object_]
Labels: TypeAlias = Iterable[object]
"""Names or numbers of cameras, identities and so on; ``""``, ``UNKNOWN`` and None are unknown."""

NO_NAME = ""
"""Name of an unknown camera, identity, session or tracklet."""

_LABELS = ("camera", "identity", "session", "tracklet")

_SCHEMA = pa.schema(
    [("id", pa.int64()), ("path", pa.string()), *((name, pa.string()) for name in _LABELS)]
)

_FIRST = pa.schema(list(_SCHEMA)[:4])
"""Schema of tables without sessions."""


@dataclass(frozen=True)
class Hit:
    """Image found by a search.

    Attributes:
        id: Id in the gallery.
        score: Cosine of its embedding and the query's.
        path: File.
        camera: Name of the camera, empty if unknown.
        identity: Name of the identity, empty if unknown.
        session: Name of the session, empty if unknown.
        tracklet: Name of the tracklet, empty if unknown.
    """

    id: int
    score: float
    path: str
    camera: str
    identity: str
    session: str = NO_NAME
    tracklet: str = NO_NAME


@dataclass(frozen=True, eq=False)
class GalleryTable:
    """Images of a gallery, one per row.

    Labels are names, because numbers of one dataset mean nothing in another.

    Attributes:
        ids: (N,) int64, ascending; the id of an image never changes.
        paths: (N,) files.
        cameras: (N,) names, ``NO_NAME`` where unknown.
        identities: (N,) names, ``NO_NAME`` where unknown.
        sessions: (N,) names, ``NO_NAME`` where unknown.
        tracklets: (N,) names, ``NO_NAME`` where unknown.
    """

    ids: NDArray[np.int64]
    paths: Names
    cameras: Names
    identities: Names
    sessions: Names
    tracklets: Names

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        """The columns in their order."""
        return (
            self.ids, self.paths, self.cameras, self.identities, self.sessions, self.tracklets
        )  # fmt: skip

    @cached_property
    def camera_codes(self) -> "Codes":
        """Number of each camera."""
        return Codes.of(self.cameras)

    @cached_property
    def sighting_codes(self) -> "Codes":
        """Number of each sighting, see ``image_list.sighting``."""
        return Codes.of(list(map(sighting, self.cameras, self.sessions, self.tracklets)))

    def select(self, rows: NDArray[Any]) -> "GalleryTable":
        """Return the rows at these positions or under this mask."""
        return GalleryTable(*(column[rows] for column in self.columns))

    def hit(self, row: int, score: float) -> Hit:
        """Return a row as a hit."""
        return Hit(int(self.ids[row]), score, *(str(column[row]) for column in self.columns[1:]))

    def joined(self, other: "GalleryTable") -> "GalleryTable":
        """Return the rows of both."""
        return GalleryTable(*map(np.concatenate, zip(self.columns, other.columns, strict=True)))

    def excluded(
        self, queries: int, camera: object = None, session: object = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the cameras and sightings of the rows (N, 2), and those to exclude (queries, 2).

        Raises:
            TypeError: ``camera`` or ``session`` is neither a name nor a list of them.
            ValueError: Not one name per query.
        """
        wanted = excluded_names("camera", camera, queries)
        others = excluded_names("session", session, queries)
        pairs = (self.camera_codes, wanted), (self.sighting_codes, others)
        return (
            np.stack([codes.rows for codes, _ in pairs], axis=1),
            np.stack([codes.numbers(names) for codes, names in pairs], axis=1),
        )

    def to_parquet(self) -> bytes:
        """Return the table as a Parquet file."""
        arrays = [
            pa.array(column, type=field.type)
            for column, field in zip(self.columns, _SCHEMA, strict=True)
        ]
        return parquet_bytes(pa.table(arrays, schema=_SCHEMA))

    @classmethod
    def from_parquet(cls, content: bytes) -> "GalleryTable":
        """Read the result of ``to_parquet``.

        Raises:
            ValueError: Not a Parquet file, other columns, empty cells, or ids that do not ascend.
        """
        try:
            table = open_parquet(content)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"not a Parquet file ({type(error).__name__})") from error
        if table.schema.remove_metadata().equals(_FIRST):
            for name in _LABELS[2:]:
                table = table.append_column(name, pa.array([NO_NAME] * len(table), pa.string()))
        if not table.schema.remove_metadata().equals(_SCHEMA):
            raise ValueError(f"the table has the columns {', '.join(table.column_names)}")
        if any(column.null_count for column in table.columns):
            raise ValueError("the table has empty cells")
        ids, *names = (column.to_numpy(zero_copy_only=False) for column in table.columns)
        if (np.diff(ids) <= 0).any() or (ids < 0).any():
            raise ValueError("the ids of the table do not ascend")
        return cls(ids, *(column.astype(object) for column in names))


@dataclass(frozen=True, eq=False)
class Codes:
    """Numbers of names.

    Attributes:
        rows: (N,) number of each row's name, ``UNKNOWN`` where unknown.
        of_name: Number of each name.
    """

    rows: NDArray[np.int64]
    of_name: dict[str, int]

    @classmethod
    def of(cls, column: Iterable[str]) -> "Codes":
        """Return the numbers of a column's names, in sorted order."""
        cells = list(column)
        codes = {name: code for code, name in enumerate(sorted(set(cells)))} | {NO_NAME: UNKNOWN}
        return cls(np.array([codes[name] for name in cells], dtype=np.int64), codes)

    def numbers(self, wanted: Iterable[str]) -> NDArray[np.int64]:
        """Return the numbers of names, ``UNKNOWN`` for unknown or absent ones."""
        return np.array([self.of_name.get(name, UNKNOWN) for name in wanted], dtype=np.int64)


def make_table(
    first_id: int,
    count: int,
    paths: Iterable[str | os.PathLike[str]],
    **labels: Labels | None,
) -> GalleryTable:
    """Return the table of images with ids from ``first_id``.

    Args:
        first_id: Id of the first image.
        count: Number N of embeddings.
        paths: N files, all different.
        **labels: See ``GalleryIndex.build``.

    Raises:
        TypeError: Labels of another name.
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
    known = ("cameras", "identities", "sessions", "tracklets")
    if strange := sorted(labels.keys() - set(known)):
        raise TypeError(f"labels are {', '.join(known)}, got {strange[0]}")
    for label in known:
        values = labels.get(label)
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


def excluded_names(label: str, values: object, queries: int) -> list[str]:
    """Return the name of the camera or session to exclude for each query, empty for none.

    Raises:
        TypeError: ``values`` is neither a name nor a list of them.
        ValueError: Not one name per query.
    """
    if values is None or isinstance(values, (str, int, np.integer)):
        return names([values]) * queries
    if not isinstance(values, Iterable):
        raise TypeError(f"exclude_{label} must be a {label} or one per query, got {values!r}")
    listed = names(values)
    if len(listed) != queries:
        raise ValueError(
            f"exclude_{label} must be a {label} or one for each of {queries} queries, got "
            f"{len(listed)}"
        )
    return listed


def _array(values: list[str]) -> Names:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
