"""Perceptual hash: hashes of similar images differ in few bits."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64
"""Side of the square to which images are resized, in pixels."""

FREQUENCIES = 16
"""Number of lowest frequencies of the cosine transform that are kept, per direction."""

BITS = FREQUENCIES * FREQUENCIES

BANDS = 16
"""Number of parts of a hash, of 16 bits each."""


def _transform() -> NDArray[np.float32]:
    """Return the first rows of the discrete cosine transform (DCT-II), up to a factor."""
    phase = np.outer(np.arange(FREQUENCIES), 2 * np.arange(SIDE) + 1)
    return np.cos(np.pi * phase / (2 * SIDE)).astype(np.float32)


def _order() -> NDArray[np.int64]:
    """Return an order of the bits in which every band has low and high frequencies.

    A band of low frequencies only would be equal in most images of people.
    """
    row, column = np.divmod(np.arange(BITS), FREQUENCIES)
    return np.lexsort((row, row + column)).reshape(-1, BANDS).T.ravel()


_TRANSFORM, _ORDER = _transform(), _order()


def perceptual_hash(image: Image.Image) -> bytes:
    """Hash an image by comparing its low frequencies with their median.

    Changes of size, aspect ratio, compression or brightness change few bits; cropping, mirroring
    or rotation change many.

    Args:
        image: Image of any mode that Pillow converts to grey.

    Returns:
        ``BITS`` bits in ``BANDS`` bands.
    """
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    pixels = np.asarray(grey, dtype=np.float32)
    lowest = (_TRANSFORM @ pixels @ _TRANSFORM.T).ravel()
    return np.packbits((lowest > np.median(lowest))[_ORDER]).tobytes()
