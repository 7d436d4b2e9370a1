"""Tracks written by the real packages, which are installed beside this one."""

import pytest

from dccc_lightning.data.tracks import read_tracks
from dccc_lightning.errors import UserError
from foreign import foreign_python, run_foreign

pytestmark = pytest.mark.slow

SUPERVISION = ("supervision==0.31.2", "opencv-python-headless", "defusedxml", "pydeprecate")

DETECTIONS = """
import sys
import numpy as np
import supervision as sv
found = sv.Detections(
    xyxy=np.array([[10, 20, 30, 60], [50, 20, 80.5, 90]], float), confidence=np.array([.5, .25]),
    class_id=np.array([0, 0]), tracker_id=np.array([0, -1]))
"""
EXPECTED = [
    {"frame": 0, "track": "0", "x1": 10, "y1": 20, "x2": 30, "y2": 60, "score": 0.5},
    {"frame": 0, "track": None, "x1": 50, "y1": 20, "x2": 80.5, "y2": 90, "score": 0.25},
]


def test_sinks_of_supervision(made_once, tmp_path):
    python = foreign_python(made_once, *SUPERVISION)
    script = f"""{DETECTIONS}
with sv.CSVSink(sys.argv[1]) as sink: sink.append(found, {{"frame": 0}})
with sv.JSONSink(sys.argv[2]) as sink: sink.append(found, {{"frame": 0}})
"""
    run_foreign(python, script, tmp_path / "a.csv", tmp_path / "a.json")
    for name in ("a.csv", "a.json"):
        assert read_tracks(tmp_path / name).to_pylist() == EXPECTED


def test_rows_of_trackers(made_once, tmp_path):
    python = foreign_python(made_once, "trackers==2.6.1", *SUPERVISION)
    script = f"""{DETECTIONS}
from trackers.io.mot import _MOTOutput
from pathlib import Path
with _MOTOutput(Path(sys.argv[1])) as output: output.write(1, found)
"""
    run_foreign(python, script, tmp_path / "a.txt")
    table = read_tracks(tmp_path / "a.txt")
    assert table.schema.metadata[b"format"] == b"trackers"
    assert table.to_pylist() == EXPECTED


def test_labels_of_ultralytics(made_once, tmp_path):
    python = foreign_python(made_once, "ultralytics==8.4.190", "opencv-python-headless")
    script = """
import os, sys
import numpy as np, torch
from ultralytics.engine.results import Results
def save(rows, frame, folder):
    boxes, picture = torch.tensor(rows, dtype=torch.float32), np.zeros((480, 640, 3), np.uint8)
    found = Results(picture, path="a.jpg", names={0: "person"}, boxes=boxes)
    path = os.path.join(sys.argv[1], folder, f"cam_{frame}.txt")
    found.save_txt(path, save_conf=folder == "conf")
for folder in ("conf", "plain"):
    save([[64, 48, 128, 240, 7, .5, 0]], 1, folder)
    save([[64, 48, 128, 240, .5, 0]], 3, folder)
"""
    run_foreign(python, script, tmp_path)
    rows = read_tracks(tmp_path / "conf", size=(640, 480)).to_pylist()
    assert [(row["frame"], row["track"], row["score"]) for row in rows] == [
        (0, "7", 0.5), (2, None, 0.5),
    ]  # fmt: skip
    assert [rows[0][name] for name in ("x1", "y1", "x2", "y2")] == pytest.approx([64, 48, 128, 240])
    with pytest.raises(UserError, match="format=ultralytics_id"):
        read_tracks(tmp_path / "plain", size=(640, 480))
    rows = read_tracks(tmp_path / "plain", "ultralytics_id", (640, 480)).to_pylist()
    assert [(row["frame"], row["track"]) for row in rows] == [(0, "7"), (2, None)]


