"""Warning about cameras of too few images, which may be sightings."""

import warnings

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.common.console import counted
from dccc_lightning.data.records import UNKNOWN

SMALL_CAMERA = 10
"""Number of images a camera has on average, below which cameras may be sightings."""


def warn_of_small_cameras(place: str, cameras: NDArray[np.int64]) -> None:
    """Warn if cameras have fewer than ``SMALL_CAMERA`` images on average.

    Args:
        place: Name of the dataset or input, the start of the warning.
        cameras: (N,) cameras, ``UNKNOWN`` where unknown.
    """
    known = cameras[cameras != UNKNOWN]
    number = len(np.unique(known))
    if len(known) < SMALL_CAMERA * number:
        warnings.warn(
            f"{place}: cameras have {len(known) / number:.1f} images on average "
            f"({counted(number, 'camera')}), under {SMALL_CAMERA}; if they are sightings or "
            "days, call the group or column session: evaluation leaves out the matches within "
            "one, and clustering ignores it",
            stacklevel=1,
        )
