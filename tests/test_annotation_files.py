"""Identities as FiftyOne and Label Studio import them, read by both where they can be installed."""

import json

import pytest

from dccc_lightning.errors import UserError
from dccc_lightning.identities.annotation_files import write_fiftyone, write_label_studio
from foreign import foreign_python, run_foreign

IDS = ["0007", "NA", "1e5", "true", "1_000", " 7"]


@pytest.fixture
def identities(tmp_path):
    rows = [
        f'images/{n} #ü.jpg,hall,"{own}",{"Anna" if n == 0 else ""},hall/{n},{n},{0.1 * n - 0.2:g}'
        for n, own in enumerate(IDS)
    ]
    text = "path,camera,identity,name,tracklet,frame,margin\n" + "\n".join(rows) + "\n"
    (tmp_path / "identities.csv").write_text(text)
    return tmp_path / "identities.csv"


def test_fiftyone_labels_are_by_path_with_ids_as_text(identities, tmp_path):
    write_fiftyone(identities, tmp_path / "fo")
    content = json.loads((tmp_path / "fo/labels.json").read_text())
    paths = [f"{tmp_path}/images/{n} #ü.jpg" for n in range(6)]
    assert {path: label["label"] for path, label in content["labels"].items()} == dict(
        zip(paths, IDS, strict=True)
    )
    known = {"camera": "hall", "tracklet": "hall/0", "frame": "0", "name": "Anna"}
    assert content["labels"][paths[0]]["attributes"] == known
    assert "name" not in content["labels"][paths[1]]["attributes"]


def test_label_studio_tasks_have_the_identity_as_prediction(identities, tmp_path):
    write_label_studio(identities, tmp_path / "ls", tmp_path)
    tasks = json.loads((tmp_path / "ls/tasks.json").read_text())
    assert [task["predictions"][0]["result"][0]["value"]["text"] for task in tasks] == [
        [own] for own in IDS
    ]
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=images/0%20%23%C3%BC.jpg"
    assert [task["predictions"][0]["score"] for task in tasks] == [0.4, 0.45, 0.5, 0.55, 0.6, 0.65]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,identity\na.jpg,x\n../b.jpg,y\n", r"b.jpg is not in root="),
        ("path,identity\na.jpg,x\nb.jpg,\n", "row 2: no identity"),
        ("path,name\na.jpg,x\n", "no column identity"),
        ("path,identity\na.jpg,x\na.jpg,y\n", "row 2: 'a.jpg' repeats row 1"),
    ],
)
def test_a_wrong_table_is_one_line_and_writes_nothing(tmp_path, text, expected):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=expected):
        write_label_studio(tmp_path / "t.csv", tmp_path / "ls", tmp_path)
    assert not (tmp_path / "ls").exists()


FIFTYONE = """
import json, sys
from fiftyone.utils.data.importers import FiftyOneImageClassificationDatasetImporter as Importer
with Importer(dataset_dir=sys.argv[1], data_path="data.json") as importer:
    found = [(path, own.label, own.tracklet) for path, _, own in importer]
print("found", json.dumps(found))
"""

LABEL_STUDIO = """
import json, sys
from pathlib import Path
from label_studio_sdk.label_interface import LabelInterface
folder = Path(sys.argv[1])
interface = LabelInterface((folder / "config.xml").read_text())
interface.validate()
for task in json.loads((folder / "tasks.json").read_text()):
    predictions = task.pop("predictions")
    assert interface.validate_task(task)
    for prediction in predictions:
        assert not interface.validate_prediction(prediction, return_errors=True)
        prediction["result"][0]["to_name"] = "another"
        assert interface.validate_prediction(prediction, return_errors=True)
print("valid")
"""


@pytest.mark.slow
def test_fiftyone_imports_them(identities, tmp_path, made_once, monkeypatch):
    python = foreign_python(made_once, "fiftyone==1.22.1", dependencies=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "true")
    write_fiftyone(identities, tmp_path / "fo")
    said = run_foreign(python, FIFTYONE, tmp_path / "fo").split("found ")[1]
    expected = [[f"{tmp_path}/images/{n} #ü.jpg", own, f"hall/{n}"] for n, own in enumerate(IDS)]
    assert sorted(json.loads(said)) == expected


@pytest.mark.slow
def test_label_studio_takes_them(identities, tmp_path, made_once):
    python = foreign_python(made_once, "label-studio-sdk==2.1.2", dependencies=True)
    write_label_studio(identities, tmp_path / "ls", tmp_path)
    assert run_foreign(python, LABEL_STUDIO, tmp_path / "ls").strip() == "valid"
