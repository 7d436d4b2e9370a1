"""Drawing of garments and bags on the trunk: tops, seats of trousers, skirts and bags."""

import math

from PIL import ImageDraw

from dccc_lightning.data.synthetic.pose import Body, Section
from dccc_lightning.data.synthetic.sketch import Sketch
from dccc_lightning.data.synthetic.wardrobe import Colour, Person

CHEST: tuple[Section, ...] = (
    (0.85, 0.034, 0.036),
    (0.838, 0.058, 0.048),
    (0.815, 0.092, 0.06),
    (0.76, 0.102, 0.068),
    (0.62, 0.085, 0.062),
    (0.54, 0.092, 0.068),
)
HEMS: dict[str, tuple[Section, ...]] = {
    "shirt": ((0.47, 0.096, 0.068),),
    "jacket": ((0.465, 0.098, 0.072),),
    "hoodie": ((0.475, 0.092, 0.07),),
    "coat": ((0.45, 0.102, 0.074), (0.33, 0.112, 0.08)),
}
SEAT: tuple[Section, ...] = ((0.58, 0.082, 0.062), (0.52, 0.095, 0.072), (0.45, 0.088, 0.066))
BACKPACK: tuple[Section, ...] = (
    (0.825, 0.05, 0.028),
    (0.8, 0.074, 0.042),
    (0.68, 0.08, 0.052),
    (0.6, 0.08, 0.052),
    (0.575, 0.066, 0.04),
)
BULK = {"shirt": 1.0, "jacket": 1.06, "hoodie": 1.08, "coat": 1.07}
"""Width of a garment relative to a shirt."""


def draw_lower(sketch: Sketch, person: Person, body: Body) -> None:
    """Paint the seat of trousers and shorts, or the skirt."""
    if person.lower != "skirt":
        sketch.trunk(body.rings(SEAT, body.girth), person.legs)
        return
    hem, flare = 0.56 - 0.5 * person.hem, 0.03 + 0.05 * body.pose.stride
    rings = body.rings(
        (
            (0.58, 0.084, 0.064),
            (0.52, 0.096, 0.072),
            (0.5 * (0.52 + hem), 0.102 + flare / 2, 0.08 + flare / 2),
            (hem, 0.1 + flare, 0.085 + flare),
        ),
        body.girth,
    )
    sketch.trunk(rings, person.legs)
    (x0, y0, r0), (x1, y1, r1) = rings[1], rings[-1]
    for share in (-0.45, 0.1, 0.55):
        sketch.crease([(x0 + share * r0, y0), (x1 + 1.1 * share * r1, y1)], 112)


def draw_upper(sketch: Sketch, person: Person, body: Body) -> None:
    """Paint the top with its pattern, hood and straps."""
    bulk = body.girth * BULK[person.garment]

    def cloth(draw: ImageDraw.ImageDraw, s: float, left: float, top: float) -> None:
        _Cloth(draw, person, body, s, left, top).paint()

    rings = body.rings(CHEST + HEMS[person.garment], bulk)
    sketch.trunk(rings, person.top, cloth)
    x, y, r = rings[4]
    for start, end in ((-0.4, -0.1), (0.5, 0.25)):
        sketch.crease([(x - 0.85 * r, y + start * r), (x + 0.2 * r, y + end * r)], 117)
    if person.garment == "hoodie":
        x, y, r = body.ring((0.0, 0.842, -0.03), body.width(0.066, 0.05))
        sketch.ellipse(x, y, r, 0.028 * body.scale, person.top)
    if person.bag == "backpack":
        for angle in (-0.62, 0.62):
            right, near = body.around(angle, 0.1 * bulk, 0.066 * bulk)
            if near > 0.01:
                (x, y0), (_, y1) = body.pixel((0.0, 0.835, 0.0)), body.pixel((0.0, 0.68, 0.0))
                x += right * body.scale
                sketch.line([(x, y0), (x, y1)], 0.02 * body.scale, person.bag_colour)
    if person.bag == "shoulder":
        surface = math.copysign(0.03, body.cosine)
        ends = (
            (-0.06 * person.bag_side, 0.838, surface),
            (0.1 * person.bag_side, 0.54, surface),
        )
        sketch.line([body.pixel(end) for end in ends], 0.015 * body.scale, person.bag_colour)


