"""Sheets of thumbnails of a map: a few pictures that hold all its images."""

import math
import os
from base64 import b64encode
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from dccc_lightning.common.progress import announced
from dccc_lightning.data.decoding import DECODING_ERRORS, FORMATS, check_size, decode_image
from dccc_lightning.errors import UnreadableImageError

KIND = "webp" if features.check("webp") else "jpeg"

HEIGHTS = (96, 72, 56, 40, 28)
"""Heights of thumbnails in pixels; a page takes the largest that fit."""

SIDE = 2048
"""Largest width and height of a sheet in pixels."""

_PILOT = 256
"""Images whose thumbnails tell the bytes of all."""

_MARGIN = 1.1
"""Bytes of all thumbnails over those that a pilot tells, at most."""

_QUALITY = 60
_BLANK = 128
"""Grey of a thumbnail whose image cannot be read."""


@dataclass(frozen=True)
class Sheets:
    """Pictures with ``columns`` times ``rows`` thumbnails each, row by row, the last one cut.

    Attributes:
        pictures: Contents of files of ``KIND``.
        width: Of a thumbnail, in pixels.
        height: Of a thumbnail.
        columns: Of thumbnails in a picture.
        rows: Of thumbnails in a picture.
    """

    pictures: Sequence[bytes]
    width: int
    height: int
    columns: int
    rows: int

    def uris(self) -> list[str]:
        """Return the pictures as data URIs."""
        return [f"data:image/{KIND};base64,{b64encode(p).decode()}" for p in self.pictures]


def aspect_of(paths: Sequence[str]) -> float:
    """Return width over height of the median of some images, within a third and three."""
    found = []
    for place in np.linspace(0, len(paths) - 1, min(len(paths), 32)).round().astype(int):
        try:
            with Image.open(paths[place], formats=FORMATS) as image:
                check_size(image)
                found.append(image.width / image.height)
        except DECODING_ERRORS:
            continue
    return float(np.clip(np.median(found), 1 / 3, 3)) if found else 0.5


def make_sheets(paths: Sequence[str], height: int, aspect: float) -> Sheets:
    """Read images and lay out their thumbnails; memory is that of one sheet.

    Args:
        paths: Of the images. Those that cannot be read become grey.
        height: Of the thumbnails, in pixels.
        aspect: Width over height of the thumbnails.
    """
    width = max(1, round(height * aspect))
    columns, rows = max(1, SIDE // width), max(1, SIDE // height)
    size = columns * rows
    pictures = []
    with (
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
        announced("reading images for the map", len(paths)) as phase,
    ):
        for first in range(0, len(paths), size):
            some = paths[first : first + size]
            tiles = pool.map(partial(_tile, height=height, width=width), some)
            pictures.append(_sheet(tiles, len(some), height, width, columns))
            phase.advance(len(some))
    return Sheets(pictures, width, height, columns, rows)


def fitting_sheets(paths: Sequence[str], room: float) -> Sheets | None:
    """Return the sheets of the largest of ``HEIGHTS`` that take at most ``room`` bytes as base64.

    None if not even the smallest do.
    """
    aspect = aspect_of(paths)
    some = [paths[n] for n in np.linspace(0, len(paths) - 1, min(len(paths), _PILOT)).astype(int)]
    for height in HEIGHTS:
        told = _encoded(make_sheets(some, height, aspect)) * len(paths) / len(some)
        if told <= room * (1 if len(some) == len(paths) else _MARGIN):
            sheets = make_sheets(paths, height, aspect)
            if _encoded(sheets) <= room:
                return sheets
    return None


def _encoded(sheets: Sheets) -> int:
    return sum(4 * math.ceil(len(picture) / 3) for picture in sheets.pictures)


def _tile(path: str, height: int, width: int) -> NDArray[np.uint8]:
    try:
        return decode_image(path, height, width).transpose(1, 2, 0)
    except UnreadableImageError:
        return np.full((height, width, 3), _BLANK, dtype=np.uint8)


def _sheet(
    tiles: Iterator[NDArray[np.uint8]], count: int, height: int, width: int, columns: int
) -> bytes:
    rows = math.ceil(count / columns)
    picture = np.zeros((rows * height, min(columns, count) * width, 3), dtype=np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        top, left = row * height, column * width
        picture[top : top + height, left : left + width] = tile
    content = BytesIO()
    Image.fromarray(picture).save(content, KIND, quality=_QUALITY)
    return content.getvalue()
