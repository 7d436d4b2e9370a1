"""Tables of images with their labels as text, read from CSV or Parquet."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from dccc_lightning.common.parquet_files import open_parquet
from dccc_lightning.errors import UserError

LABELS = ("camera", "identity", "session", "tracklet", "frame")
"""Columns beside ``path``; an empty cell is unknown."""

SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True, eq=False)
class ImageTable:
    """Images with labels.

    Attributes:
        file: File of the table.
        paths: Absolute paths, all different.
        columns: Labels by column, None where unknown; columns that the file lacks are absent.
    """

    file: Path
    paths: list[str]
    columns: dict[str, list[str | None]]

    def column(self, name: str) -> list[str | None]:
        """Return a column, all None if the file lacks it."""
        return self.columns.get(name, [None] * len(self.paths))

    def rows(self, paths: Sequence[str]) -> list[int]:
        """Return the row of each path: rows belong to images by path, in whatever order.

        Raises:
            UserError: A path is not in the table.
        """
        places = {path: row for row, path in enumerate(self.paths)}
        missing = [path for path in paths if path not in places]
        if missing:
            raise UserError(
                f"{self.file}: no row for {len(missing):,} of {len(paths):,} images, the first is "
                f"{missing[0]}; add them, or remove the table"
            )
        return [places[path] for path in paths]


def read_columns(file: Path, needed: Sequence[str], optional: Sequence[str]) -> pa.Table:
    """Read columns of a CSV or Parquet file as text; empty cells are null.

    Nothing is taken for a number or a missing value: ``0007``, ``NA`` and ``1e5`` stay as they are.

    Raises:
        UserError: The file cannot be read, a needed column is absent, or a name differs from that
            of a column in capitals or spaces.
    """
    if file.is_dir() or not file.exists():
        what = "a folder" if file.is_dir() else "no such file"
        raise UserError(f"{file}: {what}; give a .csv or .parquet file")
    try:
        if file.suffix.lower() == ".parquet":
            table = open_parquet(file)
        else:
            text = dict.fromkeys((*needed, *optional), pa.string())
            table = pyarrow.csv.read_csv(
                file,
                pyarrow.csv.ReadOptions(use_threads=False),
                pyarrow.csv.ParseOptions(newlines_in_values=True),
                pyarrow.csv.ConvertOptions(
                    column_types=text, null_values=[""], strings_can_be_null=True
                ),
            )
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file}: cannot be read as a table ({reason})") from error
    for name in needed:
        if name not in table.column_names:
            raise UserError(
                f"{file}: no column {name}; its columns are {', '.join(table.column_names[:8])}"
            )
    for name in (*needed, *optional):
        if table.column_names.count(name) > 1:
            raise UserError(f"{file}: two columns {name}")
        alike = [own for own in table.column_names if own.strip().lower() == name]
        if alike and name not in alike:
            raise UserError(f"{file}: a column {alike[0]!r}, not {name!r}; rename it")
    kept = [name for name in (*needed, *optional) if name in table.column_names]
    try:
        return table.select(kept).cast(pa.schema([(name, pa.string()) for name in kept]))
    except pa.ArrowException as error:
        raise UserError(f"{file}: a column of {', '.join(kept)} holds no text") from error


def read_image_table(file: Path) -> ImageTable:
    """Read a table of images with a column ``path`` and some of ``LABELS``.

    Paths are absolute or relative to the folder of the table. Other columns are ignored.

    Raises:
        UserError: The table cannot be read, a path is empty or repeats, a frame is not a whole
            number, or two images of a tracklet have one frame.
    """
    table = read_columns(file, ("path",), LABELS)
    columns = {
        name: [cell or None for cell in table[name].to_pylist()] for name in table.column_names
    }
    given = columns.pop("path")
    if "frame" in columns:
        columns["frame"] = [cell and without_fraction(cell) for cell in columns["frame"]]
    rows: dict[str, int] = {}
    for number, path in enumerate(given, 1):
        if path is None:
            raise UserError(f"{file}, row {number}: an empty path")
        absolute = os.path.abspath(file.parent / Path(path).expanduser())  # noqa: PTH100  (without ..)
        if rows.setdefault(absolute, number) != number:
            raise UserError(f"{file}, row {number}: {path!r} repeats row {rows[absolute]}")
    table_of = ImageTable(file, list(rows), columns)
    _check_frames(table_of)
    return table_of


def without_fraction(number: str) -> str:
    """Return a number without ``.0``, which pandas writes where other cells are empty.

    >>> without_fraction("12.0"), without_fraction("1.5"), without_fraction("a.0")
    ('12', '1.5', 'a.0')
    """
    whole = number.removesuffix(".0")
    return whole if whole.isascii() and whole.isdigit() else number


def _check_frames(table: ImageTable) -> None:
    """Raise an error for frames that are no numbers or that a tracklet has twice."""
    seen: dict[tuple[str | None, ...], int] = {}
    frames, *keys = map(table.column, ("frame", "camera", "session", "tracklet"))
    for number, (frame, *key) in enumerate(zip(frames, *keys, strict=True), 1):
        if frame is not None and not (frame.isascii() and frame.isdigit() and len(frame) <= 18):
            raise UserError(
                f"{table.file}, row {number}: frame {frame!r} is no whole number from 0; for "
                "times, give seconds or milliseconds since one moment in all cameras"
            )
        if frame is None or key[-1] is None:
            continue
        first = seen.setdefault((str(int(frame)), *key), number)
        if first != number:
            raise UserError(
                f"{table.file}, row {number}: frame {frame} of tracklet {key[-1]} repeats row "
                f"{first}; overlapping tracklets need ids of their own"
            )
