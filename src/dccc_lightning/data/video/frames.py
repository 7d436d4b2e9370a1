"""Frames of a video or a folder, in order, as the croppers see them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Frame:
    """Frame of a video.

    Attributes:
        number: Number of the frame, counted from 0 in decoding order.
        seconds: Time since the first frame, None if unknown.
        pts: Presentation time as the file has it, None if unknown.
        pixels: Function that converts the frame to upright RGB (H, W, 3).
    """

    number: int
    seconds: float | None
    pts: int | None
    pixels: Callable[[], Pixels]


@dataclass(eq=False)
class Ending:
    """End of a video: the number of its frames, and remarks.

    Attributes:
        count: Frames decoded.
        notes: Remarks on frames that are missing or damaged.
    """

    count: int = 0
    notes: list[str] = field(default_factory=list)


class FrameSource(Protocol):
    """Video or folder of frames.

    Attributes:
        name: Path as text.
        size: Width and height of the upright picture.
        coded_size: Width and height before turning.
        ending: How it ended, complete after the last frame.
        record: Decoder, version and colour tags, for the record of a run.
    """

    name: str
    size: tuple[int, int]
    coded_size: tuple[int, int]
    ending: Ending
    record: dict[str, Any]

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order."""
        ...
