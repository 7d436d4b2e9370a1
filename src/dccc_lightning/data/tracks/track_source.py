"""File or folder of tracks, opened once, as the formats look at it."""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from dccc_lightning.common.text_files import read_utf8
from dccc_lightning.errors import UserError

SUPERVISION = ("x_min", "y_min", "x_max", "y_max")
"""Columns by which a header is told from a row of numbers."""


class TrackSource:
    """File or folder of tracks.

    Attributes:
        path: File; of a folder with ``gt/gt.txt`` (MOT) or ``labels`` (ultralytics), that.

    Raises:
        UserError: The path does not exist, or the file cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given = Path(path).expanduser()
        inner = [given / "gt" / "gt.txt", given / "labels"]
        self.path = next((place for place in inner if place.exists()), given)
        self.is_folder = self.path.is_dir()
        self.content = "" if self.is_folder else text_of(self.path)

    @property
    def is_empty(self) -> bool:
        """True for a file without content, as trackers write it where they find nothing."""
        return not (self.is_folder or self.content.strip())

    @property
    def name(self) -> str:
        """Path as text."""
        return os.fspath(self.path)

    @cached_property
    def json(self) -> Any:
        """Content of a JSON file, None of another one.

        Raises:
            UserError: The file begins as JSON and is not.
        """
        if self.content.lstrip()[:1] not in ("[", "{"):
            return None
        try:
            return json.loads(self.content)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{self.name!r}, line {error.lineno}: not JSON: {error.msg}; is the file whole?"
            ) from error
        except RecursionError as error:
            raise UserError(f"{self.name!r}: JSON nested too deeply for a file of boxes") from error

    @cached_property
    def object(self) -> Mapping[str, Any]:
        """Content of a JSON file that is an object, else an empty one."""
        return self.json if isinstance(self.json, dict) else {}

    @cached_property
    def first(self) -> Mapping[str, Any]:
        """First element of a JSON list of objects, else an empty object."""
        found = self.json if isinstance(self.json, list) else []
        return found[0] if found and isinstance(found[0], dict) else {}

    @cached_property
    def is_xml(self) -> bool:
        """True if the file begins as XML."""
        return self.content.lstrip()[:1] == "<"

    @cached_property
    def header(self) -> list[str]:
        """Column names of a CSV file with a header, empty for another file."""
        line = self.content.lstrip().partition("\n")[0]
        names = [name.strip() for name in next(csv.reader([line]), [])]
        return names if set(SUPERVISION) <= set(names) else []

    @cached_property
    def width(self) -> int:
        """Number of columns of a file of numbers between commas, 0 for another file.

        Raises:
            UserError: The rows have different numbers of columns.
        """
        if self.is_folder or self.is_xml or self.json is not None or self.header:
            return 0
        found = 0
        for line, cells in self.cells():
            if not found and not (len(cells) > 1 and _is_number(cells[0])):
                return 0
            found = found or len(cells)
            if len(cells) != found:
                raise UserError(
                    f"{self.name!r}, line {line}: {len(cells)} columns, {found} before; is the "
                    "file whole?"
                )
        return found

    def cells(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number and the cells of each line that is not empty."""
        for number, line in enumerate(io.StringIO(self.content), 1):
            if row := line.strip():
                cells = row.split(",") if "," in row else row.split()
                if cells[-1] == "":  # a comma at the end
                    cells.pop()
                yield number, cells


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def text_of(path: Path) -> str:
    """Return the text of a UTF-8 file of boxes; see ``read_utf8``."""
    return read_utf8(path, "tracks ", "give the file of boxes, not the video")