def draw_backpack(sketch: Sketch, person: Person, body: Body) -> None:
    """Paint a backpack; the caller chooses its order by the heading."""
    rings = body.rings(BACKPACK, 1.0, -0.1 * body.girth)
    sketch.trunk(rings, person.bag_colour)
    x, y, r = rings[2]
    sketch.crease([(x - 0.7 * r, y), (x + 0.7 * r, y)], 96)
    sketch.crease([(x - 0.7 * r, y - 0.35 * r), (x + 0.7 * r, y - 0.35 * r)], 152)


def draw_hip_bag(sketch: Sketch, person: Person, body: Body, side: int) -> None:
    """Paint the handbag or shoulder bag if it is on ``side`` (1 = left, -1 = right)."""
    if person.bag not in ("handbag", "shoulder") or person.bag_side != side:
        return
    if person.bag == "handbag":
        left, up, forward = body.arms[side][2]
        x, y = body.pixel((left, up - 0.02, forward))
        r, drop = body.width(0.026, 0.066) * body.scale, 0.035 * body.scale
        handle = [(x - 0.5 * r, y + drop), (x, y), (x + 0.5 * r, y + drop)]
        sketch.line(handle, 0.008 * body.scale, person.bag_colour)
        y += drop
    else:
        x, y = body.pixel((0.115 * side * body.girth, 0.545, 0.0))
        r = body.width(0.03, 0.075) * body.scale
    size = 0.1 * body.scale
    sides = ((0.0, 0.78), (0.15, 0.92), (1.0, 1.0), (1.06, 0.92))
    sketch.trunk([(x, y + down * size, share * r) for down, share in sides], person.bag_colour)


class _Cloth:
    """Pattern and opening of a top, painted inside its outline; see ``sketch.Pattern``."""

    def __init__(
        self,
        draw: ImageDraw.ImageDraw,
        person: Person,
        body: Body,
        s: float,
        left: float,
        top: float,
    ) -> None:
        self.draw, self.person, self.body = draw, person, body
        self.s, self.left, self.top = s, left, top
        bulk = body.girth * BULK[person.garment]
        self.half_width, self.half_depth = 0.1 * bulk, 0.07 * bulk

    def paint(self) -> None:
        person = self.person
        mixed = _mix(person.top, person.accent)
        match person.pattern:
            case "stripes":
                for step in range(9):
                    self._band(0.8 - 0.042 * step, 0.78 - 0.042 * step, person.accent)
            case "checks":
                for angle in (step * math.pi / 8 for step in range(16)):
                    if self._shown(angle):
                        line = (self._at(angle, 0.9), self._at(angle, 0.3))
                        self.draw.line(line, mixed, round(1.5 * self.s))
                for step in range(11):
                    self._band(0.8 - 0.045 * step, 0.788 - 0.045 * step, mixed)
            case "two-tone":
                self._band(0.68, 0.3, person.accent)
            case "print" if self.body.cosine > 0.2:
                (x, y), r = self._at(0.0, 0.715), 0.042 * self.body.scale * self.s
                rx = r * self.body.cosine
                self.draw.ellipse((x - rx, y - r, x + rx, y + r), fill=person.accent)
        if person.garment in ("jacket", "coat") and self._shown(0.0):
            low = 0.47 if person.garment == "jacket" else 0.34
            half = ((0.42, 0.86), (0.22, 0.7), (0.16, low))
            panel = [self._at(-angle, up) for angle, up in half]
            panel += [self._at(angle, up) for angle, up in reversed(half)]
            self.draw.polygon(panel, fill=person.accent)

    def _at(self, angle: float, up: float) -> tuple[float, float]:
        right, _ = self.body.around(angle, self.half_width, self.half_depth)
        x, y = self.body.pixel((0.0, up, 0.0))
        return (x + right * self.body.scale - self.left) * self.s, (y - self.top) * self.s

    def _shown(self, angle: float) -> bool:
        return self.body.around(angle, self.half_width, self.half_depth)[1] > 0

    def _band(self, high: float, low: float, colour: Colour) -> None:
        across = 2 * self.body.scale * self.s
        box = (0, self._at(0.0, high)[1], across, self._at(0.0, low)[1])
        self.draw.rectangle(box, fill=colour)


def _mix(one: Colour, other: Colour) -> Colour:
    red, green, blue = ((a + b) // 2 for a, b in zip(one, other, strict=True))
    return red, green, blue
