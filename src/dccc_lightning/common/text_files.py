"""Reading of text files that users wrote, and tables as CSV."""

import codecs
import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from dccc_lightning.errors import UserError


def read_utf8(path: Path, setting: str, remedy: str) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Args:
        path: File.
        setting: Words before the path in the message on a file that cannot be read.
        remedy: Advice in the message on a file of another encoding.

    Raises:
        UserError: The file cannot be read, or is not UTF-8; the message has the line.
    """
    name = repr(os.fspath(path))
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{setting}{name} cannot be read: {reason}") from error
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}, line {line}: not UTF-8 ({error.reason}); {remedy}") from error


def csv_text(lines: Iterable[Iterable[object]]) -> str:
    r"""Return lines of cells as CSV.

    >>> csv_text([["name", "mAP"], ["a,b", 71.5]])
    'name,mAP\n"a,b",71.5\n'
    """
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()
