"""Pose of a standing or walking pedestrian: joints in space and their projection.

A body of height 1 stands on the origin. A point is (left, up, forward); ``Pose.view`` rotates it by
the heading and tilts it by the camera, giving x to the right, y up and nearness to the camera.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dccc_lightning.data.synthetic.sketch import Ring

Point = tuple[float, float, float]

Section = tuple[float, float, float]
"""Height above ground, half width and half depth of a cross section, in body heights."""

SHOULDER, HIP = 0.8, 0.5
UPPER_ARM, FOREARM = 0.165, 0.15
THIGH, SHIN = 0.235, 0.23


@dataclass(frozen=True)
class Pose:
    """A moment of a walk.

    Attributes:
        heading: Radians; 0 faces the camera, pi/2 walks to the right of the image.
        phase: Phase of the walking cycle, in radians.
        stride: Swing of the thighs, in radians; about 0 when standing.
        swing: Swing of the arms, in radians.
        lean: Sideways shift of the shoulders, in body heights.
        elbows: Bend of the left and right elbow, in radians.
        tilt: Downward tilt of the camera: lowering of near points per unit of nearness.
    """

    heading: float
    phase: float
    stride: float
    swing: float
    lean: float
    elbows: tuple[float, float]
    tilt: float

    @classmethod
    def sample(cls, rng: np.random.Generator, heading: float, tilt: float) -> "Pose":
        """Return a random pose, walking (three in four) or standing."""
        walks = rng.random() < 0.75
        stride = rng.uniform(0.28, 0.5) if walks else rng.uniform(0.0, 0.08)
        bend = rng.uniform(0.1, 0.6, size=2)
        if rng.random() < 0.12:  # holding a phone or cup, or a hand in the pocket
            bend[rng.integers(2)] = rng.uniform(1.2, 2.1)
        return cls(
            heading,
            float(rng.uniform(0, 2 * math.pi)),
            float(stride),
            float(stride * rng.uniform(0.5, 1.1)),
            float(rng.normal(0, 0.008)),
            (float(bend[0]), float(bend[1])),
            tilt,
        )

    def view(self, left: float, up: float, forward: float) -> Point:
        """Project a point of the body: x to the right, y up, nearness."""
        sine, cosine = math.sin(self.heading), math.cos(self.heading)
        near = forward * cosine - left * sine
        return left * cosine + forward * sine, up - near * self.tilt, near

    def leg(self, side: int, spread: float) -> tuple[Point, Point, Point, Point]:
        """Return hip, knee, ankle and toe of the left (1) or right (-1) leg, in body space."""
        cycle = self.phase + (0.0 if side > 0 else math.pi)
        thigh = self.stride * math.sin(cycle)
        bend = self.stride * (0.25 + 1.1 * max(0.0, math.cos(cycle)))
        shin = thigh - bend
        hip = (side * spread, HIP, 0.0)
        knee = (side * spread * 0.95, HIP - THIGH * math.cos(thigh), THIGH * math.sin(thigh))
        ankle = (
            side * spread * 0.85,
            knee[1] - SHIN * math.cos(shin),
            knee[2] + SHIN * math.sin(shin),
        )
        pitch = 0.5 * min(0.0, shin)
        toe = (
            ankle[0] + side * 0.012,
            ankle[1] - 0.022 + 0.08 * math.sin(pitch),
            ankle[2] + 0.085 * math.cos(pitch),
        )
        return hip, knee, ankle, toe

    def arm(self, side: int, spread: float) -> tuple[Point, Point, Point]:
        """Return shoulder, elbow and wrist of the left (1) or right (-1) arm, in body space."""
        upper = -self.swing * math.sin(self.phase + (0.0 if side > 0 else math.pi))
        lower = upper + self.elbows[0 if side > 0 else 1]
        shoulder = (side * spread + self.lean, SHOULDER, 0.0)
        elbow = (
            shoulder[0] + side * 0.022,
            shoulder[1] - UPPER_ARM * math.cos(upper),
            UPPER_ARM * math.sin(upper),
        )
        wrist = (
            elbow[0] + side * 0.002,
            elbow[1] - FOREARM * math.cos(lower),
            elbow[2] + FOREARM * math.sin(lower),
        )
        return shoulder, elbow, wrist


class Body:
    """Projection of a pose from body space to pixels.

    Args:
        pose: Heading and joints.
        x: Pixel column below the hips.
        ground: Pixel row of the soles.
        scale: Height of this body in pixels.
        girth: Width relative to an average body of that height.
    """

    def __init__(self, pose: Pose, x: float, ground: float, scale: float, girth: float) -> None:
        self.pose, self.scale, self.girth = pose, scale, girth
        self.sine, self.cosine = math.sin(pose.heading), math.cos(pose.heading)
        self.legs = {side: pose.leg(side, 0.048 * girth) for side in (1, -1)}
        self.arms = {side: pose.arm(side, 0.094 * girth) for side in (1, -1)}
        lowest = min(pose.view(*toe)[1] for *_, toe in self.legs.values())
        self.x, self.ground = x, ground + (lowest - 0.012) * scale

    def pixel(self, point: Point) -> tuple[float, float]:
        """Return the column and row of a point of the body."""
        right, up, _ = self.pose.view(*point)
        return self.x + right * self.scale, self.ground - up * self.scale

    def ring(self, point: Point, radius: float) -> Ring:
        """Return a circular cross section at ``point``."""
        return (*self.pixel(point), radius * self.scale)

    def width(self, half_width: float, half_depth: float) -> float:
        """Return the projected half width of an elliptic cross section."""
        return math.hypot(half_width * self.cosine, half_depth * self.sine)

    def around(self, angle: float, half_width: float, half_depth: float) -> tuple[float, float]:
        """Return the offset to the right and the nearness at ``angle`` (0 = front, left > 0)."""
        left, forward = half_width * math.sin(angle), half_depth * math.cos(angle)
        return left * self.cosine + forward * self.sine, forward * self.cosine - left * self.sine

    def rings(self, sections: Sequence[Section], bulk: float, forward: float = 0.0) -> list[Ring]:
        """Return stacked cross sections that follow the lean of the shoulders."""
        return [
            self.ring(
                (self.pose.lean * max(0.0, up - 0.5) * 3, up, forward),
                self.width(half_width, half_depth) * bulk,
            )
            for up, half_width, half_depth in sections
        ]
