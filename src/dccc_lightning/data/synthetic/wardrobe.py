"""Attributes of synthetic identities: hair, skin, build, clothes, shoes and bag.

Nothing else in an image depends on the identity. Colours are small variations of palettes of
common clothes, and about one identity in five is a look-alike of its predecessor.
"""

from dataclasses import dataclass, replace

import numpy as np

Colour = tuple[int, int, int]

WHITE: Colour = (232, 231, 226)
BLACK: Colour = (34, 34, 38)

SKIN: tuple[Colour, ...] = (
    (243, 211, 184),
    (233, 192, 160),
    (219, 172, 136),
    (190, 138, 102),
    (145, 99, 70),
    (100, 68, 50),
)
HAIR: tuple[tuple[Colour, float], ...] = (
    ((28, 24, 24), 5.0),
    ((56, 38, 28), 4.0),
    ((98, 66, 42), 2.5),
    ((150, 112, 66), 1.2),
    ((208, 176, 118), 1.2),
    ((142, 66, 36), 0.8),
    ((160, 158, 156), 1.0),
)
TOPS: tuple[tuple[Colour, float], ...] = (
    (BLACK, 3.0),
    ((70, 73, 80), 1.8),
    ((142, 145, 150), 1.8),
    (WHITE, 2.4),
    ((38, 50, 86), 2.0),
    ((58, 98, 162), 1.5),
    ((146, 184, 214), 1.2),
    ((178, 44, 46), 1.6),
    ((104, 34, 46), 1.0),
    ((222, 112, 50), 0.9),
    ((226, 184, 66), 1.0),
    ((84, 96, 60), 1.2),
    ((46, 122, 84), 1.0),
    ((50, 138, 142), 0.9),
    ((200, 176, 142), 1.4),
    ((122, 86, 60), 1.0),
    ((220, 146, 160), 1.0),
    ((116, 82, 146), 0.9),
)
LEGS: tuple[tuple[Colour, float], ...] = (
    (BLACK, 3.0),
    ((48, 62, 98), 3.0),
    ((86, 112, 152), 2.2),
    ((142, 164, 192), 1.0),
    ((76, 78, 84), 1.8),
    ((148, 146, 142), 1.0),
    ((190, 166, 126), 1.6),
    ((102, 98, 66), 1.0),
    ((98, 72, 54), 0.8),
    ((222, 218, 208), 0.8),
    ((126, 42, 50), 0.5),
)
SHOES: tuple[tuple[Colour, float], ...] = (
    (BLACK, 3.0),
    (WHITE, 3.0),
    ((112, 74, 46), 1.5),
    ((120, 122, 128), 1.0),
    ((186, 50, 46), 0.8),
    ((48, 84, 150), 0.8),
    ((206, 214, 70), 0.3),
)
BAGS: tuple[tuple[Colour, float], ...] = (
    (BLACK, 2.5),
    ((134, 88, 52), 1.5),
    ((46, 60, 104), 1.2),
    ((186, 46, 50), 1.2),
    ((104, 110, 70), 0.8),
    ((150, 152, 156), 0.8),
    ((60, 142, 140), 0.6),
    ((228, 186, 70), 0.6),
    ((214, 130, 150), 0.5),
)

HAIR_STYLES = {
    "short": 4.0,
    "curly": 1.0,
    "bald": 0.6,
    "bob": 1.6,
    "long": 2.4,
    "ponytail": 1.5,
    "bun": 0.9,
    "cap": 1.0,
    "beanie": 0.6,
}
GARMENTS = {"shirt": 4.5, "jacket": 2.2, "hoodie": 1.5, "coat": 1.2}
PATTERNS = {"plain": 5.0, "stripes": 1.6, "checks": 1.1, "print": 1.5, "two-tone": 1.3}
LOWER = {"trousers": 6.0, "shorts": 1.7, "skirt": 1.5}
BAG_KINDS = {"none": 4.0, "backpack": 2.4, "handbag": 1.3, "shoulder": 1.6}

LOOK_ALIKES = 0.2


