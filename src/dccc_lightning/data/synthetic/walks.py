"""Walks of synthetic pedestrians through the views of several cameras.

A walk crosses a view on a straight line, at the pace of a person: sideways from edge to edge, or
towards the camera or away from it. Each person is seen by two cameras or more, one after the
other, with gaps between; some cameras overlap, and see the person at the same time.
"""

import math
from dataclasses import dataclass

import numpy as np

FPS = 10
"""Frames per second."""

FAR, NEAR = 0.70, 0.97
"""Rows of the farthest and nearest ground, as shares of the height of a frame."""

SMALL, TALL = 0.34, 0.58
"""Height of an average body there, as shares of the height of a frame."""

PACE = (0.65, 0.95)
"""Body heights per second."""

CYCLE = 0.8
"""Body heights per cycle of two steps."""

GAP = (0.5, 6.0)
"""Seconds between two cameras."""

OVERLAP = 0.2
"""Probability that the next camera sees a person before the last one has lost it."""


@dataclass(frozen=True)
class Walk:
    """A crossing of one view.

    Attributes:
        identity: Number of the person, from 1.
        camera: Number of the camera, from 0.
        start: First frame.
        frames: Number of frames.
        entry: Column and row of the soles in the first frame, as shares of width and height.
        exit: The same after the last frame.
        phase: Phase of the walking cycle in the first frame, in radians.
    """

    identity: int
    camera: int
    start: int
    frames: int
    entry: tuple[float, float]
    exit: tuple[float, float]
    phase: float

    @property
    def heading(self) -> float:
        """Heading as in ``Pose``: 0 towards the camera, pi/2 to the right."""
        across, nearer = self.exit[0] - self.entry[0], self.exit[1] - self.entry[1]
        return math.atan2(across, 4 * nearer)

    def place(self, frame: int) -> tuple[float, float, float]:
        """Return column and row of the soles and the height of the body, as shares."""
        share = (frame - self.start) / self.frames
        x, y = (a + (b - a) * share for a, b in zip(self.entry, self.exit, strict=True))
        return x, y, body_height(y)

    def stance(self, frame: int) -> float:
        """Return the phase of the walking cycle, in radians."""
        return self.phase + 2 * math.pi * (frame - self.start) / FPS * sum(PACE) / 2 / CYCLE


def body_height(row: float) -> float:
    """Return the height of an average body on a row of the ground, both as shares."""
    return SMALL + (TALL - SMALL) * (row - FAR) / (NEAR - FAR)


def plan_walks(seed: int, identities: int, cameras: int, frames: int, aspect: float) -> list[Walk]:
    """Return the walks of a video, in order of camera and first frame.

    Args:
        seed: Seed of the world.
        identities: Number of people.
        cameras: Number of cameras, at least 2.
        frames: Frames of each camera; walks that would not end in time are left out, but each
            person keeps two.
        aspect: Width of a frame divided by its height.
    """
    walks = []
    for number in range(identities):
        identity = number + 1
        rng = np.random.default_rng([seed, 41, identity])
        seen = 2 + int(rng.binomial(cameras - 2, 0.5))
        route = rng.permutation(cameras)[:seen].tolist()
        legs = [_crossing(rng, aspect) for _ in route]
        length = sum(leg[2] for leg in legs[:2])
        begin = int(rng.integers(0, max(1, frames - length - round(2 * GAP[1] * FPS))))
        for at, (camera, (entry, exit_, duration)) in enumerate(zip(route, legs, strict=True)):
            if begin + duration > frames:
                if at >= 2:
                    break
                begin = max(0, frames - duration)
            phase = float(rng.uniform(0, 2 * math.pi))
            walks.append(Walk(identity, camera, begin, duration, entry, exit_, phase))
            if rng.random() < OVERLAP:
                begin += round(duration * float(rng.uniform(0.4, 0.8)))
            else:
                begin += duration + round(FPS * float(rng.uniform(*GAP)))
    return sorted(walks, key=lambda walk: (walk.camera, walk.start, walk.identity))


def _crossing(
    rng: np.random.Generator, aspect: float
) -> tuple[tuple[float, float], tuple[float, float], int]:
    """Return entry, exit and number of frames of a walk."""
    depth = float(rng.uniform(FAR + 0.03, NEAR - 0.02))
    if rng.random() < 0.7:  # from edge to edge
        margin = 0.3 * body_height(depth) / aspect
        ends = [(-margin, depth), (1 + margin, float(depth + rng.normal(0, 0.03)))]
    else:  # in depth
        column = float(rng.uniform(0.2, 0.8))
        ends = [(column, FAR), (float(column + rng.normal(0, 0.12)), NEAR)]
    ends = [(x, float(np.clip(y, FAR, NEAR))) for x, y in ends]
    if rng.random() < 0.5:
        ends.reverse()
    (x0, y0), (x1, y1) = ends
    distance = math.hypot((x1 - x0) * aspect, 4 * (y1 - y0)) / body_height((y0 + y1) / 2)
    return ends[0], ends[1], max(10, round(FPS * distance / float(rng.uniform(*PACE))))
