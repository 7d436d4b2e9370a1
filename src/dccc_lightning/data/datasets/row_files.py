"""Rows of list files: lines of text, CSV, XML."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

from dccc_lightning.errors import UserError

Row = dict[str, str | None]
"""Named groups of a line, columns of a CSV row, or attributes of an XML element.

The group "" is the whole line.
"""

DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
"""Declaration of an XML file, whose encoding (often gb2312) is that of an editor."""


def read_rows(
    place: str, file: Path, line: re.Pattern[str] | None = None
) -> tuple[list[Row], list[str]]:
    """Return the rows of a file, and the lines that do not match.

    Args:
        place: Name of the dataset, the start of each message.
        file: CSV file with a header, XML file whose elements have attributes, or text.
        line: Regular expression of a whole line of text; empty lines are ignored.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix == ".xml":
            root = ElementTree.fromstring(DECLARATION.sub("", text))
            return [{**e.attrib, "": str(e.attrib)} for e in root.iter() if e.attrib], []
        if file.suffix == ".csv":
            return [{**row, "": str(row)} for row in csv.DictReader(io.StringIO(text))], []
    except (OSError, UnicodeDecodeError, ElementTree.ParseError, csv.Error) as error:
        raise UserError(f"{place}: cannot read {file}: {error}") from error
    rows: list[Row] = []
    strangers: list[str] = []
    for written in filter(None, map(str.strip, text.splitlines())):
        match = line.fullmatch(written) if line else None
        if match is None:
            strangers.append(written)
        else:
            rows.append({**match.groupdict(), "": written})
    return rows, strangers


def kept_rows(place: str, home: Path, values: object) -> frozenset[str]:
    """Return the values that a group may have: those of a list, or of a file.

    Args:
        place: Name of the dataset, the start of each message.
        home: Folder of the dataset.
        values: Values, or the name of a file with numbers between commas or blanks.

    Raises:
        UserError: The file cannot be read.
    """
    if isinstance(values, str):
        try:
            text = (home / values).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{place}: cannot read {home / values}: {error}") from error
        values = re.split(r"[\s,;]+", text.strip())
    listed: Iterable[object] = values if isinstance(values, (list, tuple)) else [values]
    return frozenset(map(plain, listed))


def plain(text: object) -> str:
    """Return a label for comparisons, a number without leading zeros.

    >>> plain("0007"), plain(-1), plain("00-1")
    ('7', '-1', '00-1')
    """
    word = "" if text is None else str(text).strip()
    return str(int(word)) if re.fullmatch(r"-?\d{1,20}", word, re.ASCII) else word


def missing_files(paths: Sequence[Path]) -> list[Path]:
    """Return the paths that do not exist, listing each folder once."""
    listings: dict[Path, set[str]] = {}
    for folder in {path.parent for path in paths}:
        listings[folder] = set()
        with suppress(OSError, ValueError):  # missing folder, or invalid name
            listings[folder] = {entry.name for entry in folder.iterdir()}
    return [path for path in paths if path.name not in listings[path.parent]]
