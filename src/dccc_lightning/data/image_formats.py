"""Recognition of image files by suffix and by first bytes."""

import os
import re
import warnings
from collections import Counter
from pathlib import Path

READ = {
    "BMP": (".bmp",),
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg"),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""Supported formats, by Pillow's names, with their suffixes in lower case."""

SUFFIXES = frozenset(suffix for suffixes in READ.values() for suffix in suffixes)

MAX_PIXELS = 2**26
"""Maximum height times width of an image: 201 MB as RGB, more than any photograph."""

HEAD_BYTES = 32
"""Number of bytes that identify the format of an image."""

SIGNATURES = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("BMP", re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)),
    ("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]")),
    ("WEBP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("AVIF", re.compile(rb".{4}ftypavi[fs]", re.DOTALL)),
    ("HEIF", re.compile(rb".{4}ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL)),
    ("JPEG 2000", re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51")),
    ("JPEG XL", re.compile(rb"\0\0\0\x0cJXL \r\n\x87\n")),
    ("PNM", re.compile(rb"P[1-7]\s+[#\d]|P7\nWIDTH")),
    ("PSD", re.compile(rb"8BPS\0")),
    ("OpenEXR", re.compile(rb"\x76\x2f\x31\x01")),
    ("QOI", re.compile(rb"qoif")),
)


def has_image_suffix(name: str | os.PathLike[str]) -> bool:
    """Return True if a file name has an image suffix, in any case.

    >>> has_image_suffix("a/IMG_0001.JPG"), has_image_suffix("notes.txt")
    (True, False)
    """
    return Path(name).suffix.lower() in SUFFIXES


def kind_of(head: bytes) -> str | None:
    """Return the format of an image by its first ``HEAD_BYTES`` bytes; None if unknown.

    >>> kind_of(b"GIF89a..."), kind_of(b"path,camera")
    ('GIF', None)
    """
    return next((kind for kind, signature in SIGNATURES if signature.match(head)), None)


def head_of(path: str | os.PathLike[str]) -> bytes:
    """Return the first ``HEAD_BYTES`` bytes of a file; empty if it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # accepts any os.PathLike
            return file.read(HEAD_BYTES)
    except (OSError, ValueError):
        return b""


class MisnamedImages:
    """Counter of files that are images by their first bytes, but not by their suffix."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._first = ""

    def look(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Count a file without image suffix if it is an image.

        Args:
            path: Path of the file.
            name: Name to show in the warning instead of the path.
        """
        if kind := kind_of(head_of(path)):
            self._first = self._first or (name or os.fspath(path))
            self._kinds[kind] += 1

    def warn(self, place: str) -> None:
        """Warn about the counted files, and reset the counter.

        Args:
            place: Folder or dataset, the start of the warning.
        """
        if not self._kinds:
            return
        count = self._kinds.total()
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self._kinds.items()))
        remedies = []
        if any(kind in READ for kind in self._kinds):
            remedies.append(f"rename those of supported formats ({', '.join(sorted(SUFFIXES))})")
        if any(kind not in READ for kind in self._kinds):
            remedies.append("convert the others to JPEG or PNG")
        warnings.warn(
            f"{place}: {count} file{'s are images' if count > 1 else ' is an image'} by the first "
            f"bytes ({kinds}) but not by the suffix, and left out, the first is {self._first!r}; "
            f"{' and '.join(remedies)}",
            stacklevel=1,
        )
        self.__init__()  # type: ignore[misc]
