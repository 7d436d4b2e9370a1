"""Flip, crop, normalisation and erasing of a batch on a processor, in one pass over its pixels.

The same numbers, bit for bit, as the tensors' operations of ``BatchAugmentation`` give.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common.compiled import compiled
from dccc_lightning.data.randomness import FIRST, GOLDEN, SECOND

_GOLDEN, _FIRST, _SECOND = (np.uint64(word % 2**64) for word in (GOLDEN, FIRST, SECOND))
_30, _27, _31, _11 = (np.uint64(bits) for bits in (30, 27, 31, 11))


@compiled
def _mix(word: Any) -> Any:
    """Hash a uint64 as ``randomness.mix`` does."""
    word = (word ^ (word >> _30)) * _FIRST
    word = (word ^ (word >> _27)) * _SECOND
    return word ^ (word >> _31)


@compiled
def _state(state: Any, key: Any) -> Any:
    """Return the state of a key (m,) of uint64, from that of its seed and stream."""
    for word in key:
        state = _mix((state ^ word) + _GOLDEN)
    return state


@compiled
def _uniform(state: Any, position: int) -> float:
    """Return the number at ``position`` of the row that ``randomness.uniforms`` draws."""
    word = _mix(state + np.uint64(position + 1) * _GOLDEN)
    return np.float64(word >> _11) * 2.0**-53


@compiled
def _rectangle(state: Any, height: int, width: int, erasing: Any) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of the erased rectangle, empty where there is none."""
    chance, attempts, area_low, area_high, aspect_low, aspect_high = erasing
    if _uniform(state, 3) < chance:
        for attempt in range(attempts):
            part, ratio = _uniform(state, 6 + 2 * attempt), _uniform(state, 7 + 2 * attempt)
            area = (area_low + (area_high - area_low) * part) * (height * width)
            aspect = aspect_low + (aspect_high - aspect_low) * ratio
            tall, wide = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
            if tall < height and wide < width:
                top = np.floor(_uniform(state, 4) * (height - tall + 1))
                left = np.floor(_uniform(state, 5) * (width - wide + 1))
                return int(top), int(top + tall), int(left), int(left + wide)
    return 0, 0, 0, 0


@compiled
def augment(
    images: NDArray[np.uint8],
    keys: NDArray[np.uint64],
    states: Any,
    flips: tuple[float, float],
    padding: int,
    erasing: tuple[float, int, float, float, float, float],
    colours: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write the augmented images.

    Args:
        images: (B, 3, H, W).
        keys: (B, m), the bits of int64.
        states: uint64 states of seed and stream, of the view and of its pose.
        flips: Probability of a horizontal and of a vertical flip.
        padding: Black pixels on each side before the crop.
        erasing: Probability, attempts, and ranges of area and aspect.
        colours: (3, 3) scale, shift and fill of each channel.
        out: (B, 3, H, W).
    """
    number, channels, height, width = images.shape
    for image in range(number):
        state = _state(states[0], keys[image])
        mirrored = _uniform(state, 0) < flips[0]
        inverted = flips[1] > 0 and _uniform(_state(states[1], keys[image]), 2) < flips[1]
        above = int(_uniform(state, 1) * (2 * padding + 1)) - padding
        before = int(_uniform(state, 2) * (2 * padding + 1)) - padding
        top, bottom, left, right = _rectangle(state, height, width, erasing)
        for channel in range(channels):
            scale, shift, fill = colours[:, channel]
            for row in range(height):
                source = above + row
                if inverted:
                    source = height - 1 - source
                line = out[image, channel, row]
                line[:] = -shift
                if 0 <= source < height:
                    pixels = images[image, channel, source]
                    for column in range(max(0, -before), min(width, width - before)):
                        at = width - 1 - (before + column) if mirrored else before + column
                        line[column] = np.float32(pixels[at]) * scale - shift
                if top <= row < bottom:
                    line[left:right] = fill
