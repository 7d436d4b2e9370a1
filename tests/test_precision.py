"""Half precision, 8 bits and OpenVINO: saved files in the runtimes that serve them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dccc_lightning.data.synthetic.camera import cameras
from dccc_lightning.data.synthetic.wardrobe import person
from dccc_lightning.errors import UserError
from dccc_lightning.inference import runtimes
from dccc_lightning.inference.checked_export import Parity, export_embedder
from dccc_lightning.inference.exporting import require_packages
from dccc_lightning.inference.precision import LIMITS
from dccc_lightning.tasks.export import _table, export, notes

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Drawn pedestrians, eight people under two cameras."""
    folder = tmp_path_factory.mktemp("crops")
    for number, camera in enumerate(cameras(0, 2, 0.0, 128, 64)):
        for who in range(8):
            track, shot = np.random.default_rng(who), np.random.default_rng(10 * who + number)
            drawn = camera.photograph(person(0, who), 128, 64, track, shot)
            drawn.save(folder / f"{who:04}_c{number + 1}.png")
    return sorted(folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["onnx", "xml"])
@pytest.mark.parametrize("precision", LIMITS)
def test_a_saved_file_agrees_within_the_limit_of_its_precision(
    embedder, crops, tmp_path, suffix, precision
):
    pytest.importorskip("openvino")
    file = tmp_path / f"shop.{suffix}"
    calibration = crops[:8] if precision == "int8" else ()
    parity = export_embedder(embedder, file, crops, precision, calibration)
    assert parity.worst <= LIMITS[precision]
    if precision != "f32":  # the file is not the full network under another name
        assert parity.worst > LIMITS["f32"]
    names = {"onnx": ["shop.onnx"], "xml": ["shop.bin", "shop.xml"]}[suffix]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    full = sum(value.numel() for value in embedder.network.parameters()) * 4
    assert size < full * {"f32": 1.2, "f16": 0.65, "int8": 0.45}[precision]
    for path in tmp_path.iterdir():
        assert str(Path(torch.__file__).parents[1]).encode() not in path.read_bytes()
        assert b"/tmp/" not in path.read_bytes()
    assert embedder.fingerprint.encode() in file.read_bytes()


@pytest.mark.slow
def test_weights_of_eight_bits_are_unsigned_and_by_channel(embedder, crops, tmp_path):
    onnx = pytest.importorskip("onnx")
    export_embedder(embedder, tmp_path / "shop.onnx", crops, "int8", crops)
    graph = onnx.load(tmp_path / "shop.onnx").graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    assert not [t.name for t in graph.initializer if t.data_type == onnx.TensorProto.INT8]
    weights = [t for t in graph.initializer if t.name.endswith("_quantized") and len(t.dims) == 4]
    assert len(weights) >= 10
    for tensor in weights:
        assert tensor.data_type == onnx.TensorProto.UINT8
        scale = tensors[tensor.name.replace("_quantized", "_scale")]
        assert list(scale.dims) == [tensor.dims[0]]
    with pytest.raises(UserError, match=r"limit of int8 is 1e-09"):
        export_embedder(embedder, tmp_path / "no.onnx", crops, "int8", crops, limit=1e-9)
    assert not (tmp_path / "no.onnx").exists()


@pytest.mark.slow
def test_a_hint_that_the_processor_ignores_is_refused(embedder, crops, tmp_path, monkeypatch):
    openvino = pytest.importorskip("openvino")
    real = openvino.CompiledModel.get_property
    monkeypatch.setattr(
        openvino.CompiledModel,
        "get_property",
        lambda self, name: openvino.Type.bf16 if name == runtimes.HINT else real(self, name),
    )
    with pytest.raises(UserError, match=r"computes in .* here, not in f32"):
        export_embedder(embedder, tmp_path / "shop.xml", crops)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_task_prints_the_change_of_map_and_the_processor(composed, tmp_path, capsys):
    pytest.importorskip("openvino")
    changes = {"format": ["onnx", "openvino"], "precision": "int8", "calibration": "gallery",
               "input": "query"}  # fmt: skip
    report = export(composed("task=export", "ckpt=bundled", changes=changes), tmp_path)
    assert set(report["mAP"]) == {"module", "model.onnx", "model.xml"}
    assert all(0 < value <= 1 for value in report["mAP"].values())
    said, card = capsys.readouterr().out, (tmp_path / "MODEL_CARD.md").read_text()
    for text in ("depends on the processor", "INFERENCE_PRECISION_HINT = f32, read back"):
        assert text in card
        assert text in " ".join(said.split())
    assert "Precision int8" in card
    assert "change of mAP, points" in card
    names = {path.name for path in tmp_path.iterdir()}
    assert {"model.onnx", "model.xml", "model.bin", "export.json"} <= names


