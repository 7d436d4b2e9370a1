"""Drawings of spotted animals from above, in any orientation: a test of whether turning helps."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from dccc_lightning.common import checks

SIZE = 96
"""Height and width in pixels."""

_DRAWN = 2 * SIZE
_BODY = (0.30, 0.10, 0.70, 0.90)
"""Left, top, right and bottom of the body, as shares of the drawing."""

_COATS = ((52, 40, 34), (74, 52, 38), (30, 30, 34))
_PATCHES = (6, 11)
_PATCH_SIZE = (0.05, 0.14)


def overhead_animals(
    individuals: int = 12, views: int = 8, seed: int = 0
) -> tuple[list[Image.Image], NDArray[np.int64]]:
    """Draw images of animals from above.

    An individual is a coat with light patches. Its views differ in orientation (any angle), place,
    light, ground and blur.

    Args:
        individuals: Number of animals.
        views: Images of each.
        seed: Seed of the patches and of the views.

    Returns:
        RGB images, individual after individual, and the individuals (N,) int64 from 0.

    >>> images, animals = overhead_animals(individuals=2, views=3)
    >>> images[0].size, animals.tolist()
    ((96, 96), [0, 0, 0, 1, 1, 1])
    """
    checks.integer("individuals", individuals, 1)
    checks.integer("views", views, 1)
    images = [
        view
        for number in range(individuals)
        for view in _views(np.random.default_rng((seed, number)), views)
    ]
    return images, np.repeat(np.arange(individuals), views)


def _views(rng: np.random.Generator, views: int) -> Iterator[Image.Image]:
    """Yield images of a new individual."""
    animal = _animal(rng)
    for _ in range(views):
        ground = rng.normal((96, 120, 70), (10, 10, 8)) + rng.normal(0, 9, (SIZE, SIZE, 1))
        picture = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
        turned = animal.rotate(rng.uniform(0, 360), Image.Resampling.BICUBIC)
        turned = turned.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        picture.paste(turned, tuple(rng.integers(-5, 6, 2).tolist()), turned)
        light = np.asarray(picture, dtype=np.float64) * rng.uniform(0.75, 1.2)
        lit = Image.fromarray(light.clip(0, 255).astype(np.uint8))
        yield lit.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8)))


def _animal(rng: np.random.Generator) -> Image.Image:
    """Return a body with a head, upright, on a transparent ground."""
    coat = _COATS[rng.integers(len(_COATS))]
    picture = Image.new("RGBA", (_DRAWN, _DRAWN))
    body = Image.new("L", (_DRAWN, _DRAWN))
    left, top, right, bottom = (share * _DRAWN for share in _BODY)
    shape = ImageDraw.Draw(body)
    shape.ellipse((left, top + 0.12 * _DRAWN, right, bottom), fill=255)
    head = 0.09 * _DRAWN
    shape.ellipse((_DRAWN / 2 - head, top, _DRAWN / 2 + head, top + 0.2 * _DRAWN), fill=255)
    skin = Image.new("RGB", (_DRAWN, _DRAWN), coat)
    patches = ImageDraw.Draw(skin)
    for _ in range(rng.integers(*_PATCHES)):
        x, y = rng.uniform(left, right), rng.uniform(top, bottom)
        width, height = rng.uniform(*_PATCH_SIZE, 2) * _DRAWN
        patches.ellipse((x - width, y - height, x + width, y + height), fill=(222, 214, 200))
    picture.paste(skin, (0, 0), body)
    return picture
