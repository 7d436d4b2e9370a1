"""The sets of photographs: where they come from, and which images a fold trains and tests."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dccc_lightning.data.datasets.split_assignment import choose_identities

CAP = 60
"""Most test images of an identity; without a cap a few long videos would be most of the test."""


class PhotoSet(NamedTuple):
    """A public set of photographs. No image of it is part of this repository.

    Attributes:
        title: Name for people.
        source: Repository and commit that the images were taken from.
        licence: Terms of the images.
        pattern: Regular expression of the paths below the folder: identity, perhaps camera.
        folds: Names of the folds; ``test`` is no fold: all images are for the test.
        height, width: Of the network's images.
    """

    title: str
    source: str
    licence: str
    pattern: str
    folds: tuple[str, ...]
    height: int
    width: int


SETS: Mapping[str, PhotoSet] = {
    "opencows": PhotoSet(
        "OpenCows2020, cows from above",
        "github.com/sapirdeu/Cow-Identification at 70f65cd, the folder that holds dataset; "
        "original: doi.org/10.5523/bris.10m32xl88x2b61zlkkgz3fml17",
        "Non-Commercial Government Licence, University of Bristol",
        r"^dataset/(train|test)/(?P<identity>\d+)/[^/]+\.jpg$",
        ("A", "B"),
        96,
        96,
    ),
    "vehicles": PhotoSet(
        "Vehicle-Re-ID-Dataset, upright, two cameras",
        "github.com/Khoa-Nguyen-Truong/Vehicle-Re-ID-Dataset at 3d129a2, folder images",
        "Apache-2.0",
        r"(train|test)/(?P<identity>[a-z]+_\d+)_cam(?P<camera>\d)\.jpg$",
        ("A", "B"),
        96,
        96,
    ),
    "nyala": PhotoSet(
        "Nyala flanks, upright",
        "github.com/tvanzyl/wildlife_reidentification at d58c9b5, folder Nyala_Data_Zero",
        "none named: evaluated only",
        r"(^|/)test/(?P<animal>\d+)/\d+_(?P<side>left|right)photo\.jpg$",
        ("test",),
        96,
        128,
    ),
}


class Photo(NamedTuple):
    """An image of a set."""

    path: str
    identity: str
    camera: str


class Fold(NamedTuple):
    """Images to train with, without their identities, and images to test with."""

    train: list[Photo]
    test: list[Photo]


def photos(chosen: PhotoSet, root: Path) -> list[Photo]:
    """Return the images of a set below ``root``, sorted by path.

    Raises:
        SystemExit: No file has a name of this set.
    """
    found = []
    for path in sorted(root.rglob("*.jpg")):
        name = path.relative_to(root).as_posix()
        if match := re.search(chosen.pattern, name):
            parts = match.groupdict()
            camera = parts.pop("camera", "")
            found.append(Photo(name, "-".join(parts.values()), camera))
    if not found:
        raise SystemExit(f"{root}: no images of {chosen.title}; it comes from {chosen.source}")
    return found


def fold_of(name: str, images: list[Photo]) -> Fold:
    """Return a fold: A tests half of the identities, as ``dataset=folder`` does, B the rest.

    An identity needs two images for a test; of each the first ``CAP`` by SHA-256 of the path.
    """
    identities = sorted({image.identity for image in images})
    tested = set(choose_identities(identities, 0.5))
    if name == "B":
        tested = set(identities) - tested
    elif name == "test":
        tested = set(identities)
    train = [image for image in images if image.identity not in tested]
    mine: dict[str, list[Photo]] = {}
    for image in sorted(images, key=lambda image: hashlib.sha256(image.path.encode()).digest()):
        if image.identity in tested:
            mine.setdefault(image.identity, []).append(image)
    test = [image for rows in mine.values() if len(rows) > 1 for image in rows[:CAP]]
    return Fold(train, sorted(test))