def test_rows_of_boxmot(made_once, tmp_path):
    python = foreign_python(made_once, "boxmot==25.0.0", "opencv-python-headless")
    script = """
import sys, torch
from boxmot.engine.eval.replay import _write_rows, tracks_to_mot_rows
from boxmot.structures import Boxes, Tracks
whole = lambda *rows: torch.tensor(rows, dtype=torch.int64)
with open(sys.argv[1], "w") as file:
    for frame, score in ((0, .5), (2, 1.0)):
        boxes = Boxes(torch.tensor([[50.25, 20, 80.5, 90], [10, 20, 30, 60]]))
        scores = torch.tensor([.25, score])
        tracks = Tracks(boxes, whole(7, 0), scores, whole(0, 0), whole(1, 0), "a")
        _write_rows(file, tracks_to_mot_rows(tracks, frame))
"""
    run_foreign(python, script, tmp_path / "cam.txt")
    table = read_tracks(tmp_path / "cam.txt")
    assert table.schema.metadata[b"format"] == b"boxmot"
    rows = [tuple(row.values()) for row in table.to_pylist()]
    assert rows == [
        (frame, *row)
        for frame, score in ((0, 0.5), (2, 1.0))
        for row in (("7", 50.25, 20, 80.5, 90, 0.25), ("0", 10, 20, 30, 60, score))
    ]


def test_videos_of_megadetector(made_once, tmp_path):
    """One of two videos failed, and a frame of the other; frames come in any order."""
    python = foreign_python(
        made_once, "megadetector==10.0.28", "humanfriendly", "clipboard", "jsonpickle", "dill",
        "opencv-python-headless",
    )  # fmt: skip
    script = """
import sys
from megadetector.detection.process_video import _video_results_to_md_format
from megadetector.detection.run_detector_batch import write_results_to_file
def seen(frame, *boxes):
    found = [{"category": c, "conf": .5, "bbox": b} for c, b in boxes]
    return {"file": f"in/cam.mp4/frame{frame:06d}.jpg", "detections": found}
person = ("2", [.1, .2, .25, .5])
frames = [seen(12, person, ("1", [0, 0, 1, 1])), seen(0, person), seen(6)]
frames.append({**seen(18), "failure": "inference failure", "detections": None})
videos = [_video_results_to_md_format("in/cam.mp4", 25.0, frames),
          _video_results_to_md_format("in/yard.mp4", -1, {"failure": "no frames"})]
write_results_to_file(videos, sys.argv[1], detector_file="md_v1000.0.0-redwood.pt")
"""
    run_foreign(python, script, tmp_path / "md.json")
    table = read_tracks(tmp_path / "md.json", size=(100, 200), video="cam.mp4", classes=["person"])
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        (frame, None, *(pytest.approx(side) for side in (10, 40, 35, 140)), 0.5)
        for frame in (0, 12)
    ]
    with pytest.raises(UserError, match="no frames"):
        read_tracks(tmp_path / "md.json", size=(100, 200), video="yard.mp4")


def test_predictions_of_speciesnet(made_once, tmp_path):
    python = foreign_python(
        made_once, "speciesnet==5.0.6", "cloudpathlib", "kagglehub", "kagglesdk", "absl-py"
    )
    script = """
import importlib.util, sys, types
package = types.ModuleType("speciesnet")  # without its networks
package.__path__ = importlib.util.find_spec("speciesnet").submodule_search_locations
sys.modules["speciesnet"] = package
from speciesnet.utils import make_predictions_dict, save_predictions
found = [{"category": "2", "label": "human", "conf": .5, "bbox": [.1, .2, .25, .5]}]
rows = [{"filepath": "in/f10.jpg", "detections": found},
        {"filepath": "in/f9.jpg", "detections": []},
        {"filepath": "in/f11.jpg", "failures": ["DETECTOR"]}]
save_predictions(make_predictions_dict(rows), sys.argv[1])
"""
    run_foreign(python, script, tmp_path / "a.json")
    table = read_tracks(tmp_path / "a.json", size=(100, 200), classes=["person"])
    (row,) = table.to_pylist()
    assert list(row.values()) == [1, None, *map(pytest.approx, (10, 40, 35, 140)), 0.5]
    assert "failed on 1 images" in table.schema.metadata[b"reading"].decode()


