"""Conversion of grey images of 16 or 32 bits (thermal cameras, scanners) to 8 bits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SMALL_PART = 0.25
"""Share of the scale below which values are stretched: sensors use 14 bits or fewer."""

PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
"""TIFF tag, and its value for images where 0 is white, which Pillow inverts only at 8 bits."""


def shallow(image: Image.Image) -> Image.Image:
    """Return an image of 8 bits per channel, scaling deeper grey images by ``eight_bits``."""
    if not image.mode.startswith("I;16") and image.mode not in ("I", "F"):
        return image
    is_inverted = getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO
    scaled = Image.fromarray(eight_bits(np.asarray(image), is_inverted))
    scaled.info = image.info
    return scaled


def eight_bits(values: NDArray[Any], is_inverted: bool = False) -> NDArray[np.uint8]:
    """Scale grey values to 0 to 255.

    Values that fill their scale (0 to 65,535; 0 to 1 or 0 to 255 for floats and 32-bit integers)
    are divided by it. Measurements, such as the counts or temperatures of a thermal camera, span
    less than a quarter of the scale or lie outside it; they are stretched from the minimum to the
    maximum of the image.

    Args:
        values: (H, W) of 16-bit or 32-bit integers, or floats.
        is_inverted: True if 0 is white.

    Returns:
        (H, W) uint8.

    Raises:
        ValueError: ``values`` has entries that are not finite.

    >>> eight_bits(np.array([[0, 257, 65535]], dtype=np.uint16)).tolist()
    [[0, 1, 255]]
    >>> eight_bits(np.array([[29500, 30000, 30500]], dtype=np.uint16)).tolist()
    [[0, 128, 255]]
    """
    if not np.isfinite(values).all():
        raise ValueError("values that are not finite; convert it to 8 bits")
    grey = values.astype(np.float64)
    low, high = float(grey.min()), float(grey.max())
    scale = 65535.0 if values.dtype.itemsize == 2 else 1.0 if _is_unit(values, high) else 255.0
    if low < 0 or high > scale or 0 < high - low < SMALL_PART * scale:
        grey = (grey - low) / max(high - low, np.finfo(np.float64).tiny)
    else:
        grey /= scale
    if is_inverted:
        grey = 1 - grey
    return np.rint(255 * grey).astype(np.uint8)


def _is_unit(values: NDArray[Any], high: float) -> bool:
    """Return True if floats have the scale 0 to 1."""
    return values.dtype.kind == "f" and high <= 1
