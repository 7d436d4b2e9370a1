"""Checkpoints of all ages to embeddings, and everything else to one line."""

import json
import subprocess
import sys

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from PIL import Image

import dccc_lightning
from dccc_lightning.data import image_cache as images_module
from dccc_lightning.data.decoding import decode_image
from dccc_lightning.data.image_stream import LOOKAHEAD, decoded_batches
from dccc_lightning.errors import UnreadableImageError, UserError
from dccc_lightning.inference import loading
from dccc_lightning.inference.loading import (
    BUNDLED_MODEL,
    FORMAT,
    KEY,
    ImageEmbedder,
    load_embedder,
)
from dccc_lightning.models.embedder import build_embedder

MODEL = {"backbone": "resnet10", "width": 0.125, "pooling": "gem", "bn_group_size": 16}
HEIGHT, WIDTH = 32, 16
DESCRIPTION = {
    "format": FORMAT,
    "version": "9.9",
    "model": MODEL,
    "image": {"height": HEIGHT, "width": WIDTH},
    "dataset": "somewhere",
}
CONFIG = {
    "model": {
        "_target_": "dccc_lightning.models.embedder.build_embedder", "weights": "x", **MODEL
    },
    "image": {"height": HEIGHT, "width": WIDTH},
    "dataset": {"name": "somewhere", "root": None},
}  # fmt: skip


def network(seed):
    torch.manual_seed(seed)
    embedder = build_embedder(**MODEL, weights=None)
    for name, value in embedder.state_dict().items():
        if "running" in name:
            value.uniform_(0.5, 1.5)
    return embedder.eval()


def state(student=1, teacher=2):
    """Return what Lightning would save of a module with these networks."""
    tensors = {f"student.{k}": v for k, v in network(student).state_dict().items()}
    if teacher is not None:
        copied = network(teacher).state_dict()
        tensors |= {f"teacher.network.{k}": v for k, v in copied.items()}
    return tensors | {"memory.centroids": torch.zeros(3, 64), "loss_sums": torch.zeros(2)}


def save(path, description=DESCRIPTION, **networks):
    content = {"state_dict": state(**networks), "epoch": 3, "ReIDDataModule": {}}
    if description is not None:
        content[KEY] = description
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def pictures(folder, number=5, size=(20, 45)):
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    paths = []
    for index in range(number):
        path = folder / f"{index}.png"
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
        paths.append(path)
    return paths


def expected(paths, seed):
    """Embed one image after the other, as plainly as possible."""
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    rows = []
    for path in paths:
        resized = Image.open(path).convert("RGB").resize((WIDTH, HEIGHT), Image.BICUBIC)
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 255
        with torch.no_grad():
            rows.append(network(seed)(((pixels - mean) / std)[None])[0])
    return torch.stack(rows)


@pytest.mark.parametrize(("choice", "seed"), [("auto", 2), ("student", 1), ("teacher", 2)])
def test_a_checkpoint_becomes_embeddings(tmp_path, choice, seed):
    embedder = load_embedder(save(tmp_path / "a.ckpt"), choice, device="cpu")
    paths = pictures(tmp_path / "images")
    embeddings = embedder.embed(paths, batch_size=2)
    torch.testing.assert_close(embeddings, expected(paths, seed), rtol=1e-5, atol=1e-6)
    assert embeddings.dtype == torch.float32
    assert not embeddings.is_inference()
    assert embeddings.shape == (5, embedder.feature_dim) == (5, 64)
    assert (embedder.height, embedder.width) == (HEIGHT, WIDTH)
    assert embedder.origin.dataset == "somewhere"
    assert embedder.origin.version == "9.9"
    assert embedder.origin.network == ("student" if choice == "student" else "teacher")


def test_without_a_teacher_auto_is_the_student(tmp_path):
    path = save(tmp_path / "a.ckpt", teacher=None)
    assert load_embedder(path, device="cpu").origin.network == "student"
    with pytest.raises(UserError, match="contains no teacher; choose network=student"):
        load_embedder(path, "teacher")


