"""Frames of a camera that pedestrians walk past, with the true boxes.

People and obstacles are drawn apart and laid over the backdrop from far to near, so that the
visible share of each is known to the pixel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dccc_lightning.data.synthetic.camera import Camera, cast_shadow
from dccc_lightning.data.synthetic.pedestrian import draw_pedestrian
from dccc_lightning.data.synthetic.pose import Pose
from dccc_lightning.data.synthetic.scene import draw_obstacle
from dccc_lightning.data.synthetic.sketch import Sketch
from dccc_lightning.data.synthetic.walks import FAR, NEAR, Walk, body_height
from dccc_lightning.data.synthetic.wardrobe import person

OBSTACLES = 2
"""Obstacles in a view."""

COVERED = np.float32(0.5)
"""Least coverage of a pixel that belongs to a figure."""


@dataclass(frozen=True)
class TrueBox:
    """Box of a person in a frame, as drawn.

    Attributes:
        frame: Number of the frame, from 0.
        identity: Number of the person.
        corners: x1, y1, x2, y2 in pixels of the frame; may lie beyond its edges.
        visible: Share of the figure's pixels that no edge and no nearer figure hides.
    """

    frame: int
    identity: int
    corners: tuple[float, float, float, float]
    visible: float


@dataclass(frozen=True, eq=False)
class _Figure:
    """A drawing to be laid over the frame with its left upper corner at (x, y)."""

    picture: NDArray[np.float32]
    x: int
    y: int
    row: float
    identity: int = 0

    def corners(self) -> tuple[float, float, float, float]:
        """Return x1, y1, x2, y2 of the covered pixels in the frame."""
        rows, columns = (np.flatnonzero(self._mask.any(axis)) for axis in (1, 0))
        return (
            float(self.x + columns[0]),
            float(self.y + rows[0]),
            float(self.x + columns[-1] + 1),
            float(self.y + rows[-1] + 1),
        )

    @property
    def _mask(self) -> NDArray[np.bool_]:
        return np.asarray(self.picture[..., 3] >= COVERED)

    @property
    def size(self) -> int:
        """Number of covered pixels."""
        return int(self._mask.sum())

    def darken(self, frame: NDArray[np.float32], light: float) -> None:
        """Cast the shadow of the figure."""
        x0, _, x1, ground = self.corners()
        top, left = max(0, round(ground) - 20), max(0, self.x - 20)
        spot = frame[top : round(ground) + 20, left : self.x + self.picture.shape[1] + 20]
        if spot.size:
            at, body = (x0 + x1) / 2 - left, 0.8 * self.picture.shape[0]
            spot *= cast_shadow(spot.shape[:2], at, ground - top, body, light)

    def lay(self, frame: NDArray[np.float32], owners: NDArray[np.int64]) -> None:
        """Paint the figure, and its number where it covers the frame."""
        height, width = owners.shape
        rows, columns, _ = self.picture.shape
        top, left = max(0, self.y), max(0, self.x)
        bottom, right = min(height, self.y + rows), min(width, self.x + columns)
        if bottom <= top or right <= left:
            return
        part = self.picture[top - self.y : bottom - self.y, left - self.x : right - self.x]
        spot = frame[top:bottom, left:right]
        spot *= 1 - part[..., 3:]
        spot += part[..., :3]
        owners[top:bottom, left:right][part[..., 3] >= COVERED] = self.identity


def film(
    camera: Camera,
    number: int,
    walks: Sequence[Walk],
    seed: int,
    frames: int,
    size: tuple[int, int],
) -> Iterator[tuple[Image.Image, list[TrueBox]]]:
    """Yield every frame of a camera and the boxes of the people in it.

    Args:
        camera: Camera, whose backdrop is as high as the frame at least.
        number: Number of the camera.
        walks: Walks in its view.
        seed: Seed of the world.
        frames: Number of frames.
        size: Height and width of a frame.
    """
    rng = np.random.default_rng([seed, 42, number])
    scene = _view(camera, size, rng)
    obstacles = [_obstacle(camera, size, rng) for _ in range(OBSTACLES)]
    for frame in range(frames):
        people = [
            _pedestrian(camera, walk, frame, seed, size)
            for walk in walks
            if walk.start <= frame < walk.start + walk.frames
        ]
        picture, owners = scene.copy(), np.zeros(size, dtype=np.int64)
        for each in people:
            each.darken(picture, camera.light)
        for each in sorted([*people, *obstacles], key=lambda figure: figure.row):
            each.lay(picture, owners)
        counts = {each.identity: int((owners == each.identity).sum()) for each in people}
        boxes = [
            TrueBox(frame, each.identity, each.corners(), counts[each.identity] / each.size)
            for each in people
        ]
        own = np.random.default_rng([seed, 43, number, frame])
        yield camera.develop(picture, own, flicker=0.01), boxes


def _view(camera: Camera, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the part of the backdrop that the camera sees."""
    rows, columns, _ = camera.backdrop.shape
    left = int(rng.integers(columns - size[1] + 1))
    return camera.backdrop[rows - size[0] :, left : left + size[1]]


def _pedestrian(
    camera: Camera, walk: Walk, frame: int, seed: int, size: tuple[int, int]
) -> _Figure:
    x, y, share = walk.place(frame)
    scale = share * size[0]
    habits = np.random.default_rng([seed, 44, walk.identity, walk.camera])
    pose = Pose.sample(habits, walk.heading + habits.normal(0, 0.12), camera.tilt)
    stride = max(pose.stride, 0.28)
    pose = replace(pose, phase=walk.stance(frame), stride=stride, swing=max(pose.swing, 0.15))
    rows, columns = round(1.25 * scale), round(0.95 * scale)
    left, top = round(x * size[1] - columns / 2), round(y * size[0] - 1.15 * scale)
    sketch = Sketch(columns, rows, camera.light)
    ground, middle = y * size[0] - top, x * size[1] - left
    draw_pedestrian(sketch, person(seed, walk.identity), pose, middle, ground, scale)
    return _Figure(sketch.finish(), left, top, y, walk.identity)


def _obstacle(camera: Camera, size: tuple[int, int], rng: np.random.Generator) -> _Figure:
    row = float(rng.uniform(FAR + 0.1, NEAR + 0.02))
    height = round(body_height(row) * size[0])
    width = round(0.5 * height)
    sketch = Sketch(width, height, camera.light)
    draw_obstacle(sketch, height, width, rng, ("bollard", "bush", "post"))
    left = round(float(rng.uniform(0.1, 0.9)) * size[1] - width / 2)
    return _Figure(sketch.finish(), left, round(row * size[0]) - height, row)
