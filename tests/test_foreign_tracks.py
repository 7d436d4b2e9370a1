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
