"""Synthetic video: pedestrians who walk past several cameras, with tracks and the truth.

One folder a camera, in the layout of MOT17: ``img1/`` holds the frames, ``seqinfo.ini`` their rate
and size, ``gt/gt.txt`` the true boxes with the numbers of the people, which are the same in all
cameras. ``tracks.txt`` has the tracks of a tracker that errs, ``perfect.txt`` those of one that
does not; their numbers begin at 1 in every camera, as those of trackers do. ``crops/`` has crops of
the tracks and a table of them.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from dccc_lightning.common import checks, progress
from dccc_lightning.data.records import Splits
from dccc_lightning.data.synthetic.camera import cameras
from dccc_lightning.data.synthetic.drawn_dataset import DrawnDataset, in_processes, write_manifest
from dccc_lightning.data.synthetic.tracker import TrackedBox, erring_tracks, perfect_tracks
from dccc_lightning.data.synthetic.video_crops import FOLDER, read_crops, write_crops
from dccc_lightning.data.synthetic.video_frames import TrueBox, film
from dccc_lightning.data.synthetic.walks import FPS, NEAR, TALL, plan_walks

RENDERER_VERSION = 1
"""Version in the cache key; increase it with every change of the drawing code."""

JPEG_QUALITY = 90
FRAMES, TRUTH = "img1", "gt/gt.txt"
TRACKERS = {"erring": "tracks.txt", "perfect": "perfect.txt"}


@dataclass(frozen=True)
class VideoWorld:
    """Settings that determine the frames; see ``SyntheticVideo``."""

    seed: int
    identities: int
    cameras: int
    frames: int
    camera_shift: float
    height: int
    width: int
    tracks: str
    per_tracklet: int
    margin: float


class SyntheticVideo(DrawnDataset):
    """Dataset of a synthetic video whose people are both trained on and searched for.

    The training split has crops of all tracklets, as a video of the user's would. Query and gallery
    are other frames of the same tracklets, so scores are of the people trained on. Identities come
    from the true boxes and are used for scores only.

    Args:
        root: Folder of drawn datasets; None for the user's cache folder.
        seed: Seed of identities, cameras and walks.
        identities: Number of people; each walks past two cameras at least.
        cameras: Number of cameras, at least 2.
        frames: Frames of each camera, at 10 per second.
        camera_shift: Strength of the differences between the cameras' responses.
        height: Height of the frames.
        width: Width of the frames.
        tracks: Tracker, ``erring`` or ``perfect``.
        per_tracklet: Largest number of crops of a tracklet.
        margin: Share of the width and height of a box added on each side of a crop.
        name: Name of the dataset in logs and reports; not part of the cache key.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
    """

    prefix = "synthetic_video-"
    renderer = RENDERER_VERSION
    world: VideoWorld

    def __init__(
        self,
        *,
        root: str | os.PathLike[str] | None = None,
        seed: int = 0,
        identities: int = 40,
        cameras: int = 4,
        frames: int = 600,
        camera_shift: float = 1.0,
        height: int = 288,
        width: int = 480,
        tracks: str = "erring",
        per_tracklet: int = 8,
        margin: float = 0.05,
        name: str = "synthetic_video",
    ) -> None:
        super().__init__(root, name)
        self.world = VideoWorld(
            seed=checks.integer("seed", seed, 0),
            identities=checks.integer("identities", identities, 1, 5000),
            cameras=checks.integer("cameras", cameras, 2, 99),
            frames=checks.integer("frames", frames, 100),
            camera_shift=checks.real("camera_shift", camera_shift, 0, 2),
            height=checks.integer("height", height, 144, 1080),
            width=checks.integer("width", width, 144, 1920),
            tracks=checks.choice("tracks", tracks, tuple(TRACKERS)),
            per_tracklet=checks.integer("per_tracklet", per_tracklet, 1),
            margin=checks.real("margin", margin, 0, 1),
        )

    def splits(self) -> Splits:
        """Draw the video unless it is cached, and read its crops.

        Raises:
            UserError: The cache cannot be written, or crops are missing.
        """
        train, query, gallery, cameras = read_crops(self.drawn())
        self.check_manifest(crops=len(list(self.folder.glob(f"{FOLDER}/*/*.jpg"))))
        # Numbered apart, as test identities are; all of them are in the training split.
        shift = self.world.identities + 1
        query, gallery = (
            replace(part, identities=part.identities + shift) for part in (query, gallery)
        )
        return Splits(
            self.name,
            self.folder,
            train,
            query,
            gallery,
            camera_names=cameras,
            layout="crops of a synthetic video",
            shared_identities=tuple(np.unique(query.identities - shift).tolist()),
        )

    def draw(self, folder: Path) -> None:
        """Draw all cameras into an existing folder."""
        world = self.world
        with progress.announced("drawing video", world.cameras * world.frames) as phase:
            parts = range(world.cameras)
            workers = len(os.sched_getaffinity(0))
            in_processes(partial(draw_camera, world, folder), parts, workers, phase.advance)
        with progress.announced("cropping video"):
            names = camera_names(world)
            write_crops(folder, names, TRACKERS[world.tracks], world.per_tracklet, world.margin)
        crops = len(list(folder.glob(f"{FOLDER}/*/*.jpg")))
        write_manifest(folder, self.renderer, world, crops=crops)


def camera_names(world: VideoWorld) -> list[str]:
    """Return the names of the cameras, which are those of their folders."""
    return [f"c{number + 1}" for number in range(world.cameras)]


def draw_camera(world: VideoWorld, folder: Path, number: int) -> int:
    """Draw the frames of a camera, and write its tracks and truth.

    Returns:
        The number of frames.
    """
    size = (world.height, world.width)
    camera = cameras(world.seed, world.cameras, world.camera_shift, *size)[number]
    # Blur is for images that a body fills.
    camera = replace(camera, blur=camera.blur * TALL * NEAR)
    plan = (world.seed, world.identities, world.cameras, world.frames, world.width / world.height)
    walks = [walk for walk in plan_walks(*plan) if walk.camera == number]
    place = folder / camera_names(world)[number]
    (place / FRAMES).mkdir(parents=True)
    (place / TRUTH).parent.mkdir()
    boxes: list[TrueBox] = []
    shots = film(camera, number, walks, world.seed, world.frames, size)
    for frame, (image, seen) in enumerate(shots, start=1):
        image.save(place / FRAMES / f"{frame:06d}.jpg", quality=JPEG_QUALITY)
        boxes += seen
    truth = ((box.frame, box.identity, box.corners, f"1,1,{box.visible:.3f}") for box in boxes)
    (place / TRUTH).write_text(_mot(truth))
    rng = np.random.default_rng([world.seed, 45, number])
    erring = [box for box in erring_tracks(boxes, size, rng) if box.frame < world.frames]
    for tracker, tracks in (("erring", erring), ("perfect", perfect_tracks(boxes))):
        (place / TRACKERS[tracker]).write_text(_mot(map(_result, tracks)))
    (place / "seqinfo.ini").write_text(
        f"[Sequence]\nname={place.name}\nimDir={FRAMES}\nframeRate={FPS}\nseqLength={world.frames}\n"
        f"imWidth={world.width}\nimHeight={world.height}\nimExt=.jpg\n"
    )
    return world.frames


def _result(box: TrackedBox) -> tuple[int, int, tuple[float, float, float, float], str]:
    return box.frame, box.track, box.corners, f"{box.score:g},-1,-1,-1"


def _mot(rows: Iterable[tuple[int, int, tuple[float, float, float, float], str]]) -> str:
    """Return rows in the text format of MOT, where frames and pixels begin at 1."""
    return "".join(
        f"{frame + 1},{number},{x1 + 1:g},{y1 + 1:g},{x2 - x1:g},{y2 - y1:g},{rest}\n"
        for frame, number, (x1, y1, x2, y2), rest in rows
    )
