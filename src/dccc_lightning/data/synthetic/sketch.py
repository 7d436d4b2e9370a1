"""Canvas for soft, rounded shapes with a colour layer and a shading layer.

Shapes are drawn on an oversampled colour layer; a grey layer holds the light on each shape, dark at
its edges and bright towards the lamp. Downsampled, blurred and multiplied, the layers make flat
polygons look round. All coordinates are pixels of the final image, x to the right, y down.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from dccc_lightning.data.synthetic.wardrobe import Colour

OVERSAMPLING = 4
SHADE_OVERSAMPLING = 2
NEUTRAL = 128

Ring = tuple[float, float, float]
"""Centre x, centre y and radius of a cross section of a limb or trunk."""

Pattern = Callable[[ImageDraw.ImageDraw, float, float, float], None]
"""Function that paints cloth: (draw, pixels of cloth per pixel, x and y of the cloth's corner)."""

_MODE = "RGBX"
"""Red, green, blue and coverage. Pixels are either painted or zero, so the oversampled image is
premultiplied already, and Pillow resizes it without the conversion that it needs for RGBA."""

_LEVELS = ((1.0, 92), (0.8, 112), (0.58, 130), (0.34, 140))


class Sketch:
    """Transparent canvas.

    Args:
        width: Width of the final image in pixels.
        height: Height of the final image in pixels.
        light: Direction of the light, -1 (left) to 1 (right).
    """

    def __init__(self, width: int, height: int, light: float) -> None:
        size = (width * OVERSAMPLING, height * OVERSAMPLING)
        self._ink = Image.new(_MODE, size)
        self._draw = ImageDraw.Draw(self._ink)
        self._shade = Image.new(
            "L", (width * SHADE_OVERSAMPLING, height * SHADE_OVERSAMPLING), NEUTRAL
        )
        self._shader = ImageDraw.Draw(self._shade)
        self._light = light

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, round_: bool = True
    ) -> None:
        """Paint a shaded ball, or a flat spot (``round_=False``)."""
        s = OVERSAMPLING
        box = ((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s)
        self._draw.ellipse(box, fill=(*colour, 255))
        if round_:
            s = SHADE_OVERSAMPLING
            for share, grey in _LEVELS:
                cx = x + self._light * rx * (1 - share) * 0.7
                cy = y - ry * (1 - share) * 0.5
                box = (
                    (cx - rx * share) * s,
                    (cy - ry * share) * s,
                    (cx + rx * share) * s,
                    (cy + ry * share) * s,
                )
                self._shader.ellipse(box, fill=grey)

    def limb(self, rings: Sequence[Ring], colour: Colour) -> None:
        """Paint a chain of tapered segments with round joints."""
        self._chain(self._draw, OVERSAMPLING, rings, 1.0, (*colour, 255))
        for share, grey in _LEVELS:
            self._chain(self._shader, SHADE_OVERSAMPLING, rings, share, grey)

    def trunk(
        self,
        rings: Sequence[Ring],
        colour: Colour,
        pattern: Pattern | None = None,
    ) -> None:
        """Paint a smooth upright body through ``rings``, top first, with flat ends."""
        smooth = _smooth(rings)
        self._draw.polygon(_outline(smooth, OVERSAMPLING, 1.0, 0.0), fill=(*colour, 255))
        if pattern is not None:
            self._clothe(smooth, colour, pattern)
        for share, grey in _LEVELS:
            offset = self._light * (1 - share) * 0.7
            self._shader.polygon(_outline(smooth, SHADE_OVERSAMPLING, share, offset), fill=grey)

    def polygon(self, points: Iterable[tuple[float, float]], colour: Colour, grey: int) -> None:
        """Paint a flat, evenly lit polygon."""
        corners = list(points)
        s = OVERSAMPLING
        self._draw.polygon([(x * s, y * s) for x, y in corners], fill=(*colour, 255))
        s = SHADE_OVERSAMPLING
        self._shader.polygon([(x * s, y * s) for x, y in corners], fill=grey)

    def line(self, points: Iterable[tuple[float, float]], width: float, colour: Colour) -> None:
        """Paint the colour of a line, such as a strap or seam, without changing the shading."""
        s = OVERSAMPLING
        pixels = max(1, round(width * s))
        self._draw.line([(x * s, y * s) for x, y in points], (*colour, 255), pixels, "curve")

    def crease(self, points: Iterable[tuple[float, float]], grey: int = 100) -> None:
        """Paint the shading of a fold in cloth, without changing the colour."""
        s = SHADE_OVERSAMPLING
        self._shader.line([(x * s, y * s) for x, y in points], grey, s)

    def finish(self) -> NDArray[np.float32]:
        """Return (height, width, 4) float32: shaded colour times coverage, and coverage."""
        picture = np.asarray(self._ink.reduce(OVERSAMPLING), dtype=np.float32) / np.float32(255)
        light = self._shade.reduce(SHADE_OVERSAMPLING).filter(ImageFilter.GaussianBlur(0.6))
        picture[..., :3] *= np.asarray(light, dtype=np.float32)[..., None] / np.float32(NEUTRAL)
        return picture

    def _chain(
        self,
        draw: ImageDraw.ImageDraw,
        s: int,
        rings: Sequence[Ring],
        share: float,
        fill: tuple[int, int, int, int] | int,
    ) -> None:
        shift = self._light * (1 - share) * 0.7
        moved = [((x + shift * r) * s, y * s, r * share * s) for x, y, r in rings]
        for (x0, y0, r0), (x1, y1, r1) in pairwise(moved):
            length = max(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 1e-6)
            nx, ny = (y0 - y1) / length, (x1 - x0) / length
            draw.polygon(
                [
                    (x0 + nx * r0, y0 + ny * r0),
                    (x1 + nx * r1, y1 + ny * r1),
                    (x1 - nx * r1, y1 - ny * r1),
                    (x0 - nx * r0, y0 - ny * r0),
                ],
                fill=fill,
            )
        for x, y, r in moved:
            draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)

    def _clothe(self, rings: Sequence[Ring], colour: Colour, pattern: Pattern) -> None:
        """Paint ``pattern`` inside the outline of a trunk."""
        s = OVERSAMPLING
        outline = _outline(rings, s, 1.0, 0.0)
        left = int(min(x for x, _ in outline))
        top = int(min(y for _, y in outline))
        size = (
            int(max(x for x, _ in outline)) - left + 1,
            int(max(y for _, y in outline)) - top + 1,
        )
        stencil = Image.new("L", size)
        ImageDraw.Draw(stencil).polygon([(x - left, y - top) for x, y in outline], fill=255)
        cloth = Image.new(_MODE, size, (*colour, 255))
        pattern(ImageDraw.Draw(cloth), s, left / s, top / s)
        self._ink.paste(cloth, (left, top), stencil)


def _outline(
    rings: Sequence[Ring], s: int, share: float, offset: float
) -> list[tuple[float, float]]:
    left = [((x + (offset - share) * r) * s, y * s) for x, y, r in rings]
    right = [((x + (offset + share) * r) * s, y * s) for x, y, r in reversed(rings)]
    return left + right


def _smooth(rings: Sequence[Ring], steps: int = 4) -> list[Ring]:
    """Interpolate between ``rings`` by Catmull-Rom splines."""
    knots = np.array([rings[0], *rings, rings[-1]], dtype=np.float64)
    a, b, c, d = knots[:-3, None], knots[1:-2, None], knots[2:-1, None], knots[3:, None]
    t = (np.arange(steps) / steps)[None, :, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    rows = [*curve.reshape(-1, 3).tolist(), list(rings[-1])]
    return [(x, y, max(r, 0.05)) for x, y, r in rows]
