"""JPEG files decoded by TorchCodec, if it is installed and gives the pixels of Pillow."""

import io
import os
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dccc_lightning.data.image_formats import MAX_PIXELS

_START = b"\xff\xd8\xff"
_FRAMES = {0xC0, 0xC1, 0xC2}
"""Markers of Huffman-coded frames, sequential and progressive."""

_SCAN, _APP1 = 0xDA, 0xE1
_HARMLESS = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)} - {_APP1}
"""Tables, restart intervals, comments and application segments."""


def available() -> bool:
    """Return True if TorchCodec is installed and decodes samples to the pixels of Pillow."""
    return _decoder() is not None


def decode(path: str | os.PathLike[str]) -> NDArray[np.uint8] | None:
    """Decode a plain JPEG file, grey or RGB without EXIF.

    Returns:
        (height, width, 3), or None where Pillow is to decode it, and to raise the error of a file
        that cannot be read.
    """
    if (decoder := _decoder()) is None:
        return None
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # twice as fast as Path
            if file.read(3) != _START:
                return None
            data = _START + file.read()
        if not _is_plain(data):
            return None
        pixels: NDArray[np.uint8] = decoder(data).permute(1, 2, 0).numpy()
    except (OSError, RuntimeError, ValueError):
        return None
    return pixels


@cache
def _decoder() -> Any:
    """Return TorchCodec's function, or None."""
    noise = np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8)
    try:
        decode_jpeg = import_module("torchcodec.decoders").decode_jpeg  # an extra
        for subsampling in range(3):
            file = io.BytesIO()
            Image.fromarray(noise).save(file, "JPEG", subsampling=subsampling)
            wanted = np.asarray(Image.open(file))
            pixels = decode_jpeg(file.getvalue()).permute(1, 2, 0).numpy()
            if not np.array_equal(pixels, wanted):
                return None
    except (AttributeError, ImportError, OSError, RuntimeError, TypeError, ValueError):
        return None  # absent, of another version, for another torch, or without JPEG
    return decode_jpeg


def _is_plain(data: bytes) -> bool:
    """Return True for 8 bits of grey or three components, of a size to decode, without EXIF.

    EXIF and XMP, in segments APP1, may say how to turn the image, which Pillow reads.
    """
    at, frames = 2, 0
    while at + 9 < len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SCAN:
            return frames == 1
        if marker in _FRAMES:
            frames += 1
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            width = int.from_bytes(data[at + 7 : at + 9], "big")
            if data[at + 4] != 8 or data[at + 9] not in (1, 3):
                return False
            if not 0 < height * width <= MAX_PIXELS:
                return False
        elif marker not in _HARMLESS or length < 2:
            return False
        at += 2 + length
    return False
