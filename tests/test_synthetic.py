"""The synthetic dataset: what it draws, how it is laid out, and its cache."""

import errno
import fcntl
import json
import multiprocessing
import os
import re
import signal
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dccc_lightning.common import lock
from dccc_lightning.data import drafts
from dccc_lightning.data.records import Records, Splits
from dccc_lightning.data.synthetic import dataset
from dccc_lightning.data.synthetic.camera import cameras
from dccc_lightning.data.synthetic.dataset import SyntheticPedestrians, draw_world, schedule
from dccc_lightning.data.synthetic.scene import SCENES, backdrop
from dccc_lightning.data.synthetic.wardrobe import (
    BAG_KINDS,
    GARMENTS,
    HAIR_STYLES,
    LOWER,
    PATTERNS,
    Person,
    person,
)
from dccc_lightning.errors import UserError

TINY = {"train_identities": 4, "test_identities": 3, "cameras": 3, "height": 64, "width": 32}


def tiny(root: Path, **changes: object) -> SyntheticPedestrians:
    return SyntheticPedestrians(root=root, **{**TINY, **changes})  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def pixels(records: Records) -> NDArray[np.uint8]:
    return np.stack([np.asarray(Image.open(path)) for path in records.paths])


def entries(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


@pytest.fixture(scope="session")
def default_world(world_folder: Path) -> Splits:
    return SyntheticPedestrians(root=world_folder).splits()


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> SyntheticPedestrians:
    dataset = tiny(tmp_path_factory.mktemp("tiny"))
    dataset.splits()
    return dataset


def test_default_world_has_the_stated_size(default_world: Splits) -> None:
    assert 1480 <= len(default_world.train) <= 1620
    assert 215 <= len(default_world.query) <= 245
    assert 530 <= len(default_world.gallery) <= 610
    assert len(np.unique(default_world.train.identities)) == 100
    assert len(np.unique(default_world.query.identities)) == 50
    assert set(default_world.train.cameras) == set(range(6))


def test_default_images_are_128_by_64_and_not_flat(default_world: Splits) -> None:
    images = pixels(default_world.query)
    assert images.shape[1:] == (128, 64, 3)
    assert (images.reshape(len(images), -1).std(axis=1) > 10).all()


def test_identities_are_seen_by_two_to_six_cameras_one_to_six_times(default_world: Splits) -> None:
    records = default_world.train
    for identity in np.unique(records.identities):
        seen, shots = np.unique(records.cameras[records.identities == identity], return_counts=True)
        assert 2 <= len(seen) <= 6
        assert shots.max() <= 6


def test_train_and_test_identities_are_apart(default_world: Splits) -> None:
    tested = {*default_world.query.identities, *default_world.gallery.identities}
    assert not tested & set(default_world.train.identities)


def test_every_query_has_a_match_under_another_camera(default_world: Splits) -> None:
    query, gallery = default_world.query, default_world.gallery
    for identity, camera in zip(query.identities, query.cameras, strict=True):
        assert ((gallery.identities == identity) & (gallery.cameras != camera)).any()


def test_one_query_per_identity_and_camera(default_world: Splits) -> None:
    query = default_world.query
    pairs = list(zip(query.identities, query.cameras, strict=True))
    assert len(pairs) == len(set(pairs))


def test_gallery_has_distractors(default_world: Splits) -> None:
    assert (default_world.gallery.identities == 0).sum() == 20


def test_single_shots_never_leave_a_query_without_a_match(tmp_path: Path) -> None:
    # One image per camera: every image could be a query, and then the gallery would be empty.
    shots = schedule(tiny(tmp_path, shots_per_camera=1, test_identities=9).world)
    assert not [shot for shot in shots if shot.folder == dataset.QUERY]
    few = schedule(tiny(tmp_path, shots_per_camera=1.2, test_identities=40).world)
    gallery = [shot for shot in few if shot.folder == dataset.GALLERY and not shot.distractor]
    queries = [shot for shot in few if shot.folder == dataset.QUERY]
    assert queries
    for shot in queries:
        assert any(g.identity == shot.identity and g.camera != shot.camera for g in gallery)


def test_layout_and_names_are_those_of_market1501(tiny_world: SyntheticPedestrians) -> None:
    assert entries(tiny_world.folder) == [
        "bounding_box_test",
        "bounding_box_train",
        "manifest.json",
        "query",
    ]
    for path in tiny_world.folder.glob("*/*"):
        assert re.fullmatch(r"\d{4}_c[1-3]s1_\d{6}_\d{2}\.jpg", path.name)
        with Image.open(path) as image:
            assert image.format == "JPEG"
            assert image.size == (32, 64)


def test_records_agree_with_the_schedule(tiny_world: SyntheticPedestrians) -> None:
    splits = tiny_world.splits()
    for records, folder in (
        (splits.train, dataset.TRAIN),
        (splits.query, dataset.QUERY),
        (splits.gallery, dataset.GALLERY),
    ):
        read = zip(records.paths, records.identities, records.cameras, strict=True)
        drawn = {
            shot.name: (0 if shot.distractor else shot.identity, shot.camera)
            for shot in schedule(tiny_world.world)
            if shot.folder == folder
        }
        assert {path.name: (identity, camera) for path, identity, camera in read} == drawn


def test_manifest_states_settings_and_counts(tiny_world: SyntheticPedestrians) -> None:
    facts = json.loads((tiny_world.folder / "manifest.json").read_text())
    assert facts["settings"]["train_identities"] == 4
    assert facts["images"]["query"] == len(tiny_world.splits().query)


def test_bytes_do_not_depend_on_the_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "CHUNK", 9)
    world = tiny(tmp_path).world
    for processes in (1, 2):
        (tmp_path / str(processes)).mkdir()
        draw_world(world, tmp_path / str(processes), processes)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_an_image_does_not_depend_on_how_many_others_there_are(tmp_path: Path) -> None:
    few = pixels(tiny(tmp_path, test_identities=0).splits().train)
    more = tiny(tmp_path, test_identities=0, train_identities=6).splits().train
    assert (few == pixels(more.select(np.arange(len(few))))).all()


def test_other_seeds_give_other_people_and_other_cameras() -> None:
    assert person(0, 1) == person(0, 1)
    assert person(0, 1) != person(1, 1)
    here, there = (cameras(seed, 3, 1.0, 64, 32) for seed in (0, 1))
    again = cameras(0, 3, 1.0, 64, 32)
    for one, same, other in zip(here, again, there, strict=True):
        assert (one.gain == same.gain).all()
        assert (one.backdrop == same.backdrop).all()
        assert not np.allclose(one.gain, other.gain)
        assert not np.allclose(one.backdrop, other.backdrop)


def test_seed_changes_the_images(tmp_path: Path) -> None:
    one, other = (tiny(tmp_path, seed=seed, test_identities=0) for seed in (0, 1))
    one.splits()
    other.splits()
    assert one.folder != other.folder
    assert not set(contents(one.folder).values()) & set(contents(other.folder).values())


def test_camera_shift_sets_the_mean_colours_of_cameras_apart(tmp_path: Path) -> None:
    def spread(shift: float) -> float:
        train = tiny(tmp_path, camera_shift=shift, train_identities=12).splits().train
        # The middle of the image: the pedestrian, hardly the backdrop.
        colours = pixels(train)[:, 16:44, 12:20].mean(axis=(1, 2))
        means = [colours[train.cameras == camera].mean(axis=0) for camera in range(3)]
        return float(np.std(means, axis=0).mean())

    assert spread(1.0) > 1.8 * spread(0.0)


def test_cameras_without_shift_respond_alike() -> None:
    flat = cameras(0, 5, 0.0, 64, 32)
    assert all(np.allclose(camera.gain, 1) for camera in flat)
    assert {(camera.gamma, camera.blur, camera.noise) for camera in flat} == {(1.0, 0.0, 0.01)}


def test_shifted_cameras_cover_dark_and_bright_within_bounds() -> None:
    for seed in range(4):
        shifted = cameras(seed, 6, 1.0, 32, 16)
        exposure = [float(camera.gain.mean()) for camera in shifted]
        assert min(exposure) < 0.75
        assert max(exposure) > 1.2
        assert all(0.7 <= camera.gamma <= 1.4 for camera in shifted)
        assert all(camera.gain.max() / camera.gain.mean() <= 1.25 for camera in shifted)


def test_more_cameras_than_scenes() -> None:
    assert len(cameras(0, len(SCENES) + 2, 1.0, 32, 16)) == len(SCENES) + 2


@pytest.mark.parametrize("kind", SCENES)
def test_backdrop_is_wider_than_an_image_and_structured(kind: str) -> None:
    place = backdrop(kind, 64, 32, np.random.default_rng(0))
    assert place.dtype == np.float32
    assert place.shape[0] > 64
    assert place.shape[1] > 64
    assert 0 <= place.min() < place.max() <= 1
    assert place.std() > 0.03


def test_wardrobe_uses_every_attribute() -> None:
    crowd = [person(0, number) for number in range(1, 400)]
    assert {one.hair_style for one in crowd} == set(HAIR_STYLES)
    assert {one.garment for one in crowd} == set(GARMENTS)
    assert {one.pattern for one in crowd} == set(PATTERNS)
    assert {one.lower for one in crowd} == set(LOWER)
    assert {one.bag for one in crowd} == set(BAG_KINDS)
    assert len(set(crowd)) == len(crowd)


def test_some_people_look_alike() -> None:
    def alike(one: Person, other: Person) -> bool:
        return one.skin == other.skin and one.height == other.height and one != other

    pairs = sum(alike(person(0, number), person(0, number + 1)) for number in range(1, 400))
    assert 50 <= pairs <= 110


def test_same_person_resembles_itself_more_than_others(tmp_path: Path) -> None:
    """Without camera shift, clothes alone find the same identity in another camera."""
    splits = tiny(tmp_path, camera_shift=0.0, test_identities=12).splits()
    query, gallery = (pixels(part).astype(float) for part in (splits.query, splits.gallery))
    stripes = [
        images[:, :, 10:22].reshape(len(images), 8, 8, -1, 3).mean(axis=(2, 3)).reshape(-1, 24)
        for images in (query, gallery)
    ]
    hits = []
    for i in range(len(query)):
        others = splits.gallery.cameras != splits.query.cameras[i]
        distance = np.linalg.norm(stripes[1] - stripes[0][i], axis=1)
        nearest = np.flatnonzero(others)[distance[others].argmin()]
        hits.append(splits.gallery.identities[nearest] == splits.query.identities[i])
    assert np.mean(hits) > 0.4  # chance is below 0.1


def test_cache_is_reused(tiny_world: SyntheticPedestrians) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_world.folder.rglob("*")}
    tiny(tiny_world.root, name="other").splits()
    after = {path: path.stat().st_mtime_ns for path in tiny_world.folder.rglob("*")}
    assert before == after
    assert entries(tiny_world.root) == [tiny_world.folder.name]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"train_identities": 5},
        {"test_identities": 4},
        {"cameras": 4},
        {"camera_shift": 0.5},
        {"shots_per_camera": 2.0},
        {"height": 65},
        {"width": 33},
    ],
)
def test_every_setting_is_part_of_the_key(tmp_path: Path, change: dict[str, object]) -> None:
    assert tiny(tmp_path).folder != tiny(tmp_path, **change).folder


def test_new_renderer_draws_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tiny(tmp_path).folder
    monkeypatch.setattr(SyntheticPedestrians, "renderer", dataset.RENDERER_VERSION + 1)
    assert tiny(tmp_path).folder != before


def test_crash_in_mid_draw_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = Image.Image.save, []

    def failing(image: Image.Image, *args: object, **kwargs: object) -> None:
        saved.append(args)
        if len(saved) > 10:
            raise RuntimeError("power cut")
        save(image, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "save", failing)
    monkeypatch.setattr(dataset, "CHUNK", 10_000)  # one chunk: drawn in this process
    with pytest.raises(RuntimeError, match="power cut"):
        tiny(tmp_path).splits()
    assert entries(tmp_path) == []
    monkeypatch.undo()
    assert len(tiny(tmp_path).splits().train)


def test_full_disk_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset, "draw_world", full)
    with pytest.raises(UserError, match="No space left"):
        tiny(tmp_path).splits()
    assert entries(tmp_path) == []


def test_drafts_of_dead_processes_are_removed_by_the_next_that_draws(tmp_path: Path) -> None:
    def left(key: str, owner: str | None) -> Path:
        draft = tmp_path / f".{key}.{uuid.uuid4().hex}"
        (draft / "query").mkdir(parents=True)
        (draft / "query" / "0001_c1s1_000000_00.jpg").write_bytes(b"half")
        if owner is not None:
            (draft / drafts.OWNER).write_text(owner)
        return draft

    def age(draft: Path) -> Path:
        for path in (*draft.iterdir(), draft):
            os.utime(path, (0, 0))
        return draft

    dataset, here = tiny(tmp_path), drafts._machine()
    left(dataset.folder.name, here)
    left("synthetic-of-other-settings", here)
    age(left(dataset.folder.name, "another machine"))
    age(left(dataset.folder.name, None))  # of an earlier version
    alive, suspended = left(dataset.folder.name, here), age(left(dataset.folder.name, here))
    stays = [
        left(dataset.folder.name, "another machine"),
        left(dataset.folder.name, None),  # just made, not yet locked
        age(left("mine", here)),
        alive,
        suspended,
    ]
    try:
        for draft in (alive, suspended):
            assert lock.take(draft / drafts.OWNER)
        splits = dataset.splits()
    finally:
        lock.release()
    assert entries(tmp_path) == sorted(path.name for path in [*stays, dataset.folder])
    assert all(len(list(path.glob("query/*.jpg"))) == 1 for path in stays)
    assert all(path.is_relative_to(dataset.folder) for path in splits.train.paths)


def test_without_locks_no_draft_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = tiny(tmp_path, test_identities=0, train_identities=1)
    left = tmp_path / f".{dataset.folder.name}.{uuid.uuid4().hex}"
    left.mkdir()
    (left / drafts.OWNER).write_text(drafts._machine())

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    dataset.splits()
    assert entries(tmp_path) == sorted([left.name, dataset.folder.name])


def test_a_killed_process_leaves_a_draft_although_its_workers_live_on(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    worker, begun = context.Value("i", 0), context.Event()

    def draw() -> None:
        with drafts.drafted(tiny(tmp_path).folder, "synthetic-*"):
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            worker.value = child
            begun.set()
            time.sleep(60)

    process = context.Process(target=draw)
    process.start()
    assert begun.wait(30)
    try:
        (draft,) = tmp_path.iterdir()
        tiny(tmp_path, seed=1).splits()
        assert draft.exists()
        process.kill()
        process.join()
        tiny(tmp_path, seed=2).splits()
        assert not draft.exists()
    finally:
        os.kill(worker.value, signal.SIGKILL)


def _count(root: Path, barrier: "multiprocessing.synchronize.Barrier", results: object) -> None:
    barrier.wait()
    splits = tiny(root).splits()
    results.put((len(splits.train), len(splits.query), len(splits.gallery)))  # type: ignore[attr-defined]


def test_two_processes_may_build_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    builders = [context.Process(target=_count, args=(tmp_path, barrier, results)) for _ in range(2)]
    for builder in builders:
        builder.start()
    counts = [results.get(timeout=200) for _ in builders]
    for builder in builders:
        builder.join()
        assert builder.exitcode == 0
    assert counts[0] == counts[1]
    assert entries(tmp_path) == [tiny(tmp_path).folder.name]


def test_loser_of_a_race_takes_the_winners_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loser, draw = tiny(tmp_path), dataset.draw_world

    def late(world: dataset.World, folder: Path, processes: int) -> None:
        draw(world, folder, processes)
        monkeypatch.setattr(dataset, "draw_world", draw)
        tiny(tmp_path).splits()
        (loser.folder / "winner").touch()

    monkeypatch.setattr(dataset, "draw_world", late)
    assert len(loser.splits().train)
    assert (loser.folder / "winner").exists()
    assert entries(tmp_path) == [loser.folder.name]


def test_missing_images_are_reported(tmp_path: Path) -> None:
    dataset = tiny(tmp_path)
    dataset.splits().train.paths[0].unlink()
    with pytest.raises(UserError, match=r"missing in .*; delete the folder"):
        dataset.splits()


def test_world_without_test_identities(tmp_path: Path) -> None:
    splits = tiny(tmp_path, test_identities=0).splits()
    assert len(splits.train)
    assert len(splits.query) == len(splits.gallery) == 0


def test_unwritable_root_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to"):
        tiny(tmp_path / "file").splits()


def test_root_defaults_to_the_cache_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCCC_CACHE", str(tmp_path / "ours"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert SyntheticPedestrians().root == tmp_path / "ours"
    monkeypatch.delenv("DCCC_CACHE")
    assert SyntheticPedestrians().root == tmp_path / "xdg" / "dccc_lightning"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert SyntheticPedestrians().root == Path.home() / ".cache" / "dccc_lightning"


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("seed", -1, ValueError),
        ("seed", 1.5, TypeError),
        ("train_identities", 0, ValueError),
        ("test_identities", -1, ValueError),
        ("cameras", 1, ValueError),
        ("camera_shift", -0.1, ValueError),
        ("camera_shift", float("nan"), ValueError),
        ("shots_per_camera", 7, ValueError),
        ("height", 8, ValueError),
        ("width", "64", TypeError),
    ],
)
def test_arguments_are_validated(argument: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=argument):
        SyntheticPedestrians(**{argument: value})  # type: ignore[arg-type]
