"""Tracks of a synthetic video: those of a perfect tracker, and of one that errs.

The erring tracker jitters boxes, misses people who are hidden, starts a new track after it has
lost one, exchanges two tracks where people cross, and reports empty boxes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dccc_lightning.data.synthetic.video_frames import TrueBox

VISIBLE = 0.25
"""Least visible share of a person that a perfect detector reports."""

JITTER = 0.02
"""Standard deviation of each edge, in heights of the box."""

MISSED = 0.03
"""Probability that a visible person is missed in a frame."""

HIDDEN = (0.5, 0.6)
"""Visible share below which people are missed more often, and that probability."""

PATIENCE = 8
"""Frames without a detection after which a track ends."""

SWITCH = (0.5, 0.04)
"""Overlap (IoU) of two boxes above which tracks are exchanged, and the probability in a frame."""

FALSE_BOXES = 0.004
"""Probability in a frame that an empty track begins."""


@dataclass(frozen=True)
class TrackedBox:
    """Box of a track in a frame.

    Attributes:
        frame: Number of the frame, from 0.
        track: Number of the track, from 1 in each camera.
        corners: x1, y1, x2, y2 in pixels from 0.
        score: Confidence of the detection.
    """

    frame: int
    track: int
    corners: tuple[float, float, float, float]
    score: float


def perfect_tracks(boxes: Sequence[TrueBox]) -> list[TrackedBox]:
    """Return one track for each person, with every frame that shows enough of her."""
    seen = [box for box in boxes if box.visible >= VISIBLE]
    numbers = {identity: at for at, identity in enumerate(_in_order(seen), start=1)}
    return [TrackedBox(box.frame, numbers[box.identity], box.corners, 1.0) for box in seen]


def erring_tracks(
    boxes: Sequence[TrueBox], size: tuple[int, int], rng: np.random.Generator
) -> list[TrackedBox]:
    """Return the tracks of a tracker that errs.

    Args:
        boxes: True boxes in order of frames.
        size: Height and width of a frame.
        rng: Random generator of the errors.
    """
    found: list[TrackedBox] = []
    current: dict[int, tuple[int, int]] = {}  # person -> track and last frame
    tracks = 0
    by_frame: dict[int, list[TrueBox]] = {}
    for box in boxes:
        by_frame.setdefault(box.frame, []).append(box)
    for frame in sorted(by_frame):
        seen = []
        for box in by_frame[frame]:
            low, missed = HIDDEN
            if box.visible >= VISIBLE and rng.random() >= (missed if box.visible < low else MISSED):
                seen.append(box)
        for box in seen:
            track, last = current.get(box.identity, (0, -PATIENCE - 1))
            if frame - last > PATIENCE:
                tracks += 1
                track = tracks
            current[box.identity] = (track, frame)
        for one, other in _crossings(seen):
            if rng.random() < SWITCH[1]:
                current[one], current[other] = current[other], current[one]
        for box in seen:
            edge = JITTER * (box.corners[3] - box.corners[1])
            x1, y1, x2, y2 = (np.array(box.corners) + rng.normal(0, edge, 4)).round(1).tolist()
            score = round(float(rng.uniform(0.5, 0.7) + 0.3 * box.visible), 3)
            found.append(TrackedBox(frame, current[box.identity][0], (x1, y1, x2, y2), score))
        if rng.random() < FALSE_BOXES:
            tracks += 1
            found += _empty_track(frame, tracks, size, rng)
    return sorted(found, key=lambda box: (box.frame, box.track))


def _in_order(boxes: Sequence[TrueBox]) -> list[int]:
    return list(dict.fromkeys(box.identity for box in boxes))


def _crossings(boxes: Sequence[TrueBox]) -> list[tuple[int, int]]:
    """Return the pairs of people whose boxes overlap by ``SWITCH[0]`` or more."""
    return [
        (one.identity, other.identity)
        for at, one in enumerate(boxes)
        for other in boxes[at + 1 :]
        if _overlap(one.corners, other.corners) >= SWITCH[0]
    ]


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)


def _empty_track(
    frame: int, track: int, size: tuple[int, int], rng: np.random.Generator
) -> list[TrackedBox]:
    height = float(rng.uniform(0.3, 0.5)) * size[0]
    x, y = float(rng.uniform(0, size[1] - height / 2)), float(rng.uniform(0, size[0] - height))
    corners = (round(x, 1), round(y, 1), round(x + 0.45 * height, 1), round(y + height, 1))
    length = int(rng.integers(3, 10))
    return [TrackedBox(frame + at, track, corners, 0.5) for at in range(length)]