def test_the_limits_are_those_of_the_precisions():
    assert LIMITS == {"f32": 1e-6, "f16": 1e-3, "int8": 0.02}
    for precision, limit in LIMITS.items():
        Parity(0, 0.99 * limit, 0).check("model.onnx", precision, None)
        Parity(0, 1.01 * limit, 0).check("model.onnx", precision, 2 * limit)
        for worst, length in ((1.01 * limit, 0), (np.nan, 0), (0, 0.011), (0, np.nan)):
            with pytest.raises(
                UserError, match=f"the limit of {precision} is {limit:g} "
            ) as caught:
                Parity(1e-9, worst, length).check("model.onnx", precision, None)
            assert f"on average and {worst:.1e} for the worst image" in str(caught.value)
    with pytest.raises(UserError, match="is 1e-09 "):
        Parity(0, 1e-8, 0).check("model.onnx", "int8", 1e-9)


def test_a_network_of_no_direction_agrees_with_nothing():
    ours = np.eye(2, dtype=np.float32)
    for theirs in (0 * ours, ours * np.nan):
        with np.errstate(invalid="ignore"), pytest.raises(UserError, match="disagrees"):
            Parity.between(ours, theirs).check("model.xml", "int8", 2.0)


def test_the_table_has_size_agreement_change_of_map_and_times():
    times = {"batch 1, 1 thread": 2.0, "batch 32, 2 threads": 0.5}
    facts = {
        "files": {"model.onnx": 2 * 10**6, "model.xml": 10**6, "model.bin": 3 * 10**6},
        "precision": "int8", "compared": "9 images (query)", "machine": "a CPU, torch 2",
        "parity": {n: {"mean": 0.001, "worst": 0.01} for n in ("model.onnx", "model.xml")},
        "mAP": {"module": 0.5, "model.onnx": 0.49, "model.xml": 0.505},
        "speed": {"torch": times, "onnxruntime": times, "OpenVINO": times},
    }  # fmt: skip
    table = _table(facts)
    assert table.title == "9 images (query), int8, a CPU, torch 2"
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert rows == [
        ("module", "", "", "", "50.0%", "2.00", "0.50"),
        ("model.onnx", "2.0", "1.0e-03", "1.0e-02", "-1.00", "2.00", "0.50"),
        ("model.xml", "4.0", "1.0e-03", "1.0e-02", "+0.50", "2.00", "0.50"),
    ]
    heads = [column.header for column in _table(facts | {"mAP": None}).columns]
    assert heads[1:] == [
        "MB",
        "1 - cos, mean",
        "worst",
        *(f"ms an image, {size}" for size in times),
    ]


def test_remarks_are_those_of_the_files():
    facts = {"files": {"model.onnx": 1}, "precision": "f32", "machine": "a CPU, torch 2"}
    assert notes(facts) == []
    (line,) = notes(facts | {"files": {"model.xml": 1, "model.bin": 1}})
    assert line.startswith("OpenVINO computed with INFERENCE_PRECISION_HINT = f32, read back;")
    (line,) = notes(facts | {"precision": "int8"})
    assert "these figures hold for a CPU;" in line


def test_missing_packages_name_their_extra(monkeypatch):
    monkeypatch.setattr(
        "dccc_lightning.inference.exporting.find_spec",
        lambda name: None if name in ("openvino", "onnxconverter_common") else True,
    )
    require_packages(["pt2", "onnx"])
    require_packages(["onnx"], "int8")
    for formats, precision in ((["openvino"], "f32"), (["onnx"], "f16")):
        with pytest.raises(UserError, match=r"dccc-lightning\[runtimes\]"):
            require_packages(formats, precision)


def test_the_processor_is_named():
    assert runtimes.processor().endswith((" VNNI", "an unknown processor"))
