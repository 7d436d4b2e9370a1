"""Readers of tracks: the same boxes in every format, and the traps of each."""

import json
import logging

import pytest

from dccc_lightning.data.tracks import read_tracks
from dccc_lightning.data.tracks.track_formats import FORMATS
from dccc_lightning.errors import UserError

SIZE = (640, 480)
# frame, track, x1, y1, x2, y2, score
TRUTH = [
    (0, "0", 100.0, 50.0, 140.0, 130.0, 0.5),
    (0, "7", 300.0, 60.0, 340.0, 160.0, 0.25),
    (2, "0", 104.0, 50.0, 144.0, 130.0, 0.75),
]


def rows(table):
    return list(zip(*table.to_pydict().values(), strict=True))


def mot(path, tail, *, pixel=0, frame=1, first_id=0, order=TRUTH):
    """Write rows of MOT; ``tail`` gives the columns after the box."""
    lines = [
        ",".join(
            map(str, (f + frame, int(t) + first_id, x1 + pixel, y1 + pixel, x2 - x1, y2 - y1,
                      *tail(number, score)))
        )
        for number, (f, t, x1, y1, x2, y2, score) in enumerate(order)
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def relative(row):
    _, _, x1, y1, x2, y2, _ = row
    width, height = SIZE
    return x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height


def corner(row):
    return [row[2], row[3], row[4] - row[2], row[5] - row[3]]


def mot15(folder):
    return mot(folder / "det.txt", lambda n, s: (s, -1, -1, -1), pixel=1, first_id=1)


def boxmot(folder):
    return mot(folder / "cam.txt", lambda n, s: (s, 0, n))


def trackers(folder):
    return mot(folder / "cam.txt", lambda n, s: (f"{s:.4f}", -1, -1, -1))


def mot17(folder):
    return mot(folder / "S" / "gt" / "gt.txt", lambda n, s: (1, 1, s), pixel=1, first_id=1)


def datumaro(folder):
    path = mot(folder / "gt" / "gt.txt", lambda n, s: ("1", "2", "1.0"), first_id=1)
    path.with_name("labels.txt").write_text("car\nperson")
    return folder


def ultralytics(folder):
    for row in TRUTH:
        x, y, w, h = relative(row)
        path = folder / "labels" / f"cam_{row[0] + 1}.txt"
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            file.write(f"0 {x + w / 2} {y + h / 2} {w} {h} {row[6]:g} {int(row[1]) + 1}\n")
    return folder


SINK = ("x_min", "y_min", "x_max", "y_max", "class_id", "confidence", "tracker_id", "frame_index")


def sink_rows():
    return [(*row[2:6], 0, row[6], int(row[1]), row[0]) for row in TRUTH]


def supervision_csv(folder):
    lines = [SINK, *sink_rows()]
    path = folder / "boxes.csv"
    path.write_text("\n".join(",".join(map(str, line)) for line in lines) + "\n")
    return path


def supervision_json(folder):
    return write_json(folder / "a.json", [dict(zip(SINK, r, strict=True)) for r in sink_rows()])


def detection(row):
    return {"category": "2", "conf": row[6], "bbox": relative(row)}


def megadetector(folder):
    video = {
        "file": "in/cam.mp4",
        "frame_rate": 25,
        "detections": [{**detection(row), "frame_number": row[0]} for row in TRUTH],
    }
    return write_json(
        folder / "md.json",
        {
            "info": {"format_version": "1.6"},
            "detection_categories": {"1": "animal", "2": "person"},
            "images": [video],
        },
    )


def speciesnet(folder):
    return write_json(
        folder / "predictions.json",
        {
            "predictions": [
                {
                    "filepath": f"in/frame{frame}.jpg",
                    "detections": [
                        {**detection(row), "label": "human"} for row in TRUTH if row[0] == frame
                    ],
                }
                for frame in (9, 10, 11)
                for frame in (frame - 9,)
            ]
        },
    )


IMAGES = [{"id": 7 + f, "file_name": f"f_{f + 1:06d}.jpg"} for f in range(3)]


def annotations(**columns):
    return [
        {"id": n + 1, "image_id": row[0] + 7, "bbox": corner(row), "category_id": 1}
        | {"score": row[6]}
        | {name: value(row) for name, value in columns.items()}
        for n, row in enumerate(TRUTH)
    ]


def coco(folder):
    found = annotations(attributes=lambda row: {"track_id": int(row[1])})
    return write_json(folder / "a.json", {"images": IMAGES, "annotations": found})


def coco_results(folder):
    found = [
        {"image_id": r[0], "category_id": 1, "bbox": corner(r), "score": r[6], "track_id": r[1]}
        for r in TRUTH
    ]
    return write_json(folder / "results.json", found)


def cocovid(folder, first=0):
    images = [{**i, "video_id": 1, "frame_id": n + first} for n, i in enumerate(IMAGES)]
    found = annotations(instance_id=lambda row: int(row[1]), video_id=lambda row: 1)
    videos = [{"id": 1, "name": "cam"}]
    return write_json(folder / "a.json", {"videos": videos, "images": images, "annotations": found})


def tao(folder):
    images = [{**i, "video_id": 1, "frame_index": n} for n, i in enumerate(IMAGES)]
    return write_json(
        folder / "a.json",
        {
            "videos": [{"id": 1, "name": "cam"}],
            "images": images,
            "annotations": annotations(track_id=lambda row: int(row[1])),
            "tracks": [{"id": 0, "video_id": 1}],
        },
    )


def cvat(folder):
    tracks = "".join(
        f'<track id="{track}" label="person">'
        + "".join(
            f'<box frame="{f}" outside="0" occluded="0" keyframe="1" xtl="{x1}" ytl="{y1}" '
            f'xbr="{x2}" ybr="{y2}"/>'
            for f, t, x1, y1, x2, y2, _ in TRUTH
            if t == track
        )
        + '<box frame="3" outside="1" xtl="1" ytl="1" xbr="5" ybr="5"/></track>'
        for track in ("0", "7")
    )
    meta = "<meta><task><original_size><width>640</width><height>480</height></original_size>"
    path = folder / "annotations.xml"
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
        f"{meta}</task></meta>{tracks}</annotations>"
    )
    return path