def test_coco_of_supervision(made_once, tmp_path):
    python = foreign_python(made_once, *SUPERVISION)
    script = f"""{DETECTIONS}
pictures = {{f"f{{n}}.jpg": np.zeros((200, 100, 3), np.uint8) for n in (9, 10)}}
found.tracker_id = None
dataset = sv.DetectionDataset(["person"], pictures, dict.fromkeys(pictures, found))
dataset.as_coco(annotations_path=sys.argv[1])
"""
    run_foreign(python, script, tmp_path / "a.json")
    table = read_tracks(tmp_path / "a.json")
    assert [(row["frame"], row["track"]) for row in table.to_pylist()] == [
        (0, None), (0, None), (1, None), (1, None),
    ]  # fmt: skip
    assert list(table.to_pylist()[1].values())[2:6] == [50, 20, 80.5, 90]


def test_mot_of_datumaro(made_once, tmp_path):
    python = foreign_python(made_once, "datumaro==1.13.12", dependencies=True)
    script = """
import sys
import numpy as np
from datumaro import Bbox, Dataset, DatasetItem, Image
def item(frame, *boxes):
    found = [Bbox(10, 20, 30, 40, label=label, attributes={"track_id": track, **more})
             for track, label, more in boxes]
    return DatasetItem(f"{frame:06d}", annotations=found, attributes={"frame": frame},
                       media=Image.from_numpy(np.zeros((200, 100, 3))))
rows = [item(1, (40, 1, {}), (7, 0, {})), item(2, (7, 0, {"outside": True}))]
Dataset.from_iterable(rows, categories=["car", "person"]).export(sys.argv[1], "mot_seq_gt")
"""
    run_foreign(python, script, tmp_path / "out")
    table = read_tracks(tmp_path / "out")
    assert table.schema.metadata[b"format"] == b"datumaro"
    rows = [tuple(row.values())[:6] for row in table.to_pylist()]
    box = (10, 20, 40, 60)
    assert rows == [(0, "1", *box), (0, "2", *box), (1, "2", *box)]
    people = read_tracks(tmp_path / "out", classes=["person"])
    assert [row["track"] for row in people.to_pylist()] == ["1"]


def test_key_frames_are_filled_as_label_studio_does(made_once, tmp_path):
    python = foreign_python(made_once, "label-studio-sdk==2.1.2")
    script = """
import json, random, sys
import importlib.util, types
from pathlib import Path
package = Path(importlib.util.find_spec("label_studio_sdk").origin).parent
tools = "label_studio_sdk._extensions.label_studio_tools"
config = types.ModuleType(f"{tools}.core.label_config")
config._VIDEO_TRACKING_TAGS = {"videorectangle"}
sys.modules[config.__name__] = config
place = package / "_extensions/label_studio_tools/postprocessing/video.py"
spec = importlib.util.spec_from_file_location("video", place)
video = importlib.util.module_from_spec(spec)
spec.loader.exec_module(video)
random.seed(0)
regions = []
for number in range(20):
    frames = sorted(random.sample(range(1, 30), random.randint(1, 5)))
    keys = [{"frame": f, "enabled": random.random() < .6, "time": f / 25, "rotation": 0,
             "x": random.randint(0, 50), "y": random.randint(0, 50), "width": 10, "height": 20}
            for f in frames]
    regions.append({"id": f"r{number}", "type": "videorectangle",
                    "value": {"framesCount": 32, "sequence": keys, "labels": ["person"]}})
task = lambda result: [{"data": {"video": "a.mp4"}, "annotations": [{"result": result}]}]
Path(sys.argv[1]).write_text(json.dumps(task(regions)))
filled = video.extract_key_frames(json.loads(json.dumps(regions)))
Path(sys.argv[2]).write_text(json.dumps(task(filled)))
"""
    run_foreign(python, script, tmp_path / "keys.json", tmp_path / "filled.json")
    ours, theirs = (
        read_tracks(tmp_path / name, size=(100, 100)).to_pylist()
        for name in ("keys.json", "filled.json")
    )
    assert len(ours) > 100
    assert [(row["frame"], row["track"]) for row in ours] == [
        (row["frame"], row["track"]) for row in theirs
    ]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["x1"] == pytest.approx(other["x1"], abs=1e-9)
