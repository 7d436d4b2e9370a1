"""Labels of images from a CSV file."""

import csv
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from dccc_lightning.common.text_files import read_utf8
from dccc_lightning.data.datasets.image_labels import LABELS, ImageLabels, LabelTemplates
from dccc_lightning.data.datasets.image_tree import is_inside
from dccc_lightning.data.image_formats import READ, has_image_suffix
from dccc_lightning.errors import UserError


def read_table(
    file: Path,
    root: Path,
    outside: bool = False,
    templates: Mapping[str, object] | None = None,
) -> list[ImageLabels]:
    """Read a CSV table of images with a column ``path`` and optional label columns.

    The file is UTF-8 (with or without byte order mark) with commas and quotes as in RFC 4180. The
    label columns are ``LABELS``; an empty cell is unknown. Other columns, unless ``templates`` name
    them, and empty lines are ignored.

    Args:
        file: CSV file.
        root: Folder to which paths are relative.
        outside: Allow files outside of the root, after following links.
        templates: Labels joined from columns (in lower case), see ``LabelTemplates``.

    Returns:
        The rows sorted by path.

    Raises:
        UserError: The file is missing, or has an invalid encoding, header or row, or an image is
            missing, outside of the root or listed twice, or a template names an unknown column.
    """
    joined: LabelTemplates | None = None
    real_root = os.path.realpath(root)
    lines: dict[str, int] = {}
    images: list[ImageLabels] = []
    for line, row in _rows(file):
        place = f"{os.fspath(file)!r}, line {line}"
        path = row["path"]
        if not path or "\0" in path:
            raise UserError(f"{place}: {'an empty path' if not path else f'no path: {path!r}'}")
        if not has_image_suffix(path):
            raise UserError(f"{place}: {path!r} has no image suffix ({', '.join(READ)})")
        real = os.path.realpath(root / path)
        if not outside and not is_inside(real, real_root):
            raise UserError(
                f"{place}: {path!r} lies outside {os.fspath(root)!r}; set dataset.outside=true to "
                "allow it"
            )
        if not os.path.isfile(real):  # noqa: PTH113  # Path.is_file raises for names too long
            raise UserError(f"{place}: no file {path!r} in {os.fspath(root)!r}")
        if lines.setdefault(real, line) != line:
            raise UserError(f"{place}: {path!r} repeats the file of line {lines[real]}")
        if joined is None:
            try:
                joined = LabelTemplates(templates or {}, tuple(row))
            except ValueError as error:
                raise UserError(f"{os.fspath(file)!r}: dataset.{error}") from error
        images.append(joined.labels(path, row))
    return sorted(images)


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line number and the cells of each non-empty row."""
    text = read_utf8(file, "dataset.table=", "save it as UTF-8")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] | None = None
    try:
        for row in reader:
            place = f"{os.fspath(file)!r}, line {reader.line_num}"
            if not row:
                continue
            if columns is None:
                columns = [cell.strip().lower() for cell in row]
                _check_columns(columns, place)
            elif len(row) != len(columns):
                raise UserError(f"{place}: {len(row)} cells, the header has {len(columns)}")
            else:
                yield reader.line_num, dict(zip(columns, row, strict=True))
    except csv.Error as error:
        raise UserError(f"{os.fspath(file)!r}, line {reader.line_num}: {error}") from error
    if columns is None:
        raise UserError(f"{os.fspath(file)!r}, line 1: no header; it must name the column path")


def _check_columns(columns: list[str], place: str) -> None:
    shown = ", ".join(map(repr, columns[:8]))
    if "path" not in columns:
        raise UserError(
            f"{place}: no column path; the header must name path and may name "
            f"{', '.join(LABELS)}, with commas between, got {shown}"
        )
    twice = next((name for name in ("path", *LABELS) if columns.count(name) > 1), None)
    if twice:
        raise UserError(f"{place}: two columns {twice}")