def key_frame(row, enabled):
    x, y, w, h = (100 * value for value in relative(row))
    sides = {"x": x, "y": y, "width": w, "height": h, "rotation": 0}
    return {"frame": row[0] + 1, "enabled": enabled, "time": 0.04 * row[0], **sides}


def label_studio_task(sequences, count=5):
    regions = [
        {
            "id": name,
            "type": "videorectangle",
            "value": {"framesCount": count, "labels": ["person"], "sequence": sequence},
        }
        for name, sequence in sequences.items()
    ]
    return {"id": 1, "data": {"video": "/data/cam.mp4"}, "annotations": [{"result": regions}]}


def label_studio(folder):
    sequences = {t: [key_frame(row, False) for row in TRUTH if row[1] == t] for t in ("0", "7")}
    return write_json(folder / "export.json", [label_studio_task(sequences)])


WRITERS = [
    mot15, boxmot, trackers, mot17, datumaro, ultralytics, supervision_csv, supervision_json,
    megadetector, speciesnet, coco, coco_results, cocovid, tao, cvat, label_studio,
]  # fmt: skip
NO_TRACKS = {megadetector, speciesnet}
NO_SCORES = {mot17, datumaro, cvat, label_studio}
FROM_ONE = {mot15, mot17, datumaro, ultralytics}
"""Writers whose ids begin with 1: MOTChallenge and ultralytics have no 0."""


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_the_same_boxes_come_out_of_every_format(write, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    table = read_tracks(write(tmp_path), size=SIZE)
    assert table.column_names == ["frame", "track", "x1", "y1", "x2", "y2", "score"]
    found = sorted(rows(table), key=lambda row: (row[0], row[2]))
    assert [row[0] for row in found] == [row[0] for row in TRUTH]
    first = int(write in FROM_ONE)
    tracks = [None if write in NO_TRACKS else str(int(row[1]) + first) for row in TRUTH]
    assert [row[1] for row in found] == tracks
    for ours, truth in zip(found, TRUTH, strict=True):
        assert ours[2:6] == pytest.approx(truth[2:6], abs=1e-6)
        assert ours[6] == (None if write in NO_SCORES else truth[6])
    name = write.__name__.removesuffix("_csv").removesuffix("_json")
    assert table.schema.metadata[b"format"].decode() == name
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == table.schema.metadata[b"reading"].decode()
    assert FORMATS[name].title in line
    assert "\n" not in line


def test_every_format_has_a_writer_here():
    names = {write.__name__.removesuffix("_csv").removesuffix("_json") for write in WRITERS}
    others = {"ultralytics_id", "ultralytics_conf", "coco_results_from_1", "cocovid_from_0",
              "cocovid_from_1"}  # fmt: skip
    assert names | others == set(FORMATS)


def read_text(folder, text, name="cam.txt", **arguments):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return read_tracks(path, **arguments)


def refusal(folder, text, name="cam.txt", **arguments):
    with pytest.raises(UserError) as caught:
        read_text(folder, text, name, **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# MOT and its relatives


def test_the_seventh_column_is_a_flag_in_ground_truth_only(tmp_path):
    truth = "1,1,11,21,10,20,1,1,1\n1,2,31,21,10,20,0,7,0.5\n"
    assert rows(read_text(tmp_path, truth)) == [(0, "1", 10, 20, 20, 40, None)]
    boxmot = "1,1,10,20,10,20,1.0,0,0\n1,2,30,20,10,20,0.4,0,1\n"
    table = read_text(tmp_path, boxmot)
    assert [row[6] for row in rows(table)] == [1.0, 0.4]
    assert "column 7 a score" in table.schema.metadata[b"reading"].decode()


@pytest.mark.parametrize(
    "row",
    [
        "1,0,10,20,10,20,1,1,1",  # an id 0
        "1,1,10,20,10,20,1,0,0",  # a class 0
        "1,1,10,20,10,20,1,1,4",  # an index, no visibility
    ],
)
def test_nine_columns_with_scores_of_one_are_still_told_apart(row, tmp_path):
    assert rows(read_text(tmp_path, row))[0][2:] == (10, 20, 20, 40, 1.0)


def test_world_coordinates_and_flags_of_mot15(tmp_path):
    table = read_text(tmp_path, "1,1,11,21,10,20,1,4.2,8.1,0\n1,2,31,21,10,20,0,4.2,8.1,0\n")
    assert rows(table) == [(0, "1", 10, 20, 20, 40, 1.0)]
    assert "1 rows with flag 0 left out" in table.schema.metadata[b"reading"].decode()
    table = read_text(tmp_path, "1, 3, 794.27, 247.59, 71.2, 174.8, -1, -1, -1, -1\n")
    assert rows(table)[0][1::5] == ("3", None)


def test_trackers_are_told_by_an_id_0_or_by_their_decimals(tmp_path):
    for track, line in ((None, "-1"), ("1", "1")):
        table = read_text(tmp_path, f"1,{line},10.00,20.00,10.00,20.00,0.9000,-1,-1,-1\n")
        assert rows(table) == [(0, track, 10, 20, 20, 40, 0.9)]
    table = read_text(tmp_path, "1,0,10,20,10,20,0.9,-1,-1,-1\n")
    assert rows(table)[0][:3] == (0, "0", 10)
    table = read_text(tmp_path, "1,1,10.5,20,10,20,0.9,-1,-1,-1\n")
    assert rows(table)[0][2] == 9.5  # MOT15: pixels from 1


def test_labels_beside_gt_mean_pixels_from_0_and_either_base_of_frames(tmp_path):
    (tmp_path / "labels.txt").write_text("car\nperson\n")
    text = "{0},1,10.0,20.0,10.0,20.0,1,2,1.0\n{0},-1,50.0,20.0,10.0,20.0,1,1,1.0\n"
    for first in (0, 1):
        table = read_text(tmp_path, text.format(first), "gt.txt")
        assert rows(table) == [(0, "1", 10, 20, 20, 40, None), (0, None, 50, 20, 60, 40, None)]
        assert f"frames from {first}" in table.schema.metadata[b"reading"].decode()
    kept = read_text(tmp_path, text.format(1), "gt.txt", classes=["human"])
    assert [row[1] for row in rows(kept)] == ["1"]


def test_boxes_may_lie_beyond_the_picture(tmp_path):
    table = read_text(tmp_path, "1,1,-19,-9,50,700,0.5,-1,-1,-1\n")
    assert rows(table)[0][2:6] == (-20, -10, 30, 690)


def test_six_columns_are_asked_for(tmp_path):
    line = "1,1,11,21,10,20\n"
    message = refusal(tmp_path, line)
    assert "format=mot15" in message
    assert "format=trackers" in message
    assert rows(read_text(tmp_path, line, format="mot15"))[0][2:6] == (10, 20, 20, 40)
    assert rows(read_text(tmp_path, line, format="trackers"))[0][2:6] == (11, 21, 21, 41)


@pytest.mark.parametrize("nobody", ["-1", "", "nan", "NaN", "None", "-1.0"])
def test_nobody_is_not_somebody_and_0_is(nobody, tmp_path):
    text = f"1,{nobody},10,20,10,20,0.5\n1,{nobody},30,20,10,20,0.5\n1,0,50,20,10,20,0.5\n"
    table = read_text(tmp_path, text)
    assert [row[1] for row in rows(table)] == [None, None, "0"]
    assert table.schema.metadata[b"reading"].decode().endswith("; 3 boxes, 2 without a track")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,1,10,20,10,20,.5\n1,1,50,60,10,20,.5\n", ["line 2", "line 1", "track 1"]),
        ("1,1,10,20,-10,20,.5\n", ["line 1", "negative"]),
        ("1,1,10,20,10,20,.5\n\n1,2,10,nan,10,20,.5\n", ["line 3", "finite"]),
        ("0,1,10,20,10,20,.5\n", ["line 1", "frame 0"]),
        ("1.5,1,10,20,10,20,.5\n", ["line 1", "frame"]),
        ("1,1,10,20,10,20,.5\n1,2,10,20,10\n", ["line 2", "5 columns", "7"]),
        ("1,1,10,x,10,20,.5\n", ["line 1", "x"]),
        ("1,-7,10,20,10,20,.5\n", ["line 1", "-7"]),
        ("1,1.23457e+06,10,20,10,20,.5\n", ["line 1", "1.23457e+06"]),
        ("1,1,10,20,10,20,.5,0\n", ["8 columns", "format="]),
        ("hello world\n", ["no known format", "format="]),
        ('{"images": [', ["line 1", "JSON"]),
        ("<annotations><track", ["XML"]),
    ],
)
def test_bad_rows_are_one_line_with_their_place(text, said, tmp_path):
    message = refusal(tmp_path, text)
    assert "cam.txt" in message
    assert all(part in message for part in said)


