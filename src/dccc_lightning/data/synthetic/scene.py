"""Backdrops and obstacles of a camera.

A backdrop is wider than an image, so that shots show different parts of one place. It is drawn once
per camera and process: oversampled, slightly blurred (the pedestrian is in focus) and mottled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from dccc_lightning.data.synthetic.sketch import Sketch
from dccc_lightning.data.synthetic.wardrobe import Colour

OVERSAMPLING = 2
STRETCH = 3.0
"""Width of a backdrop in image widths."""
MARGIN = 1.12
"""Height of a backdrop in image heights."""

Rng = np.random.Generator


@dataclass(frozen=True)
class _Canvas:
    """Canvas of a backdrop, in units of the image height: x to the right, y down."""

    draw: ImageDraw.ImageDraw
    rng: Rng
    unit: float
    width: float

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        u = self.unit
        self.draw.rectangle((x0 * u, y0 * u, x1 * u, y1 * u), fill=colour)

    def blob(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        u = self.unit
        self.draw.ellipse(((x - rx) * u, (y - ry) * u, (x + rx) * u, (y + ry) * u), fill=colour)

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, w: float) -> None:
        u = self.unit
        self.draw.line((x0 * u, y0 * u, x1 * u, y1 * u), colour, max(1, round(w * u)))

    def fade(self, y0: float, y1: float, top: Colour, bottom: Colour, steps: int = 24) -> None:
        """Paint a vertical gradient over the whole width."""
        height = (y1 - y0) / steps
        for step in range(steps):
            colour = _blend(top, bottom, step / (steps - 1))
            self.box(0, y0 + step * height, self.width, y0 + (step + 1) * height + 0.01, colour)

    def slabs(self, horizon: float, colour: Colour, joint: Colour, size: float) -> None:
        """Paint a floor of square slabs with a vanishing point."""
        self.fade(horizon, MARGIN, _blend(colour, (200, 200, 200), 0.15), colour)
        vanish = self.width * self.rng.uniform(0.3, 0.7)
        depth = MARGIN - horizon
        for step in range(1, 14):
            y = horizon + depth / (1 + (step - 1) * size * 1.6)
            self.line(0, y, self.width, y, joint, 0.006)
        for step in range(-24, 25):
            far = vanish + step * size * 0.25
            self.line(far, horizon, vanish + step * size * 1.5, MARGIN, joint, 0.006)

    def tint(self, colour: Colour, spread: float = 12) -> Colour:
        """Return a random variation of ``colour`` in brightness and hue."""
        moved = np.array(colour) + self.rng.normal(0, spread) + self.rng.normal(0, spread / 3, 3)
        red, green, blue = (int(c) for c in moved.clip(6, 250))
        return red, green, blue

    def places(self, low: float, high: float) -> list[float]:
        """Return positions along the backdrop with random distances in [low, high]."""
        found = [float(self.rng.uniform(0, low))]
        while found[-1] < self.width:
            found.append(found[-1] + float(self.rng.uniform(low, high)))
        return found


def _street(c: _Canvas) -> None:
    facade = c.tint((168, 150, 132), 22)
    c.fade(0, 0.46, _blend(facade, (255, 250, 240), 0.15), facade)
    glass = c.tint((72, 88, 104))
    for x in c.places(0.2, 0.27):
        for y in (0.02, 0.2):
            c.box(x - 0.006, y - 0.006, x + 0.106, y + 0.126, _blend(facade, (255, 255, 255), 0.4))
            c.box(x, y, x + 0.1, y + 0.12, glass)
            c.line(x + 0.05, y, x + 0.05, y + 0.12, facade, 0.008)
    c.box(0, 0.38, c.width, 0.46, _blend(facade, (60, 50, 50), 0.35))
    c.fade(0.46, 0.6, (96, 97, 102), (108, 108, 112))
    c.box(0, 0.6, c.width, 0.625, (196, 194, 188))
    c.fade(0.625, MARGIN, (158, 155, 150), (176, 172, 165))
    for x in c.places(0.28, 0.34):
        c.line(x, 0.625, x - 0.12, MARGIN, (140, 137, 132), 0.006)
    for x in c.places(0.7, 0.9):
        paint = c.tint((120, 60, 56), 50)
        c.blob(x, 0.47, 0.2, 0.07, paint)
        c.blob(x - 0.01, 0.43, 0.12, 0.07, _blend(paint, (30, 36, 44), 0.7))
        c.box(x - 0.21, 0.47, x + 0.21, 0.53, paint)
        for wheel in (-0.12, 0.12):
            c.blob(x + wheel, 0.535, 0.04, 0.04, (36, 36, 38))


def _park(c: _Canvas) -> None:
    c.fade(0, 0.3, (196, 214, 226), (222, 228, 220))
    leaf = c.tint((72, 104, 58))
    for x in c.places(0.22, 0.4):
        c.box(x - 0.022, 0.14, x + 0.022, 0.46, c.tint((92, 72, 56), 6))
    for _ in range(150):
        x, y = c.rng.uniform(0, c.width), c.rng.normal(0.1, 0.08)
        r = c.rng.uniform(0.03, 0.075)
        c.blob(x, y, r, 0.8 * r, c.tint(_blend(leaf, (150, 170, 96), c.rng.uniform(0, 0.4)), 8))
    grass = c.tint((112, 138, 76), 8)
    c.fade(0.4, 0.66, _blend(grass, (60, 84, 50), 0.35), grass)
    for _ in range(60):
        x, r = c.rng.uniform(0, c.width), c.rng.uniform(0.03, 0.06)
        c.blob(x, 0.41, r, 0.7 * r, c.tint(_blend(leaf, (30, 50, 30), 0.35), 8))
    c.fade(0.66, MARGIN, (186, 170, 142), (204, 188, 160))
    for _ in range(80):
        x, r = c.rng.uniform(0, c.width), c.rng.uniform(0.02, 0.05)
        c.blob(x, 0.655 + c.rng.normal(0, 0.008), r, 0.012, c.tint(grass, 6))


def _corridor(c: _Canvas) -> None:
    wall = c.tint((206, 202, 188), 10)
    c.fade(0, 0.52, _blend(wall, (255, 255, 255), 0.3), wall)
    c.box(0, 0, c.width, 0.035, (246, 246, 238))
    panel = c.tint((120, 140, 150), 20)
    c.box(0, 0.36, c.width, 0.375, panel)
    for x in c.places(0.5, 0.75):
        door = c.tint((134, 96, 66), 24)
        c.box(x - 0.012, 0.068, x + 0.222, 0.52, _blend(door, (40, 40, 40), 0.4))
        c.box(x, 0.08, x + 0.21, 0.52, door)
        c.box(x + 0.06, 0.13, x + 0.15, 0.27, (172, 190, 196))
        c.blob(x + 0.185, 0.33, 0.01, 0.01, (220, 214, 190))
    c.box(0, 0.52, c.width, 0.545, _blend(wall, (70, 66, 60), 0.5))
    c.slabs(0.545, c.tint((176, 172, 162), 8), (150, 146, 138), 0.2)
    for x in c.places(0.4, 0.6):
        c.blob(x, 0.72, 0.09, 0.025, (208, 206, 198))


def _plaza(c: _Canvas) -> None:
    c.fade(0, 0.22, (186, 206, 224), (226, 230, 228))
    stone = c.tint((190, 176, 156), 12)
    c.box(0, 0.1, c.width, 0.38, stone)
    for x in c.places(0.13, 0.15):
        c.box(x, 0.14, x + 0.075, 0.38, _blend(stone, (50, 52, 62), 0.65))
    c.box(0, 0.08, c.width, 0.11, _blend(stone, (255, 255, 255), 0.3))
    for step in range(3):
        y = 0.38 + 0.022 * step
        c.box(0, y, c.width, y + 0.02, _blend(stone, (235, 232, 224), 0.2 + 0.2 * step))
    c.slabs(0.445, c.tint((188, 182, 174), 8), (164, 157, 148), 0.3)
    for x in c.places(0.6, 0.9):
        c.box(x, 0.4, x + 0.18, 0.5, c.tint((150, 112, 88)))
        for _ in range(14):
            at, r = x + c.rng.uniform(0, 0.18), c.rng.uniform(0.025, 0.05)
            c.blob(at, 0.36 + c.rng.normal(0, 0.02), r, r, c.tint((78, 108, 64), 14))


def _bricks(c: _Canvas) -> None:
    brick = c.tint((142, 98, 84), 12)
    c.box(0, 0, c.width, 0.6, _blend(brick, (200, 190, 180), 0.45))
    for row in range(20):
        y = row * 0.03
        for x in np.arange(-0.08 + 0.04 * (row % 2), c.width, 0.08):
            c.box(x, y, x + 0.074, y + 0.025, c.tint(brick, 7))
    for x in c.places(0.6, 1.0):
        poster = c.tint((200, 190, 150), 40)
        c.box(x, 0.1, x + 0.17, 0.34, poster)
        c.box(x + 0.02, 0.13, x + 0.15, 0.21, c.tint((90, 110, 150), 40))
        c.line(x + 0.4, 0, x + 0.4, 0.6, (92, 94, 96), 0.022)
    c.box(0, 0.6, c.width, 0.625, (98, 92, 88))
    c.slabs(0.625, c.tint((150, 150, 148), 8), (126, 126, 124), 0.26)


def _shop(c: _Canvas) -> None:
    c.fade(0, 0.52, (246, 238, 216), (214, 206, 190))
    for y in (0.2, 0.33, 0.46):
        for x in c.places(0.045, 0.075):
            ware = c.tint((150, 120, 110), 46)
            c.box(x, y - c.rng.uniform(0.05, 0.085), x + 0.04, y, ware)
        c.box(0, y, c.width, y + 0.014, (120, 100, 82))
    frame = c.tint((70, 74, 80), 14)
    c.box(0, 0, c.width, 0.08, c.tint((60, 96, 92), 40))
    for x in c.places(0.42, 0.5):
        c.box(x, 0.08, x + 0.025, 0.54, frame)
    c.box(0, 0.53, c.width, 0.57, frame)
    c.slabs(0.57, c.tint((168, 160, 152), 8), (140, 132, 126), 0.22)


def _platform(c: _Canvas) -> None:
    tile = c.tint((190, 204, 204), 10)
    c.box(0, 0, c.width, 0.5, _blend(tile, (120, 130, 134), 0.4))
    for row in range(10):
        for x in np.arange(0, c.width, 0.06):
            c.box(x, row * 0.05, x + 0.055, row * 0.05 + 0.044, c.tint(tile, 4))
    c.box(0, 0.2, c.width, 0.25, c.tint((52, 88, 134), 40))
    for x in c.places(0.55, 0.8):
        c.box(x, 0.05, x + 0.26, 0.13, (28, 44, 84))
        c.line(x + 0.03, 0.09, x + 0.22, 0.09, (236, 236, 236), 0.018)
    c.box(0, 0.5, c.width, 0.535, (70, 72, 76))
    c.slabs(0.535, c.tint((140, 140, 142), 8), (122, 122, 124), 0.24)
    c.box(0, 0.62, c.width, 0.65, (222, 184, 60))


SCENES: dict[str, Callable[[_Canvas], None]] = {
    "street": _street,
    "park": _park,
    "corridor": _corridor,
    "plaza": _plaza,
    "bricks": _bricks,
    "shop": _shop,
    "platform": _platform,
}


def backdrop(kind: str, height: int, width: int, rng: Rng) -> NDArray[np.float32]:
    """Paint one of ``SCENES``.

    Returns:
        (round(``MARGIN`` * height), round(``STRETCH`` * width), 3) float32, 0 to 1.
    """
    rows, columns = round(MARGIN * height), round(STRETCH * width)
    image = Image.new("RGB", (columns * OVERSAMPLING, rows * OVERSAMPLING), (128, 128, 128))
    canvas = _Canvas(ImageDraw.Draw(image), rng, height * OVERSAMPLING, columns / height)
    SCENES[kind](canvas)
    soft = image.reduce(OVERSAMPLING).filter(ImageFilter.GaussianBlur(height / 160))
    coarse = rng.normal(0.5, 0.16, (rows // 8 + 1, columns // 8 + 1)).clip(0, 1)
    mottle = Image.fromarray((coarse * 255).astype(np.uint8)).resize(
        soft.size, Image.Resampling.BICUBIC
    )
    shade = 0.88 + 0.24 * np.asarray(mottle, dtype=np.float32) / 255
    return (np.asarray(soft, dtype=np.float32) / 255 * shade[..., None]).clip(0, 1)


OBSTACLES = ("bollard", "bush", "bench", "post")


def draw_obstacle(
    sketch: Sketch, height: int, width: int, rng: Rng, kinds: Sequence[str] = OBSTACLES
) -> None:
    """Paint one of ``kinds`` in front of the pedestrian."""
    x = width * float(rng.choice((rng.uniform(0.0, 0.32), rng.uniform(0.68, 1.0))))
    match kinds[int(rng.integers(len(kinds)))]:
        case "bollard":
            top, r = height * rng.uniform(0.55, 0.68), 0.036 * height
            colour: Colour = (96, 98, 104) if rng.random() < 0.6 else (170, 60, 44)
            sketch.limb([(x, top, r), (x, 1.05 * height, r)], colour)
            band = [(x, top + 1.6 * r, r), (x, top + 2.4 * r, r)]
            sketch.trunk(band, (226, 220, 204))
        case "bush":
            for _ in range(26):
                dx, r = rng.normal(0, 0.2) * width, rng.uniform(0.03, 0.055) * height
                y = height * rng.uniform(0.74, 1.0) + abs(dx) * 0.35
                green = int(rng.integers(84, 132))
                sketch.ellipse(x + dx, y, r, 0.8 * r, (green * 2 // 3, green, green // 2))
        case "bench":
            wood: Colour = (142, 98, 62)
            for y in (0.76, 0.81, 0.86):
                rows = (height * y, height * (y + 0.034))
                left, right = (-2, x + 0.1 * width) if x < width / 2 else (x - 0.1 * width, width)
                corners = [(left, rows[0]), (right, rows[0]), (right, rows[1]), (left, rows[1])]
                sketch.polygon(corners, wood, 124)
        case _:
            edge = -0.01 * width if x < width / 2 else 1.01 * width
            sketch.limb(
                [(edge, -5, 0.05 * height), (edge, 1.1 * height, 0.05 * height)], (112, 112, 110)
            )


def _blend(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (int(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue
