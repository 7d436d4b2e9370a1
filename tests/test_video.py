"""Videos decoded in order, and the crops of tracks in them."""

import csv
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from dccc_lightning.cli import conf_dir
from dccc_lightning.data.datasets.folder import ImageFolder
from dccc_lightning.data.tracks import tracks_of_detections
from dccc_lightning.data.video import crop_tracks
from dccc_lightning.data.video.crop_choice import choose_boxes
from dccc_lightning.data.video.frame_sources import open_frames
from dccc_lightning.errors import UserError
from dccc_lightning.tasks.crop import crop

LEFT = (0, 0, 80, 120)  # of a picture of 160 x 120


def boxes(*rows, metadata=None):
    """Return a table of (frame, track, box)."""
    schema = tracks_of_detections([]).schema.with_metadata(metadata or {})
    names = ("frame", "track", "x1", "y1", "x2", "y2", "score")
    return pa.Table.from_pylist(
        [dict(zip(names, (frame, track, *box, 0.5), strict=True)) for frame, track, box in rows],
        schema,
    )


@pytest.fixture(scope="session")
def clips():
    return pytest.importorskip("clips", reason="needs the extra video")


@pytest.fixture(scope="session")
def clip(clips, tmp_path_factory):
    return clips.draw(tmp_path_factory.mktemp("clips") / "hall.mp4")


def image(folder, path):
    with Image.open(folder / path) as found:
        return np.asarray(found)


# Decoding


def test_a_crop_is_of_its_frame(clips, clip, tmp_path):
    tracks = boxes(*((n, "7", LEFT) for n in range(0, 30, 3)), (29, None, LEFT))
    report = crop_tracks(tracks, clip, tmp_path, "hall", per_tracklet=3, margin=0.0)
    assert (report.frames, report.tracklets, report.boxes) == (30, 2, 11)
    assert report.notes == []
    assert report.counts == {}
    found = report.table.to_pylist()
    assert len(found) == 4
    assert [row["tracklet"] for row in found] == ["hall/7"] * 3 + [None]
    for row in found:
        pixels = image(tmp_path, row["path"])
        assert pixels.shape == (120, 80, 3)
        assert clips.number_of(pixels) == row["frame"]
        assert row["time"] == pytest.approx(row["frame"] / 30)
        assert row["pts"] > 0 or row["frame"] == 0
    assert [row["frame"] // 10 for row in found[:3]] == [0, 1, 2]
    assert report.record["size"] == (160, 120)
    assert report.record["decoder"].startswith("PyAV")
    assert {"color_space", "color_range", "libavcodec", "codec"} <= set(report.record)


def test_a_turned_video_is_upright(clips, tmp_path):
    path = clips.turn(clips.draw(tmp_path / "phone.mp4", 6))
    source = open_frames(path)
    assert (source.size, source.coded_size) == ((120, 160), (160, 120))
    pixels = next(iter(source.frames())).pixels()
    assert pixels.shape == (160, 120, 3)
    red = pixels[-40:, -30:].reshape(-1, 3).mean(axis=0)  # the corner at the top right, turned
    assert red[0] > 150
    assert red[1] < 90
    sideways = boxes(*((n, "1", (121, 10, 159, 60)) for n in range(6)))
    with pytest.raises(UserError, match="before turning"):
        crop_tracks(sideways, path, tmp_path, "a")
    with pytest.raises(UserError, match="before turning or scaling"):
        crop_tracks(boxes((0, "1", LEFT), metadata={"size": "160 x 120"}), path, tmp_path, "a")


def test_an_edit_list_hides_frames_and_is_no_damage(clips, tmp_path):
    path = clips.draw(tmp_path / "edited.mp4", 90, start=-15)
    tracks = boxes((0, "1", LEFT), (80, "2", LEFT))
    report = crop_tracks(tracks, path, tmp_path, "a", margin=0)
    assert report.notes == ["75 of 90 frames: an edit list hides the others"]
    assert report.counts == {"after the last frame": 1}
    (row,) = report.table.to_pylist()
    assert clips.number_of(image(tmp_path, row["path"])) == 15
    assert row["time"] == 0


def test_an_avi_of_variable_rate_counts_frames_without_a_picture(clips, tmp_path):
    times = [number + number // 4 for number in range(12)]
    path = clips.draw(
        tmp_path / "variable.avi", 12, codec="mpeg4", pts=times, options={"qscale": "1"}
    )
    source = open_frames(path)
    found = [(frame.number, round(30 * frame.seconds)) for frame in source.frames()]
    assert found == list(enumerate(times))
    assert source.ending.notes == ["12 of 14 frames: the others are empty"]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("a.mp4", {"movflags": "faststart"}, r"\d\d of 120 frames: the file is damaged"),
        ("a.mkv", {}, r"\d\d frames, 2\.\d of 4\.0 s: the file is damaged"),
    ],
)
def test_a_video_that_ends_early_is_no_stop(name, options, said, clips, tmp_path):
    path = clips.draw(tmp_path / name, 120, container_options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    tracks = boxes(*((n, "1", LEFT) for n in range(120)))
    report = crop_tracks(tracks, path, tmp_path, "a", margin=0)
    (note,) = report.notes
    assert re.fullmatch(said, note)
    assert 50 < report.frames < 100
    assert report.counts == {"after the last frame": 120 - report.frames}
    assert len(report.table) == 3  # of four parts of the tracklet


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.ts", {}),
        ("a.mkv", {}),
        ("a.h264", {}),
        ("fragments.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("variable.mp4", {"pts": [n + n // 3 for n in range(60)]}),
        ("hevc.mp4", {"codec": "libx265"}),
        ("odd.mp4", {"size": (161, 121), "pixel_format": "yuv444p"}),
        ("mpeg4.avi", {"codec": "mpeg4"}),
    ],
)
def test_frames_are_counted_in_every_container(name, options, clips, tmp_path):
    path = clips.draw(tmp_path / name, 60, **options)
    source = open_frames(path)
    assert source.size == options.get("size", (160, 120))
    shown = [(f.number, clips.number_of(f.pixels()[:, :80]), f.seconds) for f in source.frames()]
    assert [row[:2] for row in shown] == [(n, n) for n in range(60)]
    assert source.ending.notes == []
    times = [n / 30 for n in options.get("pts", range(60))]
    seconds = [row[2] for row in shown]
    assert seconds == ([None] * 60 if name == "a.h264" else pytest.approx(times, abs=2e-3))


@pytest.mark.slow
@pytest.mark.parametrize(("space", "color_range"), [(1, 1), (1, 2), (5, 1), (5, 2)])
def test_colours_follow_the_tags(space, color_range, clips, tmp_path):
    tags = {"colorspace": space, "color_range": color_range}
    path = clips.draw(tmp_path / "a.mp4", 3, tags=tags)
    source = open_frames(path)
    assert (source.record["color_space"], source.record["color_range"]) == (space, color_range)
    pixels = next(iter(source.frames())).pixels()
    red = pixels[4:26, -36:-4].reshape(-1, 3).mean(axis=0)
    assert red == pytest.approx((220, 30, 30), abs=4)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.mp4", None, "no such file"),
        ("text.mp4", b"hello", "not a video"),
        ("boxes.txt", b"1,1,9,9,5,5,1,-1,-1,-1\n" * 99, "are video= and tracks= exchanged"),
        ("empty.mp4", b"", "not a video"),
        ("a.jpg", b"", "an image"),
    ],
)
def test_what_is_no_video_is_one_line(name, content, said, clips, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        open_frames(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_pyav_the_extra_is_named(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r'pip install "dccc-lightning\[video\]"'):
        open_frames(clip)


def test_cameras_of_other_rates_agree_in_time_not_in_frames(clips, tmp_path):
    """Cameras of 30 and 15 frames a second, and one that leaves out every third frame."""
    paces = {"a": {"count": 30}, "b": {"count": 15, "rate": 15},
             "c": {"count": 20, "pts": [n + n // 2 for n in range(20)]}}  # fmt: skip
    times = {}
    for name, pace in paces.items():
        path = clips.draw(tmp_path / f"{name}.mp4", **pace)
        tracks = boxes(*((n, str(n), LEFT) for n in range(pace["count"])))
        rows = crop_tracks(tracks, path, tmp_path, name).table.to_pylist()
        times[name] = {row["frame"]: row["time"] for row in rows}
    assert {name: len(found) for name, found in times.items()} == {"a": 30, "b": 15, "c": 20}
    for frames in ((0, 0, 0), (18, 9, 12), (24, 12, 16)):
        moments = [times[name][frame] for name, frame in zip("abc", frames, strict=True)]
        assert moments == pytest.approx([frames[0] / 30] * 3, abs=1e-3)


def test_a_crop_is_the_same_whoever_decodes(clips, clip, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for frame in open_frames(clip).frames():
        Image.fromarray(frame.pixels()).save(folder / f"{frame.number:06d}.png")
    tracks = boxes(*((n, "1", (3.4, 5.5, 60.2, 100.9)) for n in range(30)))
    found = [crop_tracks(tracks, video, tmp_path / name, "hall").table
             for name, video in (("video", clip), ("pictures", folder))]  # fmt: skip
    columns = ["path", "frame", "x1", "y1", "x2", "y2"]
    assert found[0].select(columns).equals(found[1].select(columns))
    for path in found[0]["path"].to_pylist():
        pixels = [image(tmp_path / name, path) for name in ("video", "pictures")]
        np.testing.assert_array_equal(*pixels)


# Folders of frames


def frame_files(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in names.items():
        Image.fromarray(np.full((120, 160, 3), 4 * number, np.uint8)).save(folder / name)
    return folder


def test_frames_of_a_folder_keep_their_places(tmp_path):
    names = {n: f"f{n}.png" for n in (9, 10, 11, 13)}
    folder = frame_files(tmp_path / "frames", names)
    (folder / "f11.png").write_bytes(b"damaged")
    tracks = boxes(*((n, str(n), LEFT) for n in range(6)))
    report = crop_tracks(tracks, folder, tmp_path, "a", margin=0)
    shown = {r["frame"]: int(image(tmp_path, r["path"])[0, 0, 0]) for r in report.table.to_pylist()}
    assert shown == {0: 36, 1: 40, 4: 52}
    assert report.frames == 5
    assert report.counts == {
        "after the last frame": 1,
        "in missing frames": 1,
        "in frames that cannot be decoded": 1,
    }
    assert report.notes[0] == "1 of 5 frames are not in the folder"
    assert "f11.png" in report.notes[1]


def test_frames_that_the_boxes_name_are_found_by_name(tmp_path):
    folder = frame_files(tmp_path / "frames", {1: "a.png", 2: "c.png", 9: "z.png"})
    source = open_frames(folder, ["a.png", "b.png", "c.png"])
    assert [frame.number for frame in source.frames()] == [0, 2]
    assert source.ending.count == 3
    with pytest.raises(UserError, match=r"lacks the frames that the boxes name, such as 'x.png'"):
        open_frames(folder, ["x.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images"):
        open_frames(tmp_path / "empty")


# Choice and cut


def test_the_choice_is_large_whole_and_spread_in_time():
    size = (200, 100)
    small, large, half_out = (0, 0, 10, 20), (50, 10, 80, 90), (180, 10, 220, 99)
    rows = [(n, "1", small) for n in range(40)]
    for frame, box in ((4, large), (15, half_out), (17, large), (25, large), (33, large)):
        rows[frame] = (frame, "1", box)
    rows += [(3, "2", (0, 0, 0, 50)), (3, "3", (300, 0, 310, 10)), (3, None, small)]
    choice = choose_boxes(boxes(*rows), 4, size)
    assert choice.rows.tolist() == [42, 4, 17, 25, 33]
    assert len(set(choice.slots.tolist())) == 5
    assert (choice.empty, choice.outside) == (1, 1)
    many = choose_boxes(boxes(*((n, "1", large) for n in range(40))), 2, size)
    assert many.rows.tolist() == [0, 10, 19, 20, 30, 39]
    assert many.slots.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(choose_boxes(boxes(), 4, size).rows) == 0


def test_the_sharpest_candidate_becomes_the_crop(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, detail in enumerate((8, 40, 160)):
        blurred = Image.fromarray(noise).resize((detail, detail)).resize((160, 120))
        blurred.save(folder / f"{(1, 3, 2)[number]}.png")
    tracks = boxes(*((n, "1", LEFT) for n in range(3)))
    report = crop_tracks(tracks, folder, tmp_path, "a", per_tracklet=1)
    assert [row["frame"] for row in report.table.to_pylist()] == [1]


def test_the_margin_is_clipped_to_the_picture(tmp_path):
    folder = frame_files(tmp_path / "frames", {1: "1.png"})
    for margin, shape in ((0.0, (40, 20)), (0.1, (48, 24)), (1.0, (90, 50))):
        tracks = boxes((0, "1", (10, 10, 30, 50)))
        row = crop_tracks(tracks, folder, tmp_path, "a", margin=margin).table.to_pylist()[0]
        assert image(tmp_path, row["path"]).shape[:2] == shape
        assert (row["x1"], row["y2"]) == (10, 50)
    with pytest.raises(ValueError, match="margin"):
        crop_tracks(tracks, folder, tmp_path, "a", margin=-1)
    with pytest.raises(ValueError, match="per_tracklet"):
        crop_tracks(tracks, folder, tmp_path, "a", per_tracklet=0)


def test_names_of_cameras_and_tracks_stay_in_the_folder(tmp_path):
    folder = frame_files(tmp_path / "frames", {1: "1.png"})
    tracks = boxes((0, "../x", LEFT), (0, "a/b", LEFT), (0, "a%2Fb", LEFT))
    report = crop_tracks(tracks, folder, tmp_path / "out", "..")
    paths = report.table["path"].to_pylist()
    assert len(set(paths)) == 3
    for path in paths:
        assert (tmp_path / "out").resolve() in (tmp_path / "out" / path).resolve().parents
    assert report.table["tracklet"].to_pylist()[0].startswith("../")


def test_detections_of_a_program_are_tracks():
    found = SimpleNamespace(
        xyxy=np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32),
        confidence=np.array([0.5, 0.25]),
        tracker_id=np.array([0, -1], np.int32),
    )
    bare = SimpleNamespace(xyxy=np.array([[1, 2, 3, 4]]), confidence=None, tracker_id=None)
    table = tracks_of_detections([(0, found), (4, bare)])
    assert table["frame"].to_pylist() == [0, 0, 4]
    assert table["track"].to_pylist() == ["0", None, None]
    assert table["score"].to_pylist() == [0.5, 0.25, None]
    found.tracker_id = np.array([3, 3])
    with pytest.raises(UserError, match="track 3 is in frame 0"):
        tracks_of_detections([(0, found)])


def test_detections_of_other_programs_keep_their_ids():
    rows = np.array([[1, 2, 3, 4, 0, 0.5, 0, 1], [5, 6, 7, 8, 12, 0.25, 0, 0]])
    ultralytics = SimpleNamespace(xyxy=rows[:, :4], conf=rows[:, 5], id=rows[:, 4], cls=rows[:, 6])
    for found in (rows, ultralytics):
        table = tracks_of_detections([(3, found)])
        assert table["track"].to_pylist() == ["0", "12"]
        assert table["score"].to_pylist() == [0.5, 0.25]
        assert table["x2"].to_pylist() == [3, 7]
    ultralytics.id = None  # before the first track
    assert tracks_of_detections([(0, ultralytics)])["track"].to_pylist() == [None, None]
    assert len(tracks_of_detections([(0, rows[:0])])) == 0
    for other in (rows[:, :7], SimpleNamespace(xyxy=rows[:, :4]), None, rows[0]):
        with pytest.raises(TypeError, match=r"tracker_id as supervision's.* got"):
            tracks_of_detections([(0, other)])


# The task


def mot(path, rows):
    path.write_text(
        "".join(f"{f + 1},{t},{x + 1},{y + 1},{w},{h},0.9\n" for f, t, x, y, w, h in rows)
    )
    return path


@pytest.fixture
def two_cameras(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(n, t, 40 * t, 0, 40, 120) for n in range(30) for t in (0, 1)]
    mot(tmp_path / "hall.txt", rows)
    mot(tmp_path / "yard.txt", [*rows, (0, 5, 10, 10, 0, 40), (50, 0, 0, 0, 40, 120)])
    frame_files(tmp_path / "yard", {n: f"{n:06d}.png" for n in range(1, 31)})
    return {
        "tracks": ["hall.txt", "yard.txt"],
        "video": [str(clip), "yard"],
        "camera": ["hall", "yard"],
        "per_tracklet": 2,
    }


def test_crops_of_two_cameras_are_a_dataset(two_cameras, command, tmp_path):
    given = [f"{key}={value}".replace("'", "") for key, value in two_cameras.items()]
    outcome = command("task=crop", "output=all crops", *given)
    assert outcome.code == 0, outcome.err
    out = tmp_path / "all crops"
    assert f"dataset.root='{out}' dataset.table='{out / 'crops.csv'}'" in outcome.out
    assert "hall: 30 frames of 160 x 120, 2 tracklets, 60 boxes, 4 crops" in outcome.out
    assert "yard: 1 box without area" in outcome.out
    assert "yard: 1 box after the last frame" in outcome.out
    assert "read as MOT rows, pixels and frames from 1" in outcome.out
    with (out / "crops.csv").open() as file:
        found = list(csv.DictReader(file))
    assert {row["tracklet"] for row in found} == {"hall/0", "hall/1", "yard/0", "yard/1"}
    assert "identity" not in found[0]
    record = json.loads((out / "crops.json").read_text())
    assert record["margin"] == 0.05
    assert record["cameras"]["yard"]["boxes_without_crop"]["without area"] == 1
    splits = ImageFolder(root=out, table=out / "crops.csv").splits()
    assert (len(splits.train), splits.camera_names) == (8, ("hall", "yard"))
    assert (splits.train.identities == -1).all()


DEFAULTS = yaml.safe_load((conf_dir() / "task" / "crop.yaml").read_text())


def test_global_ids_are_identities(two_cameras, tmp_path):
    out = tmp_path / "out"
    crop({**DEFAULTS, **two_cameras, "global_ids": True}, out)
    splits = ImageFolder(root=out, table=out / "crops.csv").splits()
    assert splits.identity_names == ("0", "1")


def test_times_are_on_the_clock_of_all_cameras(two_cameras, tmp_path):
    times = []
    for start in (None, [-100, 2.5]):
        results = crop({**DEFAULTS, **two_cameras, "start": start}, tmp_path / "out")
        rows = pq.ParquetFile(tmp_path / "out/crops.parquet").read().to_pylist()
        times.append([row["time"] for row in rows if row["camera"] == "hall"])
    assert times[1] == pytest.approx([time - 100 for time in times[0]])
    assert [own["start"] for own in results["cameras"].values()] == [-100, 2.5]


def test_a_repeated_run_leaves_no_crops_of_the_earlier_one(two_cameras, tmp_path):
    out = tmp_path / "out"
    for number in (2, 1):
        results = crop({**DEFAULTS, **two_cameras, "per_tracklet": number}, out)
        assert len(list(out.rglob("*.jpg"))) == results["crops"] == 4 * number


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"camera": ["hall", "hall"]}, "camera=hall is named twice"),
        ({"camera": ["hall", "Hall"]}, "camera=Hall and camera=hall are one folder where file sys"),
        ({"camera": ["caf\u00e9", "cafe\u0301"]}, "are one folder where"),
        ({"camera": "hall"}, "1 in camera="),
        ({"tracks": None}, "tracks= is needed"),
        ({"tracks": ["hall.txt", "none.txt"]}, "cannot be read"),
        ({"video": ["yard", "none"]}, "video=none"),
        ({"format": "mot"}, "format must be one of auto, mot15"),
        ({"margin": 2}, "margin must be in [0, 1]"),
        ({"per_tracklet": 0}, "per_tracklet"),
        ({"global_ids": 1}, "global_ids"),
        ({"start": [0]}, "start=[0]: needs the seconds of one camera each, 2 in camera="),
        ({"start": 3}, "start=3: needs the seconds of one camera each, 2 in camera="),
        ({"start": [0, "noon"]}, "start must be a number, got 'noon'"),
        ({"start": [0, float("inf")]}, "start must be in (-inf, inf), got inf"),
        ({"tracks": [], "video": [], "camera": []}, "tracks= is needed"),
        ({"camera": ["hall", 1e5]}, "camera=100000.0: is no text here; quote it"),
        ({"camera": ["hall", True]}, "camera=True: is no text here; quote it"),
        ({"camera": ["hall", "crops.csv"]}, "camera=crops.csv: a file of the output has this name"),
        ({"camera": ["hall", "Run.log"]}, "camera=Run.log: a file of the output has this name"),
        ({"tracks": ["hall.txt", "pictures"]}, "'pictures': no boxes in this folder"),
        (
            {"tracks": ["late.txt"] * 2},
            "no crops: 2 boxes in tracks=['late.txt', 'late.txt'], none",
        ),
        ({"tracks": ["empty.txt"] * 2}, "no crops: there are no boxes in tracks=['empty.txt'"),
        ({"tracks": ["hall.txt", "bad.txt"]}, "'bad.txt', line 1: a negative box"),
        ({"tracks": ["hall.txt", "twice.txt"]}, "'twice.txt', line 2: track 4 is in frame 0"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(change, said, two_cameras, tmp_path):
    mot(tmp_path / "bad.txt", [(0, 1, 50, 50, -20, 40)])
    mot(tmp_path / "twice.txt", [(0, 4, 0, 0, 5, 5), (0, 4, 9, 0, 5, 5)])
    mot(tmp_path / "late.txt", [(90, 4, 0, 0, 5, 5)])
    mot(tmp_path / "empty.txt", [])
    (tmp_path / "pictures").mkdir()
    with pytest.raises(UserError) as caught:
        crop({**DEFAULTS, **two_cameras, **change}, tmp_path / "out")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