def test_ids_keep_their_digits(tmp_path):
    text = "".join(f"1,{i},10,20,10,20,.5\n" for i in (2**53, 2**53 + 1, "01", 1))
    assert [row[1] for row in rows(read_text(tmp_path, text))] == [
        str(2**53), str(2**53 + 1), "01", "1",
    ]  # fmt: skip
    assert rows(read_text(tmp_path, f"1,{7:.18e},10,20,10,20,.5\n"))[0][1] == "7"


def test_a_video_instead_of_its_boxes_and_a_missing_file(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x20ftypisom\xff\xfe")
    for name, said in (("a.mp4", "not the video"), ("b.txt", "cannot be read")):
        with pytest.raises(UserError, match=said):
            read_tracks(tmp_path / name)


def test_arguments_are_checked(tmp_path):
    path = mot15(tmp_path)
    with pytest.raises(ValueError, match="format must be one of auto, mot15"):
        read_tracks(path, format="mot")
    with pytest.raises(ValueError, match="size"):
        read_tracks(path, size=(640,))
    with pytest.raises(ValueError, match="vid_stride"):
        read_tracks(path, vid_stride=0)
    with pytest.raises(UserError, match="vid_stride=2: is for label files of ultralytics"):
        read_tracks(path, vid_stride=2)
    with pytest.raises(UserError, match="no box of the classes dog;"):
        read_tracks(path, classes="dog")
    with pytest.raises(UserError, match="no box of the classes"):
        read_tracks(path, classes=["person"])


READABLE = {"mot15": ("mot17", "boxmot", "trackers", "datumaro")}
STRANGERS = [
    (write, name)
    for write in (mot15, supervision_json, megadetector, ultralytics, cvat)
    for own in (write.__name__.removesuffix("_json"),)
    for name in FORMATS
    if not (name.startswith(own) or name in READABLE.get(own, ()))
]


@pytest.mark.parametrize(("write", "name"), STRANGERS)
def test_another_format_than_the_file_is_one_line(write, name, tmp_path):
    path = write(tmp_path)
    with pytest.raises(UserError) as caught:
        read_tracks(path, name, SIZE)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '{"images": 3, "detection_categories": {}}',
        '{"images": [3], "detection_categories": {}}',
        '{"images": [{"file": "a.mp4", "detections": [4]}], "detection_categories": {}}',
        '{"predictions": [4]}',
        '{"images": [{"id": 1}], "annotations": {"a": 1}}',
        '{"videos": 1, "images": [], "annotations": []}',
        '[{"annotations": 7}]',
        '[{"annotations": [{"result": [{"type": "videorectangle"}]}], "data": {}}]',
        '[{"x_min": 1, "y_min": 1, "x_max": 2, "y_max": 3, "frame": 1e400}]',
        '[{"image_id": 1, "bbox": 7}]',
        "[]",
        "{}",
        "[[1, 2]]",
        "1,1,1,1,1,1,1e400\n1e300,1,1,1,1,1,1",
    ],
)
def test_files_built_otherwise_are_one_line(text, tmp_path):
    assert "cam.txt" in refusal(tmp_path, text, size=SIZE)


