"""Decoding of image files with Pillow, without torch."""

import os
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dccc_lightning.data.high_bit_depth import shallow
from dccc_lightning.data.image_formats import READ, head_of, kind_of
from dccc_lightning.errors import UnreadableImageError

MAX_PIXELS = 2**26
"""Largest image, height times width, that is decoded: 201 MB as RGB; any photograph is smaller."""

FORMATS = tuple(READ)
"""What may be in a file, whatever its name: other readers of Pillow start programs (EPS)."""

# What Pillow raises on damaged files: broken PNG chunks are a SyntaxError, bombs an error apart.
DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def problem_of(error: BaseException, head: bytes = b"") -> str:
    """Say in one line why Pillow could not read an image, whose first bytes are ``head``."""
    if isinstance(error, UnidentifiedImageError):
        if (kind := kind_of(head)) is None:
            return "not an image of a known format"
        return f"{kind}, of a sort that is not read; convert it to JPEG or PNG"
    if isinstance(error, Image.DecompressionBombError):  # before check_size could refuse it
        return f"more than {MAX_PIXELS:,} pixels in all"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def unreadable(path: str | os.PathLike[str], error: BaseException) -> UnreadableImageError:
    """Return the one-line error for a file that Pillow could not read."""
    problem = problem_of(error, head_of(path) if isinstance(error, UnidentifiedImageError) else b"")
    return UnreadableImageError(f"cannot read the image {os.fspath(path)}: {problem}")


def check_size(image: Image.Image) -> None:
    """Refuse an image by its header, before its pixels are decoded.

    Raises:
        ValueError: it has more than ``MAX_PIXELS`` pixels, or none.
    """
    width, height = image.size
    if width * height == 0:
        raise ValueError(f"{height:,} x {width:,}, so without pixels")
    if width * height > MAX_PIXELS:
        raise ValueError(f"{height:,} x {width:,} pixels, more than {MAX_PIXELS:,} in all")


def to_rgb(image: Image.Image) -> Image.Image:
    """Bring an image of any mode to RGB, upright as viewers show it (EXIF orientation).

    Grey images of 16 or 32 bits are scaled to 8 by ``eight_bits``, where Pillow would cut them off.
    A file of several pages gives the first.

    Raises:
        ValueError: values that are not finite.
    """
    rgb = shallow(image).convert("RGB")
    with suppress(Exception):  # damaged EXIF trips Pillow's reader in all kinds of ways
        ImageOps.exif_transpose(rgb, in_place=True)
    return rgb


def resize_image(image: Image.Image, height: int, width: int) -> NDArray[np.uint8]:
    """Bring an image to RGB and to a size (bicubic, antialiased, as torchvision does with Pillow).

    Returns:
        (3, height, width) uint8.

    Raises:
        ValueError: it has more than ``MAX_PIXELS`` pixels or none, or values that are none of an
            image.
    """
    check_size(image)
    resized = to_rgb(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


def decode_image(path: str | os.PathLike[str], height: int, width: int) -> NDArray[np.uint8]:
    """Decode a file with ``resize_image``.

    Returns:
        (3, height, width) uint8.

    Raises:
        UnreadableImageError: the file is missing, empty, truncated, not an image, or larger than
            ``MAX_PIXELS``, which is seen before anything is decoded.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            return resize_image(image, height, width)
    except DECODING_ERRORS as error:
        raise unreadable(path, error) from error


def check_header(path: str | os.PathLike[str]) -> None:
    """Open a file without decoding its pixels.

    Raises:
        UnreadableImageError: the file is missing, empty, not an image or too large.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            check_size(image)
    except DECODING_ERRORS as error:
        raise unreadable(path, error) from error
