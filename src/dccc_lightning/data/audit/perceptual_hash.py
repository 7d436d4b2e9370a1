"""Perceptual hash: images that look alike have hashes that differ in few bits."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64
"""Pixels of the square that an image is brought to."""

FREQUENCIES = 16
"""Lowest frequencies of the cosine transform that are kept, in each direction."""

BITS = FREQUENCIES * FREQUENCIES

BANDS = 16
"""Parts of a hash, of 16 bits each."""


def _transform() -> NDArray[np.float32]:
    """Return the first rows of the discrete cosine transform (DCT-II), up to a factor."""
    phase = np.outer(np.arange(FREQUENCIES), 2 * np.arange(SIDE) + 1)
    return np.cos(np.pi * phase / (2 * SIDE)).astype(np.float32)


def _order() -> NDArray[np.int64]:
    """Return the order of the bits: every band gets low and high frequencies.

    A band of low ones alone would be the same in most pictures of people.
    """
    row, column = np.divmod(np.arange(BITS), FREQUENCIES)
    return np.lexsort((row, row + column)).reshape(-1, BANDS).T.ravel()


_TRANSFORM, _ORDER = _transform(), _order()


def perceptual_hash(image: Image.Image) -> bytes:
    """Return the hash of an image: which low frequencies are above their median.

    Another size, proportion, compression or brightness changes few bits; a part that was cut off,
    a mirror or a turn changes many.

    Args:
        image: Of any mode that converts to grey.

    Returns:
        ``BITS`` bits in ``BANDS`` bands.
    """
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    pixels = np.asarray(grey, dtype=np.float32)
    lowest = (_TRANSFORM @ pixels @ _TRANSFORM.T).ravel()
    return np.packbits((lowest > np.median(lowest))[_ORDER]).tobytes()