def test_nothing_found_is_no_mistake(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    table = read_text(tmp_path, "\n", classes=["person"])
    assert table.schema.equals(read_tracks(mot15(tmp_path)).schema)
    assert len(table) == 0
    assert "is empty: 0 boxes" in caplog.text
    (tmp_path / "labels").mkdir()
    assert len(read_tracks(tmp_path, "ultralytics", SIZE)) == 0
    with pytest.raises(UserError, match="no boxes in this folder"):
        read_tracks(tmp_path)


# ultralytics


def labels(folder, files):
    for name, text in files.items():
        (folder / "labels").mkdir(exist_ok=True)
        (folder / "labels" / name).write_text(text)
    return folder


def test_a_sixth_column_of_labels_is_asked_for(tmp_path):
    folder = labels(tmp_path, {"cam_1.txt": "0 .5 .5 .1 .1 3\n", "cam_2.txt": "0 .5 .5 .1 .1\n"})
    with pytest.raises(UserError, match=r"format=ultralytics_id.*format=ultralytics_conf"):
        read_tracks(folder, size=SIZE)
    with pytest.raises(UserError, match="format=ultralytics_id"):
        read_tracks(folder, "ultralytics", SIZE)
    as_id = read_tracks(folder, "ultralytics_id", SIZE)
    assert [(row[1], row[6]) for row in rows(as_id)] == [("3", None), (None, None)]
    as_score = read_tracks(folder, "ultralytics_conf", SIZE)
    assert [(row[1], row[6]) for row in rows(as_score)] == [(None, 3.0), (None, None)]


def test_frames_seen_are_every_nth_of_the_video(tmp_path):
    row = "0 0.5 0.5 0.1 0.1 0.9 {}\n"
    files = {f"cam_{k}.txt": row.format(k) for k in (1, 2, 10)} | {"cam_3.txt": "0 .5 .5 .1 .1 .9"}
    table = read_tracks(labels(tmp_path, files), size=SIZE, vid_stride=3)
    assert [row[:2] for row in rows(table)] == [(2, "1"), (5, "2"), (8, None), (29, "10")]
    assert rows(table)[0][2:6] == pytest.approx((288, 216, 352, 264))
    assert "vid_stride=3" in table.schema.metadata[b"reading"].decode()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a_1.txt": "0 .5 .5 .1 .1 .9 1\n" * 2}, "line 2: repeats line 1; save_txt appends"),
        ({"a_1.txt": "0 .5 .5 .1 .1 .9 1\n0 .5 .5 .1 .1\n"}, "save_txt appends"),
        ({"a_000001.txt": "0 .5 .5 .1 .1\n"}, "names the frames"),
        ({"a_1.txt": "0 .5 .5 .1 .1\n", "b_1.txt": "0 .5 .5 .1 .1\n"}, "video=NAME.*'a', 'b'"),
        ({"a_1.txt": "0 .5 .5 .1 .1 .9 1.23457e+06\n"}, "1.23457e"),
    ],
)
def test_labels_that_cannot_be_trusted(files, said, tmp_path):
    with pytest.raises(UserError, match=said):
        read_tracks(labels(tmp_path, files), size=SIZE)


