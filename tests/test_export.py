"""Exported networks agree with the module, run without it, and say what they are."""

import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from conftest import draw_crops
from dccc_lightning.data.decoding import decode_image
from dccc_lightning.errors import UserError
from dccc_lightning.inference import checked_export, exporting, runtimes
from dccc_lightning.inference.card_subjects import VEHICLES
from dccc_lightning.inference.checked_export import Parity, export_embedder
from dccc_lightning.inference.export_example import ExportExample
from dccc_lightning.inference.exporting import ABOUT, to_onnx, to_program, to_pt2
from dccc_lightning.inference.image_embedder import Origin
from dccc_lightning.inference.loading import FORMAT, KEY, load_embedder
from dccc_lightning.inference.model_card import model_card
from dccc_lightning.inference.runtimes import runner
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.neighbors import aligned_similarity
from dccc_lightning.reports.label_free import RULE, summarize_label_free
from dccc_lightning.reports.results import SCORES, summarize_run
from dccc_lightning.tasks import export

DATASETS = Path(__file__).parents[1] / "conf" / "dataset"
MODEL = {"backbone": "resnet10", "width": 0.125, "pooling": "gem", "bn_group_size": 16}
PARITY = {"mean": 0, "worst": 0, "length": 0}
ABOUT_IT = {"fingerprint": "abc", "height": 32}


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(runtimes, "MEASURE_SECONDS", 0)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """Return the folder of a finished run of a small network, as a training run leaves it."""
    torch.manual_seed(0)
    network = build_embedder(**MODEL, weights=None)
    for name, value in network.state_dict().items():
        if "running" in name:
            value.uniform_(0.5, 1.5)
    folder = tmp_path_factory.mktemp("private") / "run"
    (folder / "checkpoints").mkdir(parents=True)
    description = {
        "format": FORMAT, "version": "9.9", "model": MODEL,
        "image": {"height": 32, "width": 16}, "dataset": "market1501",
    }  # fmt: skip
    state = {f"student.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, KEY: description}, folder / "checkpoints" / "best.ckpt")
    scores = {"mAP": 61.25, "mINP": 30.0, "rank1": 70.0, "rank5": 80.0, "rank10": 90.0}
    settings = {
        "task": {"_target_": "dccc_lightning.tasks.train.train"},
        "seed": 7,
        "epochs": 16,
        "model": {**MODEL, "weights": f"{folder}/start.pth"},
        "dataset": {"name": "market1501", "root": "/private/data"},
    }
    results = {
        "best": {**scores, "network": "student", "epoch": 15},
        "student": scores, "teacher": None, "seed": 7,
        "versions": {"torch": "2.x"},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture(scope="module")
def embedder(run_folder):
    return load_embedder(run_folder, device="cpu")


@pytest.fixture(scope="module")
def contents(embedder):
    program = to_program(embedder)
    return {"onnx": to_onnx(program, ABOUT_IT), "pt2": to_pt2(program, ABOUT_IT)}


@pytest.fixture
def crops(tmp_path):
    return draw_crops(tmp_path / "crops", 5, size=(40, 20))


@pytest.mark.parametrize("file_format", ["onnx", "pt2"])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_bytes_in_embeddings_out_at_any_batch_size(embedder, contents, file_format, size, tmp_path):
    pixels = np.random.default_rng(size).integers(0, 256, (size, 3, 32, 16), dtype=np.uint8)
    file = tmp_path / f"model.{file_format}"
    file.write_bytes(contents[file_format])
    theirs = runner(file)(pixels)
    ours = embedder.embed(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)
    assert theirs.dtype == np.float32


def test_onnx_says_what_goes_in_and_out(contents):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(contents["onnx"], providers=["CPUExecutionProvider"])
    (given,), (returned,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == (
        "images", "tensor(uint8)", ["batch", 3, 32, 16]
    )  # fmt: skip
    assert (returned.name, returned.type, returned.shape) == (
        "embeddings", "tensor(float)", ["batch", 64]
    )  # fmt: skip
    properties = session.get_modelmeta().custom_metadata_map
    assert properties == {"fingerprint": "abc", "height": "32"}


def test_files_hold_no_path_of_the_machine_they_were_made_on(contents):
    packages = str(Path(torch.__file__).parents[1]).encode()
    sources = str(Path(exporting.__file__).parent).encode()
    archive = zipfile.ZipFile(io.BytesIO(contents["pt2"]))
    parts = [archive.read(name) for name in archive.namelist()]
    assert any(name.endswith(ABOUT) for name in archive.namelist())
    for content in (contents["onnx"], *parts):
        assert packages not in content
        assert sources not in content


def test_the_network_itself_stays_as_it_was(embedder):
    before = embedder.network.backbone.conv1.weight
    to_program(embedder)
    assert embedder.network.backbone.conv1.weight is before
    assert before.is_contiguous(memory_format=torch.channels_last)


def test_parity_sees_direction_and_length():
    ours = np.array([[1, 0], [0.6, 0.8]], np.float32)
    assert Parity.between(ours, ours).worst == pytest.approx(0, abs=1e-9)
    turned = Parity.between(ours, np.array([[1, 0], [0.8, 0.6]], np.float32))
    assert (turned.mean, turned.worst) == (pytest.approx(0.02), pytest.approx(0.04))
    longer = Parity.between(ours, 2 * ours)
    assert (longer.worst, longer.length) == (pytest.approx(0), pytest.approx(1))
    for wrong in (longer, Parity.between(ours, np.full((2, 2), np.nan, np.float32))):
        with pytest.raises(UserError, match="disagrees with the module"):
            wrong.check("model.onnx", "int8", None)
    turned.check("model.onnx", "f32", 0.05)
    with pytest.raises(UserError, match=r"limit of int8 is 0\.02 \(limit= sets another\)"):
        turned.check("model.onnx", "int8", None)


def test_the_command_writes_both_with_a_card(command, run_folder, crops):
    outcome = command(
        "task=export", f"ckpt={run_folder}", f"input={crops}", "licence=research only",
        "output=out",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "model.onnx" in outcome.out
    report = json.loads(Path("out/export.json").read_text())
    assert set(report["files"]) == {"model.onnx", "model.pt2"}
    for name, size in report["files"].items():
        assert Path("out", name).stat().st_size == size
        assert report["parity"][name]["worst"] <= 1e-6
    assert set(report["speed"]) == {"torch", "onnxruntime", "torch.export"}
    for times in report["speed"].values():
        assert list(times) == [
            "batch 1, 1 thread", "batch 5, 1 thread", "batch 1, 2 threads", "batch 5, 2 threads"
        ]  # fmt: skip
        assert min(times.values()) > 0
    assert report["mAP"] is None
    embedder = load_embedder(run_folder, device="cpu")
    assert report["fingerprint"] == embedder.fingerprint
    loaded = torch.export.load("out/model.pt2", extra_files=(extra := {ABOUT: ""}))
    assert json.loads(extra[ABOUT])["fingerprint"] == embedder.fingerprint
    pixels = torch.zeros(3, 3, 32, 16, dtype=torch.uint8)
    torch.testing.assert_close(loaded.module()(pixels), embedder.embed(pixels))
    picture = decode_image("out/example.jpg", 32, 16)[None]
    torch.testing.assert_close(
        embedder.embed(torch.from_numpy(picture))[0], torch.from_numpy(np.load("out/example.npy"))
    )
    card = Path("out/MODEL_CARD.md").read_text()
    assert f"=\n{report['example']['bgr_cost']:.2f} to" in card
    for fact in ("without identity labels", "| student, last epoch | 61.2 | 30.0 | 70.0",
                 "| student, epoch 16: the best on the test split | 61.2 ", "seed: 7",
                 "research only", "Trained on: market1501", "5 images", embedder.fingerprint,
                 "(B, 3, 32, 16) uint8"):  # fmt: skip
        assert fact in card
    for text in (card, Path("out/export.json").read_text()):
        assert "5 images (crops)" in text
        assert "private" not in text
        assert str(crops.parent) not in text


def python_blocks(card):
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


@pytest.fixture(scope="module")
def exported(embedder, contents, tmp_path_factory):
    """A folder with all that the card speaks of."""
    folder = tmp_path_factory.mktemp("exported")
    example = ExportExample.of(embedder)
    for name, content in contents.items():
        (folder / f"model.{name}").write_bytes(content)
    (folder / "example.jpg").write_bytes(example.picture)
    (folder / "example.npy").write_bytes(example.embedding_file)
    known = facts() | {"height": 32, "width": 16, "example": {"bgr_cost": example.bgr_cost}}
    known["files"] = {f"model.{name}": len(content) for name, content in contents.items()}
    known["parity"] = dict.fromkeys(known["files"], PARITY)
    (folder / "MODEL_CARD.md").write_text(model_card(embedder.origin, known))
    return folder


@pytest.mark.parametrize("library", ["PIL", "cv2"])
def test_the_code_of_a_card_gives_the_embedding_of_the_example(
    exported, embedder, library, monkeypatch, capsys
):
    if library == "cv2":
        pytest.importorskip("cv2")
    monkeypatch.chdir(exported)
    pillow, opencv, *runs, check = python_blocks(Path("MODEL_CARD.md").read_text())
    assert len(runs) == 2
    for run in runs:
        names = {}
        for code in (opencv if library == "cv2" else pillow, run, check):
            exec(code, names)
        assert float(capsys.readouterr().out) == pytest.approx(1, abs=1e-4)
        if library == "PIL":
            np.testing.assert_array_equal(names["images"][0], decode_image("example.jpg", 32, 16))


def test_the_code_of_a_card_turns_images_as_training_does(exported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.open(exported / "example.jpg").save("example.jpg", exif=turned)
    names = {}
    exec(python_blocks((exported / "MODEL_CARD.md").read_text())[0], names)
    np.testing.assert_array_equal(names["images"][0], decode_image("example.jpg", 32, 16))


def test_the_cost_of_swapped_colours_is_measured(exported, embedder):
    np.testing.assert_allclose(
        np.load(exported / "example.npy"), embedder.embed([exported / "example.jpg"])[0], atol=1e-5
    )
    trained = load_embedder("bundled", device="cpu")
    example = ExportExample.of(trained)
    pixels = decode_image(exported / "example.jpg", trained.height, trained.width)
    right, swapped = trained.embed(torch.from_numpy(np.stack([pixels, pixels[::-1]]))).numpy()
    assert example.bgr_cost == pytest.approx(1 - float(right @ swapped), abs=1e-3)
    assert example.bgr_cost > 0.01
    card = model_card(trained.origin, facts() | {"example": {"bgr_cost": 0.614}})
    assert "1 - cosine =\n0.61 to" in card


def test_a_card_of_one_file_shows_the_code_of_that_file():
    card = card_of("market1501")
    assert "torch.export.load" in card
    assert "onnxruntime" not in card


def test_an_export_that_disagrees_is_not_written(command, run_folder, crops, monkeypatch):
    def wrong(program, about):
        program.state_dict["network.neck.weight"][:9].neg_()
        return to_pt2(program, about)

    monkeypatch.setattr(checked_export, "to_pt2", wrong)
    arguments = ("task=export", f"ckpt={run_folder}", f"input={crops}", "output=out", "format=pt2")
    outcome = command(*arguments)
    assert outcome.code == 2
    assert "model.pt2 disagrees with the module: 1 - cosine is" in outcome.err
    assert not Path("out").exists()
    outcome = command(*arguments, "limit=1")  # the remedy
    assert outcome.code == 0, outcome.err
    assert json.loads(Path("out/export.json").read_text())["parity"]["model.pt2"]["worst"] > 0.01


def test_without_the_extra_onnx_is_refused_and_pt2_is_not(command, run_folder, crops, monkeypatch):
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    arguments = ("task=export", f"ckpt={run_folder}", f"input={crops}", "output=out")
    outcome = command(*arguments)
    assert outcome.code == 2
    assert "pip install 'dccc-lightning[export]', or format=pt2" in outcome.err
    outcome = command(*arguments, "format=pt2")
    assert outcome.code == 0, outcome.err
    assert not Path("out/model.onnx").exists()
    assert Path("out/model.pt2").exists()


@pytest.mark.parametrize("file_format", ["onnx", "pt2"])
def test_an_embedder_is_exported_without_a_run(embedder, crops, tmp_path, file_format):
    images = sorted(crops.iterdir())
    # Images for int8 do not make f32 int8.
    parity = export_embedder(embedder, tmp_path / f"shop.{file_format}", images, calibration=images)
    assert parity.worst <= 1e-6
    content = (tmp_path / f"shop.{file_format}").read_bytes()
    pixels = np.stack([decode_image(path, 32, 16) for path in images])
    theirs = runner(tmp_path / f"shop.{file_format}")(pixels)
    np.testing.assert_allclose(theirs, embedder.embed(images), rtol=1e-4, atol=1e-5)
    assert embedder.fingerprint.encode() in content


def test_an_embedder_is_exported_whole_or_not_at_all(embedder, crops, tmp_path, monkeypatch):
    images, file = sorted(crops.iterdir()), tmp_path / "out.pt2"
    for path, given, message in (
        (tmp_path / "out.tflite", images, r"path must end in \.onnx, \.pt2, \.xml"),
        (file, images[:1], "number of images must be at least 2"),
    ):
        with pytest.raises(ValueError, match=message):
            export_embedder(embedder, path, given)
    with pytest.raises(UserError, match="disagrees with the module"):
        export_embedder(embedder, file, images, limit=-1)
    with pytest.raises(ValueError, match="pt2 is f32 only; choose format=onnx or openvino"):
        export_embedder(embedder, file, images, "f16")
    with pytest.raises(ValueError, match="int8: needs calibration images"):
        export_embedder(embedder, tmp_path / "out.onnx", images, "int8")
    assert not file.exists()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("format=tflite", "format must be one of onnx, pt2, openvino, got 'tflite'"),
        ("format=[]", "format must be one or several of onnx, pt2, openvino"),
        ("precision=f64", "precision must be one of f32, f16, int8"),
        ("precision=f16", "pt2 is f32 only; choose format=onnx or openvino"),
        ("precision=int8", "calibration= is needed"),
        ("limit=3", "limit must be in [0, 2]"),
        ("images=1", "images must be at least 2"),
        ("input=elsewhere", "input=elsewhere: neither a folder nor"),
        ("input=empty", "input=empty: no images to export with"),
        ("ckpt=null", "ckpt= is needed"),
    ],
)
def test_mistakes_are_one_line(
    composed, run_folder, crops, tmp_path, monkeypatch, argument, message
):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    changes = [f"ckpt={run_folder}", f"input={crops}", argument]
    with pytest.raises(UserError) as refused:
        export.export(composed("task=export", changes=changes), Path("out"))
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not Path("out").exists()


def test_a_damaged_file_of_a_run_is_named_before_the_export(
    command, run_folder, crops, tmp_path, monkeypatch
):
    own = tmp_path / "own"
    shutil.copytree(run_folder, own)
    arguments = ("task=export", f"ckpt={own}", f"input={crops}", "output=out", "format=pt2")
    with monkeypatch.context() as patch:
        patch.setattr(export, "written", None)
        for name in ("results.json", "config.yaml"):
            (own / name).write_text("{")
            outcome = command(*arguments)
            assert outcome.code == 2
            assert f"{own / name}: damaged; restore it, or remove it to exp" in outcome.err
            (own / name).unlink()  # the remedy
    assert not Path("out").exists()
    assert command(*arguments, "limit=2").code == 0
    assert "was not in its run folder" in Path("out/MODEL_CARD.md").read_text()


def facts():
    return {
        "fingerprint": "f00", "height": 64, "width": 32, "feature_dim": 8, "parameters": 12,
        "files": {"model.pt2": 10**6}, "parity": {"model.pt2": PARITY}, "mAP": None,
        "precision": "f32", "notes": [],
        "compared": "9 images", "speed": {"torch": {"1": 2.0}}, "machine": "a machine",
        "example": {"bgr_cost": 0.5},
        "preprocessing": {
            "interpolation": "bicubic", "colour": "rgb",
            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
            "fit": "stretch", "rotations": 1, "match": "mean",
        },
    }  # fmt: skip


def test_a_card_tells_shape_and_turns():
    known = facts()
    known["preprocessing"] |= {"fit": "pad", "rotations": 4, "match": "aligned"}
    card = model_card(Origin("run", "student", MODEL, 64, 64, "cows"), known)
    assert "ImageOps.pad(crop, (32, 64), Image.Resampling.BICUBIC)" in card
    names = {"np": np}
    exec(next(code for code in python_blocks(card) if "def similarity" in code), names)
    turns = np.random.default_rng(0).standard_normal((2, 4, 2)).astype(np.float32)
    turns /= 2 * np.linalg.norm(turns, axis=2, keepdims=True)
    expected = aligned_similarity(turns[:1], turns[1:]).item()
    assert names["similarity"](*turns.reshape(2, 8)) == pytest.approx(expected, abs=1e-6)
    known["preprocessing"] |= {"match": "mean"}
    assert "returns the mean" in model_card(Origin("run", "student", MODEL, 64, 64, "cows"), known)


def card_of(dataset, path="run/checkpoints/best.ckpt", **arguments):
    return model_card(Origin(path, "teacher", MODEL, 64, 32, dataset), facts(), **arguments)


def test_a_card_names_the_subjects():
    layouts = "dccc_lightning.data.datasets"
    shipped, own = (
        {"dataset": {"_target_": f"{layouts}.{name}"}}
        for name in ("declared_layout.DeclaredLayout", "folder.ImageFolder")
    )
    for dataset, settings, words in (
        ("market1501", shipped, "crop of a person"),
        ("synthetic-source", None, "crop of a person"),
        ("veri776", shipped, "crop of a vehicle"),
        ("cows", own, "crop of a subject like those of cows to"),
        ("cows", None, "crop of a subject like those of cows to"),
        ("cows", {"dataset": {"_target_": "mine.Cows"}}, "crop of a subject like those of cows to"),
        ("folder", own, "crop of a subject like those of the training images to"),
    ):
        card = card_of(dataset, settings=settings)
        assert f"It maps a 64 x 32 {words}" in card
        assert ("clothes" in card) == ("crop of a person" in card)
    known = facts()
    known["preprocessing"] |= {"rotations": 4}
    above = model_card(Origin("run", "student", MODEL, 64, 64, "cows"), known, own)
    assert "seen from above in any orientation" in above
    told = {path.stem for path in DATASETS.glob("*.yaml") if "ehicle" in path.read_text()}
    assert told == VEHICLES


def test_a_card_tells_what_is_not_known():
    card = card_of("market1501")
    assert "Unknown: the network was not in its run folder" in card
    assert "No licence was stated" in card
    assert "the terms of market1501" in card
    assert "withdrawn" not in card


def test_a_card_says_by_which_protocol_its_figures_came():
    rows = [{"epoch": 0} | {f"val/{score}": 0.5 for score in SCORES}]
    for centers in (False, True):
        card = card_of("synthetic", results=summarize_run(rows, 0, 1.0, camera_center=centers))
        assert ("per cent, camera-centred at test time, one run" in card) is centers
        assert "| 50.0 |" in card


def test_a_card_warns_of_withdrawn_data_and_tells_drawn_people():
    assert "DukeMTMC was withdrawn by its authors" in card_of("occluded_duke")
    bundled = card_of("synthetic-source", path="bundled")
    assert "show no real person" in bundled
    assert "with identity labels" in bundled
    settings = {"task": {"_target_": "dccc_lightning.tasks.pretrain.pretrain"}}
    assert "with identity labels" in card_of("market1501", settings=settings)


def test_a_card_of_a_run_without_identities_claims_no_score():
    rows = [
        {"epoch": epoch, "cluster/num_clusters": 7 + epoch, "cluster/outlier_ratio": 0.125,
         "cluster/silhouette": silhouette, "cluster/churn": 0.5}
        for epoch, silhouette in enumerate((0.1, 0.4, 0.2))
    ]  # fmt: skip
    card = card_of("own", results=summarize_label_free(rows, has_teacher=True))
    assert "on the test split" not in card
    assert "mAP" not in card
    assert f"{RULE}; epoch 2, and of its networks the teacher" in card
    assert "| epoch | clusters | outliers | silhouette | churn |" in card
    assert "| best: 2 | 8 | 12.5% | 0.400 | 50.0% |" in card
    assert "| last: 3 | 9 |" in card