@dataclass(frozen=True)
class Person:
    """Appearance of an identity, constant over its images.

    Attributes:
        hair_style: One of ``HAIR_STYLES``.
        hat: Colour of the cap or beanie.
        height: Height relative to the average, about 0.92 to 1.06.
        build: Width relative to the average, about 0.82 to 1.25.
        garment: One of ``GARMENTS``; ``pattern``: one of ``PATTERNS``.
        accent: Second colour of the pattern, and colour under an open jacket or coat.
        sleeve: Covered share of the arm, 0.3 (short) to 1.
        lower: One of ``LOWER``; ``hem``: covered share of the leg, 0.3 to 1.
        bag: One of ``BAG_KINDS``; ``bag_side``: 1 for the left hand or hip, -1 for the right.
    """

    skin: Colour
    hair: Colour
    hair_style: str
    hat: Colour
    height: float
    build: float
    garment: str
    top: Colour
    pattern: str
    accent: Colour
    sleeve: float
    lower: str
    legs: Colour
    hem: float
    tights: bool
    shoes: Colour
    bag: str
    bag_colour: Colour
    bag_side: int


def person(seed: int, number: int) -> Person:
    """Return identity ``number`` of the world ``seed``, deterministically."""
    rng = np.random.default_rng([seed, 11, number])
    if number > 1 and rng.random() < LOOK_ALIKES:
        return _look_alike(person(seed, number - 1), rng)
    garment = _pick(rng, GARMENTS)
    pattern = _pick(rng, PATTERNS)
    if garment != "shirt" and pattern in ("print", "stripes"):
        pattern = "plain"
    skin = _tint(rng, SKIN[rng.choice(len(SKIN), p=(0.2, 0.25, 0.2, 0.15, 0.12, 0.08))], 6)
    top = _contrast(rng, skin, 110)
    lower = _pick(rng, LOWER)
    hem = {"trousers": 1.0, "shorts": rng.uniform(0.36, 0.5), "skirt": rng.uniform(0.4, 0.62)}
    return Person(
        skin=skin,
        hair=_worn(rng, HAIR, 6),
        hair_style=_pick(rng, HAIR_STYLES),
        hat=_worn(rng, BAGS),
        height=float(np.clip(rng.normal(0.99, 0.035), 0.9, 1.06)),
        build=float(np.clip(rng.normal(1.0, 0.1), 0.82, 1.25)),
        garment=garment,
        top=top,
        pattern=pattern,
        accent=_contrast(rng, top, 150),
        sleeve=float(rng.uniform(0.26, 0.4)) if garment == "shirt" and rng.random() < 0.6 else 1.0,
        lower=lower,
        legs=_worn(rng, LEGS if lower != "skirt" or rng.random() < 0.5 else TOPS),
        hem=float(hem[lower]),
        tights=bool(rng.random() < 0.3),
        shoes=_worn(rng, SHOES),
        bag=_pick(rng, BAG_KINDS),
        bag_colour=_worn(rng, BAGS),
        bag_side=1 if rng.random() < 0.5 else -1,
    )


def _look_alike(model: Person, rng: np.random.Generator) -> Person:
    """Return a person like ``model`` with one major and two minor differences."""
    other = replace(
        model,
        hair=_worn(rng, HAIR, 6),
        shoes=_worn(rng, SHOES),
        build=float(np.clip(model.build * rng.uniform(0.9, 1.1), 0.82, 1.25)),
    )
    match int(rng.integers(4)):
        case 0:
            return replace(other, bag=_pick(rng, BAG_KINDS), bag_colour=_worn(rng, BAGS))
        case 1:
            return replace(other, legs=_worn(rng, LEGS))
        case 2:
            return replace(other, hair_style=_pick(rng, HAIR_STYLES), hat=_worn(rng, BAGS))
        case _:
            top = _contrast(rng, model.skin, 110)
            return replace(other, top=top, accent=_contrast(rng, top, 150))


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    shares = np.fromiter(weights.values(), float)
    return list(weights)[rng.choice(len(shares), p=shares / shares.sum())]


def _worn(
    rng: np.random.Generator, palette: tuple[tuple[Colour, float], ...], spread: float = 9
) -> Colour:
    shares = np.array([weight for _, weight in palette])
    return _tint(rng, palette[rng.choice(len(palette), p=shares / shares.sum())][0], spread)


def _tint(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    red, green, blue = (int(np.clip(c + rng.normal(0, spread), 8, 247)) for c in colour)
    return red, green, blue


def _contrast(rng: np.random.Generator, colour: Colour, least: int) -> Colour:
    """Return a colour of ``TOPS`` whose L1 distance from ``colour`` is at least ``least``."""
    while True:
        other = _worn(rng, TOPS)
        if sum(abs(a - b) for a, b in zip(colour, other, strict=True)) >= least:
            return other