def test_one_video_of_several_is_chosen_by_name(tmp_path):
    folder = labels(tmp_path, {"a_1.txt": "0 .5 .5 .1 .1\n", "b_4.txt": "0 .5 .5 .1 .1\n"})
    assert rows(read_tracks(folder, size=SIZE, video="/videos/b.mp4"))[0][0] == 3
    with pytest.raises(UserError, match=r"no boxes of the video 'c.mp4'"):
        read_tracks(folder, size=SIZE, video="c.mp4")


# supervision


def test_a_sink_needs_one_column_of_frames(tmp_path):
    text = ",".join(SINK[:7]) + "{}\n1,2,3,4,,,{}\n"
    assert "no column of frames" in refusal(tmp_path, text.format("", ""), "a.csv")
    both = text.format(",frame,frame_id", "-1,0,0")
    assert "frame and frame_id" in refusal(tmp_path, both, "a.csv")
    table = read_text(tmp_path, text.format(",frame", ",0"), "a.csv")
    assert rows(table) == [(0, None, 1, 2, 3, 4, None)]
    assert "column frame counted from 0" in table.schema.metadata[b"reading"].decode()
    assert "line 3: 7 cells" in refusal(tmp_path, text.format(",frame", ",0") + "1,2,3,4,,,\n", "b")


