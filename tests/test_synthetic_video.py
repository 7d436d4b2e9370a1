"""Synthetic video: walks, visible shares, tracks and truth."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dccc_lightning.data.synthetic.tracker import (
    PATIENCE,
    VISIBLE,
    TrackedBox,
    erring_tracks,
    perfect_tracks,
)
from dccc_lightning.data.synthetic.video import TRACKERS, TRUTH, SyntheticVideo, draw_camera
from dccc_lightning.data.synthetic.video_frames import TrueBox
from dccc_lightning.data.synthetic.walks import plan_walks

TINY = {"identities": 3, "cameras": 2, "frames": 100, "height": 144, "width": 240}
RNG = partial(np.random.default_rng, 5)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SyntheticVideo(root=tmp_path_factory.mktemp("video"), **TINY).drawn()  # type: ignore[arg-type]


def rows(path: Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=",", ndmin=2)


def test_everybody_walks_past_two_cameras_or_more_within_the_video() -> None:
    walks = plan_walks(3, 50, 4, 400, 1.6)
    for identity in range(1, 51):
        mine = [walk for walk in walks if walk.identity == identity]
        assert 2 <= len({walk.camera for walk in mine}) == len(mine) <= 4
        assert all(walk.start >= 0 and walk.start + walk.frames <= 400 for walk in mine)
    seen_at_once = sum(
        one.camera < other.camera
        and one.identity == other.identity
        and max(one.start, other.start) < min(one.start + one.frames, other.start + other.frames)
        for one in walks
        for other in walks
    )
    assert 1 <= seen_at_once <= 50


def test_the_body_faces_where_it_goes() -> None:
    for walk in plan_walks(0, 20, 2, 400, 1.6):
        (x0, y0, _), (x1, y1, _) = walk.place(walk.start), walk.place(walk.start + walk.frames)
        assert math.sin(walk.heading) * (x1 - x0) >= 0
        assert math.cos(walk.heading) * (y1 - y0) >= 0


def test_boxes_enclose_what_moves(video: Path) -> None:
    """Pixels that differ from the empty scene by far lie in the boxes of people."""
    truth = rows(video / "c1" / TRUTH)
    frames = sorted((video / "c1" / "img1").iterdir())
    assert len(frames) == TINY["frames"]
    busy = np.unique(truth[:, 0])
    scene = np.median([np.asarray(Image.open(path), np.float32) for path in frames], axis=0)
    for number in busy[:: max(1, len(busy) // 10)].astype(int):
        image = np.asarray(Image.open(frames[number - 1]), np.float32)
        changed = np.abs(image - scene).max(axis=2) > 70
        for _, _, x, y, w, h, *_ in truth[truth[:, 0] == number]:
            left, top = max(0, round(x - 1) - 3), max(0, round(y - 1) - 3)
            changed[top : round(y - 1 + h) + 6, left : round(x - 1 + w) + 4] = False
        assert changed.mean() < 0.002


def test_truth_has_one_number_a_person_and_tracks_their_own(video: Path) -> None:
    for camera in ("c1", "c2"):
        truth, tracks = rows(video / camera / TRUTH), rows(video / camera / TRACKERS["perfect"])
        assert set(truth[:, 1]) <= {1, 2, 3}
        assert sorted(set(tracks[:, 1])) == list(range(1, len(set(tracks[:, 1])) + 1))
        assert len(tracks) == (truth[:, 8] >= VISIBLE - 5e-4).sum()
        assert rows(video / camera / TRACKERS["erring"]).shape[1] == 10
        assert (rows(video / camera / TRACKERS["erring"])[:, 0] <= TINY["frames"]).all()


def test_a_camera_is_drawn_the_same_again(video: Path, tmp_path: Path) -> None:
    files = SyntheticVideo(root=tmp_path, **TINY)  # type: ignore[arg-type]
    draw_camera(files.world, tmp_path, 1)
    for path in (TRUTH, TRACKERS["erring"], "img1/000099.jpg"):
        assert (tmp_path / "c2" / path).read_bytes() == (video / "c2" / path).read_bytes()


def person(identity: int, frames: range, x: float = 0.0, visible: float = 1.0) -> list[TrueBox]:
    return [TrueBox(at, identity, (x, 0.0, x + 40, 100.0), visible) for at in frames]


def test_a_perfect_track_goes_on_after_a_gap() -> None:
    boxes = person(7, range(10)) + person(7, range(10, 40), visible=0.1) + person(7, range(40, 50))
    tracks = perfect_tracks(boxes)
    assert [box.track for box in tracks] == [1] * 20
    assert [box.frame for box in tracks] == [*range(10), *range(40, 50)]


def tracked(boxes: list[TrueBox]) -> list[TrackedBox]:
    """Return the tracks of people; empty boxes have a score of 0.5."""
    boxes = sorted(boxes, key=lambda box: (box.frame, box.identity))
    return [box for box in erring_tracks(boxes, (400, 400), RNG()) if box.score > 0.6]


def test_an_erring_tracker_loses_people_and_jitters() -> None:
    gap = PATIENCE + 4
    boxes = person(7, range(50)) + person(7, range(50 + gap, 100))
    tracks = tracked(boxes)
    before = {box.track for box in tracks if box.frame < 50}
    assert before.isdisjoint(box.track for box in tracks if box.frame >= 50)
    assert 0.9 * len(boxes) < len(tracks) < len(boxes)
    assert 1 < np.std([box.corners[0] for box in tracks]) < 4


@pytest.mark.parametrize(("apart", "exchanged"), [(30.0, False), (10.0, True)])
def test_tracks_are_exchanged_only_where_people_overlap(apart: float, exchanged: bool) -> None:
    tracks = tracked(person(1, range(300)) + person(2, range(300), x=apart))
    on_other = [box.corners[0] > apart / 2 for box in tracks if box.track == 1]
    assert (0.1 < np.mean(on_other) < 0.9) == exchanged