def test_paths_pictures_and_tensors_agree(tmp_path):
    embedder = load_embedder(save(tmp_path / "a.ckpt"), device="cpu")
    paths = pictures(tmp_path / "images")
    by_path = embedder.embed(paths)
    opened = [Image.open(path) for path in paths]
    tensor = torch.from_numpy(np.stack([decode_image(path, HEIGHT, WIDTH) for path in paths]))
    for same in ([str(p) for p in paths], opened, opened[:2] + paths[2:], tensor):
        torch.testing.assert_close(embedder.embed(same, batch_size=3), by_path)
    torch.testing.assert_close(embedder.embed(paths[0]), by_path[:1])
    for nothing in ([], tensor[:0]):
        assert embedder.embed(nothing).shape == (0, 64)


def test_older_checkpoints_ask_the_configuration_of_their_run(tmp_path):
    path = save(tmp_path / "run" / "checkpoints" / "last.ckpt", description=None)
    with pytest.raises(UserError, match=r"not in a run folder with a config\.yaml"):
        load_embedder(path)
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    embedder = load_embedder(path, device="cpu")
    assert (embedder.height, embedder.origin.dataset, embedder.feature_dim) == (32, "somewhere", 64)


def test_transformers_are_built_for_the_size_of_their_images(tmp_path, monkeypatch):
    sizes = []

    def build(**arguments):
        sizes.append(arguments["image_size"])
        return build_embedder(**arguments)

    monkeypatch.setattr(loading, "build_embedder", build)
    load_embedder(save(tmp_path / "a.ckpt"), device="cpu")
    model = MODEL | {"image_size": [64, 48]}
    load_embedder(save(tmp_path / "b.ckpt", DESCRIPTION | {"model": model}), device="cpu")
    assert sizes == [(HEIGHT, WIDTH), [64, 48]]


def test_a_configuration_from_outside_chooses_no_code(tmp_path):
    path = save(tmp_path / "run" / "checkpoints" / "last.ckpt", description=None)
    model = {"_target_": "os.system", "command": "true"}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"model": model}))
    with pytest.raises(UserError, match=r"model os\.system is not of this package"):
        load_embedder(path)


@pytest.mark.parametrize(("named", "seed"), [("student", 1), ("teacher", 2), (None, 2), (["x"], 2)])
def test_auto_is_the_network_that_the_checkpoint_names_as_the_better(tmp_path, named, seed):
    path = save(tmp_path / "a.ckpt", description=DESCRIPTION | {"network": named})
    embedder = load_embedder(path, device="cpu")
    other = load_embedder(path, ("student", "teacher")[seed - 1], device="cpu")
    assert embedder.fingerprint == other.fingerprint
    assert embedder.origin.network == other.origin.network
    assert load_embedder(path, "teacher").origin.network == "teacher"


