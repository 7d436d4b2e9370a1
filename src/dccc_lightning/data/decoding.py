"""Decoding of image files with Pillow, of plain JPEG files with TorchCodec if it is installed."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dccc_lightning.common import checks, turning_ranges
from dccc_lightning.data import torchcodec_jpeg
from dccc_lightning.data.high_bit_depth import shallow
from dccc_lightning.data.image_formats import MAX_PIXELS, READ, head_of, kind_of
from dccc_lightning.errors import UnreadableImageError

FORMATS = tuple(READ)
"""Formats that Pillow may detect in a file; some of its other readers run programs (EPS)."""

_TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)

# Pillow's exceptions for damaged files; broken PNG chunks raise SyntaxError.
DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def problem_of(error: BaseException, head: bytes = b"") -> str:
    """Return in one line why Pillow could not read an image that starts with ``head``."""
    if isinstance(error, UnidentifiedImageError):
        if (kind := kind_of(head)) is None:
            return "not an image of a known format"
        return f"{kind}, an unsupported format; convert it to JPEG or PNG"
    if isinstance(error, Image.DecompressionBombError):  # raised before check_size
        return f"more than {MAX_PIXELS:,} pixels in all"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def unreadable(path: str | os.PathLike[str], error: BaseException) -> UnreadableImageError:
    """Return the one-line error for a file that Pillow could not read."""
    problem = problem_of(error, head_of(path) if isinstance(error, UnidentifiedImageError) else b"")
    return UnreadableImageError(f"cannot read the image {os.fspath(path)}: {problem}")


def check_size(image: Image.Image) -> None:
    """Check the size in an image's header, before its pixels are decoded.

    Raises:
        ValueError: The image has more than ``MAX_PIXELS`` pixels, or none.
    """
    width, height = image.size
    if width * height == 0:
        raise ValueError(f"{height:,} x {width:,}, no pixels")
    if width * height > MAX_PIXELS:
        raise ValueError(f"{height:,} x {width:,} pixels, more than {MAX_PIXELS:,} in all")


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB and apply its EXIF orientation.

    Grey images of 16 or 32 bits are scaled to 8 bits by ``eight_bits``, where Pillow would clip
    them. Of a file with several pages, the first is used.

    Raises:
        ValueError: The image has values that are not finite.
    """
    rgb = shallow(image).convert("RGB")
    with suppress(Exception):  # damaged EXIF raises many kinds of exceptions
        ImageOps.exif_transpose(rgb, in_place=True)
    return rgb


_FITTING: Mapping[str, Callable[..., Image.Image]] = {
    "stretch": Image.Image.resize,
    "pad": ImageOps.pad,
    "crop": ImageOps.fit,
}


def resize_image(
    image: Image.Image,
    height: int,
    width: int,
    interpolation: str = "bicubic",
    turned: bool = False,
    fit: str = "stretch",
) -> NDArray[np.uint8]:
    """Convert an image to RGB and resize it (with antialiasing, as torchvision on PIL).

    Args:
        image: Of any mode and size.
        height: Height of the result.
        width: Width of the result.
        interpolation: Filter, ``bicubic`` or ``bilinear``.
        turned: Return the image and its three quarter turns, counterclockwise. It is turned before
            it is resized, so a file that is itself turned gives the same four images.
        fit: ``stretch`` to the size; or keep the aspect: ``pad`` with black on both sides, or
            ``crop`` the middle (``ImageOps.pad`` and ``ImageOps.fit`` of Pillow).

    Returns:
        (3, height, width) uint8; with ``turned`` (4, 3, height, width).

    Raises:
        ValueError: The image has more than ``MAX_PIXELS`` pixels or none, or values that are not
            finite.
    """
    check_size(image)
    rgb, resampling = to_rgb(image), Image.Resampling[interpolation.upper()]
    views = [rgb, *map(rgb.transpose, _TURNS)] if turned else [rgb]
    resize = _FITTING[checks.choice("fit", fit, turning_ranges.FITS)]
    resized = [np.asarray(resize(view, (width, height), resampling)) for view in views]
    pixels = np.stack(resized).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels if turned else pixels[0])


def decode_image(
    path: str | os.PathLike[str],
    height: int,
    width: int,
    interpolation: str = "bicubic",
    turned: bool = False,
    fit: str = "stretch",
) -> NDArray[np.uint8]:
    """Decode a file with ``resize_image``.

    The pixels are those of Pillow, whether ``torchcodec_jpeg`` has decoded the file or not.

    Returns:
        (3, height, width) uint8; with ``turned`` (4, 3, height, width).

    Raises:
        UnreadableImageError: The file is missing, empty, truncated, not an image, or larger than
            ``MAX_PIXELS`` (checked before decoding).
    """
    pixels = torchcodec_jpeg.decode(path)
    if pixels is not None and pixels.shape[:2] == (height, width) and not turned:
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))  # nothing to resize
    try:
        opened = Image.open(path, formats=FORMATS) if pixels is None else Image.fromarray(pixels)
        with opened as image:
            return resize_image(image, height, width, interpolation, turned, fit)
    except DECODING_ERRORS as error:
        raise unreadable(path, error) from error


def check_header(path: str | os.PathLike[str]) -> None:
    """Open a file without decoding its pixels.

    Raises:
        UnreadableImageError: The file is missing, empty, not an image or too large.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            check_size(image)
    except DECODING_ERRORS as error:
        raise unreadable(path, error) from error