def test_ids_of_json_without_a_track(tmp_path):
    row = dict(zip(SINK, (1, 2, 3, 4, 0, 0.5, -1, 0), strict=True))
    ids = (-1, "", None, float("nan"), 0, 5.0)
    path = write_json(tmp_path / "a.json", [{**row, "tracker_id": i} for i in ids])
    assert [r[1] for r in rows(read_tracks(path))] == [None, None, None, None, "0", "5"]


# Camera traps


def traps(images):
    return json.dumps({"detection_categories": {"1": "animal", "2": "person"}, "images": images})


BOX = {"category": "2", "conf": 0.5, "bbox": [0.5, 0.5, 0.1, 0.1]}


def test_relative_boxes_need_the_size_of_the_picture(tmp_path):
    for write in (megadetector, speciesnet, label_studio, ultralytics):
        (folder := tmp_path / write.__name__).mkdir()
        with pytest.raises(UserError, match="size="):
            read_tracks(write(folder))


def test_a_failure_is_not_an_empty_picture(tmp_path):
    good = {"file": "a/f9.jpg", "detections": []}
    bad = {"file": "a/f10.jpg", "detections": None, "failure": "truncated"}
    last = {"file": "a/f11.jpg", "detections": [BOX, {**BOX, "category": "1"}]}
    table = read_text(tmp_path, traps([last, good, bad]), size=SIZE)
    assert [row[0] for row in rows(table)] == [2, 2]
    reading = table.schema.metadata[b"reading"].decode()
    assert "1 failed, the first is 'a/f10.jpg'" in reading
    assert "classes: person 1, animal 1" in reading
    assert json.loads(table.schema.metadata[b"files"]) == ["f9.jpg", "f10.jpg", "f11.jpg"]
    video = {"file": "b.mp4", "failure": "no frames"}
    other = {"file": "c.mp4", "frame_rate": 5, "detections": [{**BOX, "frame_number": 4}]}
    text = traps([video, other])
    assert rows(read_text(tmp_path, text, size=SIZE))[0][0] == 4
    assert "no frames" in refusal(tmp_path, text, size=SIZE, video="b.mp4")


def test_pictures_on_which_speciesnet_failed_are_counted(tmp_path):
    found = {"filepath": "in/1.jpg", "detections": [BOX]}
    null, none = {"filepath": "in/2.jpg", "detections": None}, {"filepath": "in/3.jpg"}
    table = read_text(tmp_path, json.dumps({"predictions": [found, null, none]}), size=SIZE)
    assert len(table) == 1
    assert "failed on 2 images" in table.schema.metadata[b"reading"].decode()


def test_pictures_of_several_folders_are_several_cameras(tmp_path):
    text = traps([{"file": f"{c}/1.jpg", "detections": [BOX]} for c in ("a", "b")])
    assert "video=NAME: 'a', 'b'" in refusal(tmp_path, text, size=SIZE)
    assert len(read_text(tmp_path, text, size=SIZE, video="b")) == 1


def test_other_versions_are_refused_and_unknown_categories_are_no_detection(tmp_path):
    image = {"file": "1.jpg", "detections": [BOX, {**BOX, "category": "9"}]}
    assert len(read_text(tmp_path, traps([image]), size=SIZE)) == 1
    text = traps([image])[:-1] + ', "info": {"format_version": "2.0"}}'
    assert "format_version 2.0" in refusal(tmp_path, text, size=SIZE)


def test_human_and_person_are_one_class(tmp_path):
    for write in (megadetector, speciesnet):
        path = write(tmp_path)
        assert len(read_tracks(path, size=SIZE, classes=["person"])) == 3
        with pytest.raises(UserError, match="no box of the classes dog; classes of the file"):
            read_tracks(path, size=SIZE, classes=["dog"])


# COCO and its relatives


def test_the_id_of_an_annotation_is_no_track(tmp_path):
    path = write_json(tmp_path / "a.json", {"images": IMAGES, "annotations": annotations()})
    assert {row[1] for row in rows(read_tracks(path))} == {None}


def test_frames_missing_from_images_are_named(tmp_path):
    content = {"images": [IMAGES[0], IMAGES[2]], "annotations": []}
    assert "numbered from 1 to 3" in refusal(tmp_path, json.dumps(content))
    content["annotations"] = [{"image_id": 99, "bbox": [0, 0, 1, 1]}]
    content["images"] = IMAGES
    assert "annotation 1: image_id 99" in refusal(tmp_path, json.dumps(content))


def test_results_whose_images_begin_with_1_are_asked_for(tmp_path):
    text = json.dumps([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}])
    assert "format=coco_results_from_1" in refusal(tmp_path, text)
    for name, frame in (("coco_results", 1), ("coco_results_from_1", 0)):
        assert rows(read_text(tmp_path, text, format=name))[0][:2] == (frame, None)


def test_cocovid_of_byte_track_counts_from_1(tmp_path):
    for first in (0, 1):
        table = read_tracks(cocovid(tmp_path, first))
        assert [row[0] for row in rows(table)] == [0, 0, 2]
        assert f"frame_id from {first}" in table.schema.metadata[b"reading"].decode()
    path = cocovid(tmp_path, 5)
    with pytest.raises(UserError, match=r"format=cocovid_from_0.*format=cocovid_from_1"):
        read_tracks(path)
    assert [row[0] for row in rows(read_tracks(path, "cocovid_from_1"))] == [4, 4, 6]


