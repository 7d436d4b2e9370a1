"""Drawing of heads: neck, face, hair and hat, seen from any side."""

from dccc_lightning.data.synthetic.pose import Body
from dccc_lightning.data.synthetic.sketch import Sketch
from dccc_lightning.data.synthetic.wardrobe import Colour, Person

WIDTH, DEPTH, HEIGHT = 0.053, 0.061, 0.072
CENTRE = 0.928
EYES: Colour = (62, 46, 42)


def draw_head(sketch: Sketch, person: Person, body: Body) -> None:
    """Paint neck, skull, face and the hair around it."""
    s, sine, cosine = body.scale, body.sine, body.cosine
    lean = 1.3 * body.pose.lean
    x, y = body.pixel((lean, CENTRE, 0.012))
    rx, ry = body.width(WIDTH, DEPTH) * s, HEIGHT * s
    nape = body.pixel((lean, 0.85, 0.0))
    sketch.limb([(*nape, 0.03 * s), (x - 0.012 * s * sine, y + 0.3 * ry, 0.029 * s)], person.skin)
    sketch.ellipse(x, y, rx, ry, person.skin)
    style = person.hair_style
    if style in ("short", "cap", "beanie"):
        sketch.ellipse(x - 0.012 * s * sine, y - 0.2 * ry, 1.06 * rx, 0.88 * ry, person.hair)
    elif style == "curly":
        for dx, dy, r in ((-0.75, 0.05, 0.6), (0.75, 0.05, 0.6), (0.0, -0.35, 1.12)):
            at = x + (dx * rx) - 0.018 * s * sine
            sketch.ellipse(at, y + dy * ry, r * rx, 0.9 * r * ry, person.hair)
    elif style != "bald":
        sketch.ellipse(x - 0.014 * s * sine, y - 0.07 * ry, 1.1 * rx, 1.02 * ry, person.hair)
    if cosine > -0.35:
        _face(sketch, person, body, x, y, rx, ry)
    if style == "cap":
        sketch.ellipse(x - 0.006 * s * sine, y - 0.46 * ry, 1.08 * rx, 0.6 * ry, person.hat)
        if cosine > -0.5:
            brim = (0.026 + 0.018 * abs(sine)) * s
            at = x + 0.05 * s * sine
            sketch.ellipse(at, y - (0.2 - 0.1 * cosine) * ry, brim, 0.012 * s, person.hat)
    elif style == "beanie":
        sketch.ellipse(x - 0.008 * s * sine, y - 0.42 * ry, 1.12 * rx, 0.72 * ry, person.hat)


def draw_back_hair(sketch: Sketch, person: Person, body: Body) -> None:
    """Paint the hair behind the shoulders."""
    s, lean = body.scale, 1.3 * body.pose.lean
    width = body.width(WIDTH, 0.04)
    match person.hair_style:
        case "bob" | "long" as style:
            low = 0.862 if style == "bob" else 0.755
            shape = ((0.965, 0.9), (0.93, 1.15), (0.5 * (0.93 + low), 1.22), (low, 1.02))
            rings = [body.ring((lean, up, -0.026), share * width) for up, share in shape]
            sketch.trunk(rings, person.hair)
            x, y, r = rings[2]
            sketch.crease([(x - 0.2 * r, y - r), (x - 0.3 * r, y + 0.9 * r)], 112)
        case "ponytail":
            path = ((0.965, -0.058, 0.02), (0.92, -0.082, 0.024), (0.82, -0.07, 0.012))
            rings = [body.ring((lean, up, back), radius) for up, back, radius in path]
            sketch.limb(rings, person.hair)
        case "bun":
            x, y = body.pixel((lean, 0.985, -0.045))
            sketch.ellipse(x, y, 0.03 * s, 0.028 * s, person.hair)


def _face(
    sketch: Sketch, person: Person, body: Body, x: float, y: float, rx: float, ry: float
) -> None:
    s, sine = body.scale, body.sine
    turned = abs(sine)
    away = max(0.0, -body.cosine)
    at = x + (0.021 + 0.05 * away) * s * sine
    wide = rx * (0.86 - 0.16 * turned - 0.7 * away)
    bald = person.hair_style == "bald"
    sketch.ellipse(
        at, y + (0.0 if bald else 0.17 * ry), wide, ry * (0.9 if bald else 0.8), person.skin
    )
    if turned > 0.6:
        nose = x + 0.062 * s * sine
        sketch.ellipse(nose, y + 0.2 * ry, 0.011 * s, 0.013 * s, person.skin, round_=False)
    if turned > 0.3 and person.hair_style in ("bald", "short", "cap", "ponytail", "bun"):
        ear = x - 0.008 * s * sine
        dark = _darker(person.skin, 0.86)
        sketch.ellipse(ear, y + 0.12 * ry, 0.009 * s, 0.016 * s, dark, round_=False)
    for angle in (-0.45, 0.45):
        right, near = body.around(angle, WIDTH, DEPTH)
        if near > 0.015:
            eye = x + right * s
            sketch.ellipse(eye, y + 0.06 * ry, 0.0085 * s, 0.0065 * s, EYES, round_=False)
    right, near = body.around(0.0, WIDTH, DEPTH)
    if near > 0.01:
        lips = _darker(person.skin, 0.7)
        sketch.ellipse(x + right * s, y + 0.58 * ry, 0.014 * s, 0.005 * s, lips, round_=False)


def _darker(colour: Colour, share: float) -> Colour:
    red, green, blue = (int(channel * share) for channel in colour)
    return red, green, blue
