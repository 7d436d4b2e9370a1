"""Drawing of a person in a pose.

The body is a stack of elliptic cross sections and four jointed limbs, which covers every heading: a
section seen from the side is as wide as it is deep. Parts are painted from far to near.
"""

from dccc_lightning.data.synthetic.garments import (
    BULK,
    draw_backpack,
    draw_hip_bag,
    draw_lower,
    draw_upper,
)
from dccc_lightning.data.synthetic.head import draw_back_hair, draw_head
from dccc_lightning.data.synthetic.pose import Body, Pose
from dccc_lightning.data.synthetic.sketch import Sketch
from dccc_lightning.data.synthetic.wardrobe import BLACK, Person


def draw_pedestrian(
    sketch: Sketch, person: Person, pose: Pose, x: float, ground: float, scale: float
) -> None:
    """Paint ``person`` in ``pose`` with the feet on the point (x, ground).

    Args:
        sketch: Canvas to paint on.
        person: Appearance.
        pose: Pose.
        x: Pixel column below the hips.
        ground: Pixel row of the soles.
        scale: Height of an average body in pixels.
    """
    body = Body(pose, x, ground, scale * person.height, person.build / person.height)
    facing = body.cosine > 0.05
    sideways = abs(body.sine) > 0.45
    far, near = (1, -1) if body.sine > 0 else (-1, 1)
    if person.bag == "backpack" and facing:
        draw_backpack(sketch, person, body)
    if sideways:
        _draw_arm(sketch, person, body, far)
        draw_hip_bag(sketch, person, body, far)
    ankle = 2
    for side in sorted(body.legs, key=lambda side: pose.view(*body.legs[side][ankle])[2]):
        _draw_leg(sketch, person, body, side)
    draw_lower(sketch, person, body)
    if facing:
        draw_back_hair(sketch, person, body)
    draw_upper(sketch, person, body)
    draw_head(sketch, person, body)
    if not facing:
        draw_back_hair(sketch, person, body)
        if person.bag == "backpack":
            draw_backpack(sketch, person, body)
    for side in (near,) if sideways else (far, near):
        _draw_arm(sketch, person, body, side)
        draw_hip_bag(sketch, person, body, side)


def _draw_leg(sketch: Sketch, person: Person, body: Body, side: int) -> None:
    hip, knee, ankle, toe = body.legs[side]
    heel = (ankle[0], ankle[1] - 0.016, ankle[2] - 0.022)
    shoe = [body.ring(heel, 0.021), body.ring(toe, 0.018)]
    if abs(body.sine) < 0.5:  # heel and toe nearly coincide: keep the instep visible
        shoe.insert(0, body.ring((ankle[0], ankle[1] + 0.004, ankle[2]), 0.02))
    radii = (0.054 * body.girth, 0.038 * body.girth, 0.022 + 0.006 * body.girth)
    rings = [body.ring(at, radius) for at, radius in zip((hip, knee, ankle), radii, strict=True)]
    x, y, r = rings[1]
    if person.lower == "trousers":
        sketch.limb(shoe, person.shoes)
        sketch.limb(rings, person.legs)
        sketch.crease([(x - 0.7 * r, y - 0.3 * r), (x + 0.5 * r, y + 0.25 * r)], 114)
        return
    covered = person.lower == "skirt" and person.tights
    sketch.limb([(x, y, 0.82 * r) for x, y, r in rings], BLACK if covered else person.skin)
    sketch.limb(shoe, person.shoes)
    if person.lower == "shorts":
        x0, y0, r0 = rings[0]
        share = min(1.9 * person.hem, 0.98)
        sketch.limb(
            [(x0, y0, r0), (x0 + (x - x0) * share, y0 + (y - y0) * share, 1.12 * r)], person.legs
        )


def _draw_arm(sketch: Sketch, person: Person, body: Body, side: int) -> None:
    shoulder, elbow, wrist = body.arms[side]
    girth = 0.55 + 0.45 * body.girth
    rings = [
        body.ring(shoulder, 0.033 * girth),
        body.ring(elbow, 0.025 * girth),
        body.ring(wrist, 0.019 * girth),
    ]
    (x0, y0, r0), (x1, y1, _), (x2, y2, _) = rings
    hand = (x2 + 0.12 * (x2 - x1), y2 + 0.12 * (y2 - y1))
    sketch.ellipse(*hand, 0.02 * body.scale, 0.023 * body.scale, person.skin)
    if person.sleeve < 1:
        sketch.limb(rings, person.skin)
        share = 1.9 * person.sleeve
        edge = (x0 + (x1 - x0) * share, y0 + (y1 - y0) * share, 1.02 * r0)
        sketch.limb([(x0, y0, 1.12 * r0), edge], person.top)
    else:
        bulk = 1.08 * BULK[person.garment]
        sketch.limb([(x, y, bulk * r) for x, y, r in rings], person.top)