def test_the_folder_of_a_run_stands_for_its_best(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    with pytest.raises(UserError, match=r"contains none of checkpoints/best\.ckpt"):
        load_embedder(run)
    half = {k: v.half() if v.is_floating_point() else v for k, v in network(5).state_dict().items()}
    torch.save(half, run / "weights.pt")
    pretrained = load_embedder(run, device="cpu")
    assert pretrained.origin.network == "student"
    with pytest.raises(UserError, match="contains no teacher"):
        load_embedder(run, "teacher")
    last = save(run / "checkpoints" / "last.ckpt", student=3, teacher=None)
    assert load_embedder(run).fingerprint == load_embedder(last).fingerprint
    best = save(run / "checkpoints" / "best.ckpt", student=4, teacher=None)
    assert load_embedder(run).fingerprint == load_embedder(best).fingerprint
    assert len({load_embedder(p).fingerprint for p in (run / "weights.pt", last, best)}) == 3


def test_the_bundled_weights():
    embedder = load_embedder("bundled", device="cpu")
    same = build_embedder(**BUNDLED_MODEL, weights="bundled").eval()
    pixels = torch.randint(0, 256, (3, 3, 64, 32), dtype=torch.uint8)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        reference = same((pixels / 255 - mean) / std)
    torch.testing.assert_close(embedder.embed(pixels), reference, rtol=1e-5, atol=1e-5)


def test_a_fingerprint_is_of_what_decides_the_embedding(tmp_path):
    def fingerprint(description=DESCRIPTION, **networks):
        return load_embedder(save(tmp_path / "a.ckpt", description, **networks)).fingerprint

    one = fingerprint(teacher=None)
    assert len(one) == 16
    assert int(one, 16) >= 0
    assert fingerprint(teacher=None) == one
    assert fingerprint(DESCRIPTION | {"version": "1"}, teacher=1) == one  # the same network
    assert fingerprint(student=9, teacher=None) != one
    larger = {"height": HEIGHT, "width": WIDTH + 8}
    assert fingerprint(DESCRIPTION | {"image": larger}, teacher=None) != one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": FORMAT + 1}, "written by dccc-lightning 9.9, in a newer format"),
        ({"format": "new"}, "the description of its network is invalid"),
        ({"image": {"height": 32}}, "is invalid .KeyError"),
        ({"image": {"height": -1, "width": 16}}, "height must be at least 1"),
        ({"model": 7}, "is invalid"),
        ({"model": {"backbone": "vgg"}}, "do not match its settings .backbone 'vgg' is unknown"),
        ({"model": MODEL | {"depth": 3}}, "do not match its settings"),
        ({"model": MODEL | {"width": 0.25}}, "do not match its settings"),
    ],
)
def test_a_description_that_is_wrong_is_one_line(tmp_path, change, message):
    path = save(tmp_path / "a.ckpt", DESCRIPTION | change)
    with pytest.raises(UserError, match=message) as caught:
        load_embedder(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class Payload:
    def __reduce__(self):
        return (print, ("code of the file ran",))


def test_no_code_of_a_file_runs(tmp_path, capsys):
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": state(), KEY: DESCRIPTION, "extra": Payload()}, path)
    with pytest.raises(UserError, match="not a checkpoint that can be read safely"):
        load_embedder(path)
    assert "ran" not in capsys.readouterr().out


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_the_file_holds_the_outcome_is_an_embedder_or_one_line(tmp_path, data):
    path = save(tmp_path / "a.ckpt")
    kind = data.draw(st.sampled_from(("bytes", "cut", "flip", "content", "description", "state")))
    content = bytearray(path.read_bytes())
    if kind == "bytes":
        path.write_bytes(data.draw(st.binary(max_size=64)))
    elif kind == "cut":
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    elif kind == "flip":
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
    elif kind == "content":
        torch.save(data.draw(PLAIN), path)
    elif kind == "description":
        field = data.draw(st.sampled_from((*DESCRIPTION, "")))
        value = data.draw(PLAIN)
        save(path, DESCRIPTION | {field: value} if field else value)
    else:
        torch.save({"state_dict": data.draw(PLAIN), KEY: DESCRIPTION}, path)
    try:
        outcome = load_embedder(path, device="cpu")
    except UserError as error:
        outcome = str(error)
    if isinstance(outcome, str):
        assert outcome.startswith(str(tmp_path))
        assert "\n" not in outcome
    else:
        assert isinstance(outcome, ImageEmbedder)


def test_arguments_that_cannot_be_are_named(tmp_path):
    path = save(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="network must be one of auto, student, teacher"):
        load_embedder(path, "both")
    for device in ("cuda:99", "abacus"):
        with pytest.raises(ValueError, match=f"device={device}: cannot be used"):
            load_embedder(path, device=device)
    with pytest.raises(UserError, match="no such file; give a checkpoint"):
        load_embedder(tmp_path / "missing.ckpt")
    embedder = load_embedder(path, device="cpu")
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        embedder.embed([], batch_size=0)
    with pytest.raises(TypeError, match=r"images\[1\] must be a file or a PIL image, got int"):
        embedder.embed(["a.png", 3])
    for wrong in (torch.zeros(2, 3, HEIGHT, WIDTH), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"images must be \(B, 3, 32, 16\) uint8, got \(2, 3"):
            embedder.embed(wrong)


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    embedder = load_embedder(save(tmp_path / "a.ckpt"), device="cpu")
    paths = pictures(tmp_path / "images")
    paths[3].write_bytes(b"no image")
    with pytest.raises(UnreadableImageError, match=r"3\.png: not an image of a known format"):
        embedder.embed(paths, batch_size=2)


def test_any_iterable_of_images_is_embedded():
    embedder, image = load_embedder("bundled", device="cpu"), Image.new("RGB", (4, 8), "red")
    assert torch.equal(embedder.embed(i for i in [image, image]), embedder.embed([image] * 2))
    assert embedder.embed(iter([])).shape == (0, embedder.feature_dim)


@pytest.mark.parametrize("box", [(10, 5, 10, 25), (10, 5, 15, 5), (10, 5, 10, 5)])
def test_a_crop_without_pixels_is_refused_by_its_position(tmp_path, box):
    embedder = load_embedder(save(tmp_path / "a.ckpt"), device="cpu")
    frame = Image.new("RGB", (20, 30), "gray")
    crops = [frame.crop((0, 0, 5, 9)), frame.crop(box)]
    with pytest.raises(ValueError, match=r"images\[1\] has no pixels"):
        embedder.embed(crops)
    with pytest.raises(ValueError, match=r"images\[0\] has no pixels"):
        embedder.embed(crops[1])
    (outcome,) = next(decoded_batches(crops[1:], HEIGHT, WIDTH, 1))
    assert isinstance(outcome, UnreadableImageError)
    assert embedder.embed(crops[:1]).shape == (1, embedder.feature_dim)


def test_arrays_are_refused_by_their_position_and_the_advice_holds(tmp_path):
    embedder = load_embedder(save(tmp_path / "a.ckpt"), device="cpu")
    crop = np.full((9, 5, 3), 7, dtype=np.uint8)
    for wrong in ([Image.fromarray(crop), crop[:, :0]], [Image.fromarray(crop), crop],
                  [Image.fromarray(crop), torch.zeros(3, 0, 5, dtype=torch.uint8)]):  # fmt: skip
        with pytest.raises(TypeError, match=r"images\[1\] must be .*fromarray converts"):
            embedder.embed(wrong)
    for empty in (crop[:0], crop[None, :0], np.empty((0, 3, HEIGHT, WIDTH), np.uint8)):
        with pytest.raises(TypeError, match="got an array; PIL"):
            embedder.embed(empty)
    for empty in (torch.zeros(1, 3, 0, WIDTH), torch.zeros(1, 3, HEIGHT, 0), torch.zeros(0)):
        with pytest.raises(ValueError, match="images must be"):
            embedder.embed(empty.byte())


def test_absurd_dimensions_are_refused_before_decoding(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    Image.new("1", (9000, 8000)).save(path)  # 72 megapixels in a few kilobytes

    def decode(*_, **__):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(Image.Image, "convert", decode)
    monkeypatch.setattr(Image.Image, "load", decode)
    message = r"bomb\.png: 8,000 x 9,000 pixels, more than 67,108,864 in all"
    with pytest.raises(UnreadableImageError, match=message):
        decode_image(path, HEIGHT, WIDTH)
    with pytest.raises(UnreadableImageError, match=message):
        images_module.check_header(path)
    with Image.open(path) as image:
        (outcome,) = next(decoded_batches([image], HEIGHT, WIDTH, 1))
    assert "8,000 x 9,000" in str(outcome)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2**20)  # Pillow refuses even more by itself
    with pytest.raises(
        UnreadableImageError, match=r"bomb\.png: more than 67,108,864 pixels in all$"
    ):
        decode_image(path, HEIGHT, WIDTH)


def test_a_stream_is_read_only_a_little_ahead(tmp_path):
    (path,) = pictures(tmp_path / "images", 1)
    taken = []

    def endless():
        while True:
            taken.append(path)
            yield path

    stream = decoded_batches(endless(), HEIGHT, WIDTH, batch_size=4, threads=2)
    for number in range(1, 4):
        assert len(next(stream)) == 4
        assert len(taken) == 4 * (number + LOOKAHEAD)
    stream.close()


def test_a_stream_keeps_its_order_and_tells_what_is_unreadable(tmp_path):
    paths = pictures(tmp_path / "images", 7)
    paths[2] = tmp_path / "missing.png"
    batches = list(decoded_batches(paths, HEIGHT, WIDTH, batch_size=3, threads=4))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    outcomes = [outcome for batch in batches for outcome in batch]
    for path, outcome in zip(paths, outcomes, strict=True):
        if path == paths[2]:
            assert isinstance(outcome, UnreadableImageError)
        else:
            assert np.array_equal(outcome, decode_image(path, HEIGHT, WIDTH))


def test_the_package_itself_imports_nothing_heavy():
    assert dccc_lightning.load_embedder is load_embedder
    assert "load_embedder" in dir(dccc_lightning)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dccc_lightning.nothing
    check = "import sys, dccc_lightning; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_what_a_run_leaves_can_be_loaded(finished):
    embedder = load_embedder(finished)
    assert embedder.origin.path == str(finished / "checkpoints" / "best.ckpt")
    best = json.loads((finished / "results.json").read_text())["best"]
    assert embedder.origin.network == best["network"]
    assert embedder.origin.dataset == "synthetic"
    assert (embedder.height, embedder.width, embedder.feature_dim) == (32, 16, 256)
