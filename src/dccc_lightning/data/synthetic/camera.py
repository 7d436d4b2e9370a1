"""Cameras of a synthetic world and the images that they take.

A camera has a backdrop, viewpoints and a response: colour cast, exposure, gamma, blur and noise.
The response is the domain shift between cameras; ``shift`` scales it, and 0 makes the responses
equal.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from dccc_lightning.data.synthetic.pedestrian import draw_pedestrian
from dccc_lightning.data.synthetic.pose import Pose
from dccc_lightning.data.synthetic.scene import SCENES, backdrop, draw_obstacle
from dccc_lightning.data.synthetic.sketch import Sketch
from dccc_lightning.data.synthetic.wardrobe import Person

HEADINGS = (0.0, math.pi, math.pi / 2, -math.pi / 2)
"""Headings of a pedestrian in radians: to the camera, away from it, right, left."""

OBSTACLES = 0.16
LOOSE_BOXES = 0.12


@dataclass(frozen=True, eq=False)
class Camera:
    """A camera.

    Attributes:
        backdrop: (rows, columns, 3) float32, larger than an image.
        viewpoints: Probabilities of ``HEADINGS``.
        light: Direction of the light, -1 (left) to 1 (right).
        tilt: Downward tilt, see ``Pose``.
        gain: (3,) float32, exposure times colour cast.
        gamma: Exponent of the response.
        blur: Standard deviation of the blur, in pixels.
        noise: Standard deviation of the noise, as a share of the full range.
    """

    backdrop: NDArray[np.float32]
    viewpoints: tuple[float, ...]
    light: float
    tilt: float
    gain: NDArray[np.float32]
    gamma: float
    blur: float
    noise: float

    def photograph(
        self,
        person: Person,
        height: int,
        width: int,
        track: np.random.Generator,
        shot: np.random.Generator,
        passer_by: Person | None = None,
    ) -> Image.Image:
        """Return an image of a person.

        Args:
            person: Person to draw.
            height: Height of the image.
            width: Width of the image.
            track: Random generator for choices shared by all images of the person in this camera.
            shot: Random generator for choices of this image.
            passer_by: Second person that occludes the first, half outside the image.
        """
        heading = HEADINGS[track.choice(len(HEADINGS), p=self.viewpoints)]
        heading += track.normal(0, 0.3)
        if shot.random() < 0.2:
            heading = HEADINGS[shot.choice(len(HEADINGS), p=self.viewpoints)]
        pose = Pose.sample(shot, heading + shot.normal(0, 0.15), self.tilt)
        scale = height * shot.normal(0.885, 0.015)
        x, ground = width * shot.normal(0.5, 0.03), height * shot.normal(0.955, 0.01)
        if shot.random() < LOOSE_BOXES:  # inaccurate detection
            scale *= shot.uniform(0.86, 1.16)
            x += width * shot.uniform(-0.14, 0.14)
        sketch = Sketch(width, height, self.light)
        draw_pedestrian(sketch, person, pose, x, ground, scale)
        if passer_by is not None:
            side = 1 if shot.random() < 0.5 else -1
            other = Pose.sample(shot, heading + shot.choice((0.0, math.pi)), self.tilt)
            beside = width * (0.5 + side * shot.uniform(0.42, 0.54))
            draw_pedestrian(sketch, passer_by, other, beside, ground * 1.02, scale * 1.03)
        if shot.random() < OBSTACLES:
            draw_obstacle(sketch, height, width, shot)
        scene = self._stretch(height, width, shot)
        scene = scene * cast_shadow((height, width), x, ground, height, self.light)
        figure = sketch.finish()
        return self.develop(scene * (1 - figure[..., 3:]) + figure[..., :3], shot)

    def _stretch(self, height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
        rows, columns, _ = self.backdrop.shape
        left = int(rng.integers(columns - width + 1))
        top = int(rng.integers(rows - height + 1))
        return self.backdrop[top : top + height, left : left + width]

    def develop(
        self, picture: NDArray[np.float32], rng: np.random.Generator, flicker: float = 0.04
    ) -> Image.Image:
        """Apply gain, gamma, blur and noise.

        Args:
            picture: (height, width, 3), 0 to 1.
            rng: Random generator of exposure and noise.
            flicker: Standard deviation of the exposure.
        """
        gain = self.gain * np.float32(rng.normal(1.0, flicker))
        exposed = np.power((picture * gain).clip(0, 1), self.gamma, dtype=np.float32)
        image = Image.fromarray((exposed * 255).astype(np.uint8))
        if self.blur > 0:
            image = image.filter(ImageFilter.GaussianBlur(self.blur))
        grain = rng.standard_normal(picture.shape, dtype=np.float32) * (255 * self.noise)
        return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


def cameras(seed: int, count: int, shift: float, height: int, width: int) -> list[Camera]:
    """Return the cameras of a world.

    Exposure, gamma, hue, blur and noise are sampled by strata, so that every world has bright and
    dark, warm and cold cameras.

    Args:
        seed: Seed of the world.
        count: Number of cameras.
        shift: Strength of the differences between responses; 1 is severe, 0 is none.
        height: Height of the images.
        width: Width of the images.
    """
    rng = np.random.default_rng([seed, 22])

    def strata() -> NDArray[np.float64]:
        return (rng.permutation(count) + rng.uniform(0.2, 0.8, count)) / count

    exposure = np.exp(shift * np.interp(strata(), (0, 1), np.log((0.58, 1.42))))
    gamma = np.exp(shift * np.interp(strata(), (0, 1), np.log((0.74, 1.36))))
    hue = 2 * math.pi * strata()[:, None] + np.array([0, 2, 4]) * math.pi / 3
    cast = 1 + shift * rng.uniform(0.12, 0.24, (count, 1)) * np.cos(hue)
    blur = shift * strata() * height / 128 * 1.0
    noise = 0.01 + shift * strata() * 0.035
    kinds = np.concatenate([rng.permutation(list(SCENES)) for _ in range(count // len(SCENES) + 1)])
    return [
        Camera(
            backdrop=backdrop(str(kinds[i]), height, width, np.random.default_rng([seed, 23, i])),
            viewpoints=tuple(0.08 + 0.68 * rng.dirichlet((0.7, 0.7, 0.5, 0.5))),
            light=float(rng.uniform(-0.9, 0.9)),
            tilt=float(rng.uniform(0.04, 0.2)),
            gain=(exposure[i] * cast[i]).astype(np.float32),
            gamma=float(gamma[i]),
            blur=float(blur[i]),
            noise=float(noise[i]),
        )
        for i in range(count)
    ]


def cast_shadow(
    size: tuple[int, int], x: float, ground: float, scale: float, light: float
) -> NDArray[np.float32]:
    """Return the shadow around the feet as a share of light, (height, width, 1).

    Args:
        size: Height and width of the image.
        x: Pixel column below the hips.
        ground: Pixel row of the soles.
        scale: Size of the shadow: the height of the body, about.
        light: Direction of the light, -1 (left) to 1 (right).
    """
    image = Image.new("L", (size[1], size[0]))
    rx, ry = 0.13 * scale, 0.024 * scale
    at = x - 0.5 * light * rx
    ImageDraw.Draw(image).ellipse((at - rx, ground - ry, at + rx, ground + ry), fill=150)
    soft = image.filter(ImageFilter.GaussianBlur(scale / 50))
    return 1 - np.asarray(soft, dtype=np.float32)[..., None] / np.float32(255)