@pytest.mark.parametrize("write", [cocovid, tao])
def test_one_video_of_a_file(write, tmp_path):
    content = json.loads(write(tmp_path).read_text())
    content["videos"].append({"id": 2, "name": "yard"})
    content["images"].append({"id": 99, "video_id": 2, "frame_id": 3, "frame_index": 3})
    content["annotations"].append(
        {"image_id": 99, "track_id": 4, "instance_id": 4, "bbox": [0, 0, 1, 1]}
    )
    path = write_json(tmp_path / "two.json", content)
    with pytest.raises(UserError, match=r"several videos.*'cam', 'yard'"):
        read_tracks(path)
    assert rows(read_tracks(path, video="yard.mp4")) == [(3, "4", 0, 0, 1, 1, None)]
    assert len(read_tracks(path, video="cam")) == 3


# Annotation tools


def test_what_cvat_cannot_say_is_refused(tmp_path):
    tasks = "<meta><project><tasks><task/><task/></tasks></project></meta>"
    assert "a project of 2 tasks" in refusal(tmp_path, f"<annotations>{tasks}</annotations>")
    images = '<annotations><image id="0"/></annotations>'
    assert "CVAT for video 1.1" in refusal(tmp_path, images)
    box = '<box frame="0" outside="0" xtl="0" ytl="0" xbr="4" {}/>'
    text = f'<annotations><track id="3" label="dog">{box}</track></annotations>'
    assert "box 1: no usable 'ybr'" in refusal(tmp_path, text.format(""))
    table = read_text(tmp_path, text.format('ybr="2" rotation="90"'))
    assert rows(table)[0][2:6] == pytest.approx((1, -1, 3, 3))
    assert "1 turned boxes enclosed" in table.schema.metadata[b"reading"].decode()


def test_outside_is_not_there_and_the_size_is_known(tmp_path):
    table = read_tracks(cvat(tmp_path))
    assert len(table) == 3
    assert "2 boxes outside left out" in table.schema.metadata[b"reading"].decode()
    assert table.schema.metadata[b"size"] == b"640 x 480"


def test_key_frames_are_filled_in(tmp_path):
    def key(frame, x, enabled):
        return key_frame((frame - 1, "", x, 0, x + 64, 48, 0), enabled)

    moving = [key(1, 0, True), key(4, 96, False), key(6, 0, True)]  # given in any order
    path = write_json(
        tmp_path / "a.json", label_studio_task({"1e5": moving[::-1], "NA": [key(2, 0, False)]}, 8)
    )
    table = read_tracks(path, size=SIZE)
    found = [(row[0], round(row[2], 6)) for row in rows(table) if row[1] == "1e5"]
    assert found == [(0, 0), (1, 32), (2, 64), (3, 96), (5, 0), (6, 0), (7, 0)]
    assert [row[0] for row in rows(table) if row[1] == "NA"] == [1]
    assert "4 frames between key frames filled in" in table.schema.metadata[b"reading"].decode()


def test_several_annotators_are_refused(tmp_path):
    task = label_studio_task({"a": []})
    task["annotations"] *= 2
    assert "2 annotations" in refusal(tmp_path, json.dumps([task]), size=SIZE)
    task["annotations"] = [task["annotations"][0], {"was_cancelled": True}]
    assert len(read_text(tmp_path, json.dumps([task]), size=SIZE)) == 0


@pytest.mark.parametrize("name", [name for name, row in FORMATS.items() if row.is_json])
def test_a_file_that_is_no_json_is_told_so_by_formats_that_are(tmp_path, name):
    file = tmp_path / "a.txt"
    file.write_text("1,2,3,4,5,6,1,-1,-1,-1\n")
    with pytest.raises(UserError, match=rf"a.txt': no JSON, but format={name} \(.*\) is; omit"):
        read_tracks(file, format=name)
    assert len(read_tracks(file)) == 1, "as the message says"


def test_text_ids_of_mot_rows_stay_text(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("1,x,3,4,5,6,1,-1,-1,-1\n2,7.0,3,4,5,6,1,-1,-1,-1\n2,,3,4,5,6,1,-1,-1,-1\n")
    assert read_tracks(file)["track"].to_pylist() == ["x", "7", None]
