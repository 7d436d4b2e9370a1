"""Synthetic re-identification dataset in the layout of Market-1501, drawn on first use.

Every image is a function of (seed, identity, camera, shot), whatever the number of processes that
draw it. A world is stored in a cache folder named by a hash of its settings, written atomically.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from dccc_lightning.common import checks, progress
from dccc_lightning.data.datasets.file_names import MARKET_FOLDERS
from dccc_lightning.data.datasets.market_layout import read_market_layout
from dccc_lightning.data.records import Splits
from dccc_lightning.data.synthetic.camera import Camera, cameras
from dccc_lightning.data.synthetic.drawn_dataset import DrawnDataset, in_processes, write_manifest
from dccc_lightning.data.synthetic.wardrobe import Person, person

RENDERER_VERSION = 1
"""Version in the cache key; increase it with every change of the drawing code."""

MAX_CAMERAS_SEEN = 6
MAX_SHOTS = 6
EXTRA_CAMERA = 0.65
"""Probability that each camera beyond the first two sees an identity."""

DISTRACTORS = 0.4
"""Number of distractor images (identity 0000) in the gallery per test identity."""

PASSERS_BY = 0.08
JPEG_QUALITY = 90
CHUNK = 64
TRAIN, QUERY, GALLERY = MARKET_FOLDERS


@dataclass(frozen=True)
class World:
    """Settings that determine the images; see ``SyntheticPedestrians``."""

    seed: int
    train_identities: int
    test_identities: int
    cameras: int
    camera_shift: float
    shots_per_camera: float
    height: int
    width: int


@dataclass(frozen=True)
class Shot:
    """An image to draw: identity, camera, number and folder."""

    folder: str
    identity: int
    camera: int
    number: int
    frame: int
    distractor: bool = False

    @property
    def name(self) -> str:
        """File name in the format of Market-1501."""
        identity = 0 if self.distractor else self.identity
        return f"{identity:04d}_c{self.camera + 1}s1_{self.frame:06d}_{self.number:02d}.jpg"


class SyntheticPedestrians(DrawnDataset):
    """Dataset of drawn pedestrians under cameras of different response.

    Identities are combinations of hair, clothes, bag and build; some are similar. Each is seen by 2
    to 6 cameras, 1 to 6 times by each. Different seeds have different people and cameras.

    Args:
        root: Folder of drawn worlds; None for ``$DCCC_CACHE``, else
            ``$XDG_CACHE_HOME/dccc_lightning``, else ``~/.cache/dccc_lightning``.
        seed: Seed of identities, cameras and images.
        train_identities: Number of identities of the training split.
        test_identities: Number of identities of query and gallery; 0 for a pre-training world.
        cameras: Number of cameras, at least 2.
        camera_shift: Strength of the differences between the cameras' responses (cast, exposure,
            gamma, blur, noise); 0 for equal responses.
        shots_per_camera: Mean number of images of an identity in a camera that sees it, 1 to 6.
        height: Height of the images.
        width: Width of the images.
        name: Name of the dataset in logs and reports; not part of the cache key.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
    """

    prefix = "synthetic-"
    renderer = RENDERER_VERSION
    world: World

    def __init__(
        self,
        *,
        root: str | os.PathLike[str] | None = None,
        seed: int = 0,
        train_identities: int = 100,
        test_identities: int = 50,
        cameras: int = 6,
        camera_shift: float = 1.0,
        shots_per_camera: float = 3.5,
        height: int = 128,
        width: int = 64,
        name: str = "synthetic",
    ) -> None:
        super().__init__(root, name)
        self.world = World(
            seed=checks.integer("seed", seed, 0),
            train_identities=checks.integer("train_identities", train_identities, 1, 5000),
            test_identities=checks.integer("test_identities", test_identities, 0, 4999),
            cameras=checks.integer("cameras", cameras, 2, 99),
            camera_shift=checks.real("camera_shift", camera_shift, 0, 2),
            shots_per_camera=checks.real("shots_per_camera", shots_per_camera, 1, MAX_SHOTS),
            height=checks.integer("height", height, 32, 1024),
            width=checks.integer("width", width, 16, 1024),
        )

    def splits(self) -> Splits:
        """Draw the world unless it is cached, and read it.

        Raises:
            UserError: The cache cannot be written, cached images are missing, or the world is so
                small that no query has a match.
        """
        splits = read_market_layout(
            self.name,
            self.drawn(),
            require_test=self.world.test_identities > 0,
            distractors=(0,),
        )
        sizes = (len(splits.train), len(splits.query), len(splits.gallery))
        self.check_manifest(images=dict(zip(MARKET_FOLDERS, sizes, strict=True)))
        return splits

    def draw(self, folder: Path) -> None:
        """Draw all images and their manifest into an existing folder."""
        draw_world(self.world, folder, len(os.sched_getaffinity(0)))


def schedule(world: World) -> list[Shot]:
    """Return all images of a world, in a fixed order.

    One image of a test identity per camera is a query, unless it would have no match in the gallery
    under another camera; the others are gallery.
    """
    people = world.train_identities + world.test_identities
    shots: list[Shot] = []
    for identity in range(1, people + 1):
        tracks = list(_tracks(world, identity))
        if identity <= world.train_identities:
            shots += [shot for track in tracks for shot in track]
            continue
        for track in tracks:
            matched = any(len(other) > 1 for other in tracks if other is not track)
            folder = QUERY if matched else GALLERY
            first, *rest = track
            shots += [replace(first, folder=folder), *rest]
    for stranger in range(round(DISTRACTORS * world.test_identities)):
        rng = np.random.default_rng([world.seed, 32, stranger])
        camera, frame = int(rng.integers(world.cameras)), int(rng.integers(100_000))
        shots.append(Shot(GALLERY, people + 1 + stranger, camera, stranger, frame, distractor=True))
    return shots


def draw_world(world: World, folder: Path, processes: int) -> None:
    """Draw all images of a world and its manifest into an existing folder."""
    for split in MARKET_FOLDERS:
        (folder / split).mkdir()
    shots = schedule(world)
    chunks = [shots[at : at + CHUNK] for at in range(0, len(shots), CHUNK)]
    with progress.announced("drawing pedestrians", len(shots)) as phase:
        in_processes(partial(_draw, world, folder), chunks, processes, phase.advance)
    counts = {split: sum(shot.folder == split for shot in shots) for split in MARKET_FOLDERS}
    write_manifest(folder, RENDERER_VERSION, world, images=counts)


def _tracks(world: World, identity: int) -> Iterator[list[Shot]]:
    """Yield the images of ``identity``, camera by camera."""
    rng = np.random.default_rng([world.seed, 31, identity])
    most = min(world.cameras, MAX_CAMERAS_SEEN)
    seen = 2 + int(rng.binomial(most - 2, EXTRA_CAMERA))
    folder = TRAIN if identity <= world.train_identities else GALLERY
    for camera in sorted(rng.choice(world.cameras, seen, replace=False).tolist()):
        count = 1 + int(rng.binomial(MAX_SHOTS - 1, (world.shots_per_camera - 1) / (MAX_SHOTS - 1)))
        start = int(rng.integers(100_000))
        yield [Shot(folder, identity, camera, at, start + 25 * at) for at in range(count)]


@lru_cache(maxsize=1)
def _cameras(world: World) -> list[Camera]:
    return cameras(world.seed, world.cameras, world.camera_shift, world.height, world.width)


@lru_cache(maxsize=16)
def _person(seed: int, identity: int) -> Person:
    return person(seed, identity)


def _draw(world: World, folder: Path, shots: list[Shot]) -> int:
    """Draw ``shots`` and return their number."""
    for shot in shots:
        track = np.random.default_rng([world.seed, 33, shot.identity, shot.camera])
        own = np.random.default_rng([world.seed, 34, shot.identity, shot.camera, shot.number])
        passer_by = None
        if own.random() < PASSERS_BY:
            passer_by = person(world.seed, 20_000 + int(own.integers(1_000)))
        image = _cameras(world)[shot.camera].photograph(
            _person(world.seed, shot.identity), world.height, world.width, track, own, passer_by
        )
        image.save(folder / shot.folder / shot.name, quality=JPEG_QUALITY)
    return len(shots)
