import argparse
import collections
import datetime
import enum
import functools
import gzip
import io
import logging
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path, PosixPath, PureWindowsPath
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file, save_model
from safetensors.torch import save as safetensors_bytes
from torch import nn

from dccc_lightning.errors import UserError
from dccc_lightning.losses import SoftContrastiveLoss
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.models.layout import Layout
from dccc_lightning.models.position_grid import PositionGrid, resize_positions
from dccc_lightning.models.state_files import read_state
from dccc_lightning.models.weights import WeightsReport, load_weights
from dccc_lightning.module import DCCCModule
from dccc_lightning.training.optimization import Optimization

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

NEW = ("neck.weight", "neck.bias", "neck.running_mean", "neck.running_var")


def small(seed=0, width=0.125):
    torch.manual_seed(seed)
    return build_embedder("resnet10", width=width, weights=None)


def trunk_state(seed=1):
    return {k: v + 0.5 if v.is_floating_point() else v + 3
            for k, v in small(seed).backbone.state_dict().items()}  # fmt: skip


def save(content, path):
    torch.save(content, path)
    return str(path)


def same(actual, expected):
    assert actual.keys() == expected.keys()
    return all(torch.equal(actual[key], expected[key]) for key in expected)


def refusal(source, embedder=None, backbone="resnet10"):
    """The one line that the user sees."""
    with pytest.raises(UserError) as caught:
        load_weights(embedder or small(), str(source), backbone)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith("model.weights=")
    return message


def test_a_file_of_torchvision_loads_without_its_classifier(tmp_path):
    torch.manual_seed(3)
    state = torchvision.models.resnet18().state_dict()
    embedder = build_embedder("resnet18", weights=None)
    report = load_weights(embedder, save(state, tmp_path / "resnet18.pth"), "resnet18")
    expected = {key: value for key, value in state.items() if not key.startswith("fc.")}
    assert same(embedder.backbone.state_dict(), expected)
    assert set(report.loaded) == {f"backbone.{key}" for key in expected}
    assert report.missing == NEW
    assert report.unexpected == ()  # a classifier head is no surprise
    assert report.misshapen == ()


def test_build_embedder_loads_what_it_is_told_to(tmp_path):
    path = save(trunk_state(), tmp_path / "weights.pt")
    embedder = build_embedder("resnet10", width=0.125, weights=path)
    assert same(embedder.backbone.state_dict(), trunk_state())


PREFIXES = (
    "", "module.", "backbone.", "base.", "encoder.", "model.", "net.", "module.base.",
    "student.backbone.", "embedder.backbone.", "module.encoder_q.",
)  # fmt: skip
WRAPPERS = ("state_dict", "model", "student", "teacher")


@pytest.mark.parametrize(
    ("prefix", "wrapper"),
    [(prefix, None) for prefix in PREFIXES] + [("module.", wrapper) for wrapper in WRAPPERS],
)
def test_names_of_other_repositories_are_understood(tmp_path, prefix, wrapper):
    state = {prefix + key: value for key, value in trunk_state().items()}
    content = state if wrapper is None else {wrapper: state, "epoch": 3}
    embedder = small()
    report = load_weights(embedder, save(content, tmp_path / "w.pt"), "resnet10")
    assert same(embedder.backbone.state_dict(), trunk_state())
    assert report.missing == NEW


def test_a_whole_embedder_loads_with_its_neck(tmp_path):
    source, embedder = small(5), small(6)
    source.neck.running_mean.fill_(0.25)
    report = load_weights(embedder, save(source.state_dict(), tmp_path / "w.pt"), "resnet10")
    assert same(embedder.state_dict(), source.state_dict())
    assert report.missing == ()


def test_the_student_of_a_checkpoint_is_taken_not_its_teacher(tmp_path):
    student = small(7)
    memory = ClusterMemory(feature_dim=64, momentum=0.1, temperature=0.05, update="mean", tau_w=1.0)
    memory.rebuild(torch.eye(64)[:4], torch.tensor([0, 0, 1, 1]))
    module = DCCCModule(student, memory, SoftContrastiveLoss(0.3), Optimization())
    with torch.no_grad():
        for parameter in module.teacher.parameters():
            parameter.fill_(9.0)
    state = module.state_dict()
    assert {"student.backbone.conv1.weight", "memory.centroids"} < set(state)
    assert any(key.startswith("teacher.") for key in state)
    # The teacher first: the order of the file must not matter.
    state = dict(sorted(state.items(), key=lambda item: not item[0].startswith("teacher.")))
    checkpoint = {"state_dict": state, "epoch": 2, "callbacks": {"a": {"b": 1.5}}}
    embedder = small(8)
    report = load_weights(embedder, save(checkpoint, tmp_path / "last.ckpt"), "resnet10")
    assert same(embedder.state_dict(), student.state_dict())
    assert report.missing == report.unexpected == report.misshapen == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(tmp_path, dtype):
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in trunk_state().items()}
    embedder = small()
    load_weights(embedder, save(state, tmp_path / "w.pt"), "resnet10")
    assert {v.dtype for v in embedder.state_dict().values()} == {torch.float32, torch.int64}
    assert torch.equal(embedder.backbone.conv1.weight, state["conv1.weight"].float())


def test_counters_of_batches_may_be_absent(tmp_path):
    state = {k: v for k, v in trunk_state().items() if not k.endswith("num_batches_tracked")}
    report = load_weights(small(), save(state, tmp_path / "w.pt"), "resnet10")
    assert report.missing == NEW


def test_a_wider_network_is_refused_by_name_and_shape(tmp_path):
    path = save(small(width=0.25).state_dict(), tmp_path / "w.pt")
    message = refusal(path)
    assert "does not match resnet10" in message
    assert "backbone.conv1.weight: (16, 3, 7, 7), (8, 3, 7, 7)" in message
    assert len(message) < 600  # a few of the dozens
    assert "model.weights=null" in message


@pytest.mark.parametrize("prefix", ["", "module.backbone."])
def test_a_deeper_network_is_refused_although_all_of_ours_is_in_it(tmp_path, prefix):
    state = torchvision.models.resnet18().state_dict()
    path = save({prefix + key: value for key, value in state.items()}, tmp_path / "w.pt")
    message = refusal(path, build_embedder("resnet10", weights=None))
    assert f"not in the model {prefix}layer1.1.conv1.weight" in message


def test_a_shallower_network_is_refused_with_the_keys_it_lacks(tmp_path):
    path = save(build_embedder("resnet10", weights=None).state_dict(), tmp_path / "w.pt")
    message = refusal(path, build_embedder("resnet18", weights=None), "resnet18")
    assert "77 tensors fit; missing backbone.layer1.1.conv1" in message


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"state_dict": {}}, {"a": [1, 2]}])
def test_a_file_without_tensors_is_refused(tmp_path, content):
    assert "missing backbone.conv1.weight" in refusal(save(content, tmp_path / "w.pt"))


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), "weights"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    message = refusal(save(content, tmp_path / "w.pt"))
    assert f"contains a {type(content).__name__}, not a state dict" in message


def test_a_missing_file_is_named(tmp_path):
    assert f"{tmp_path / 'w.pt'}: no such file" in refusal(tmp_path / "w.pt")
    assert "no such file" in refusal(tmp_path / ("long" * 100))


def test_of_a_folder_the_file_to_give_is_named(tmp_path):
    assert f"model.weights={tmp_path}: a folder without a file" in refusal(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    save(trunk_state(), tmp_path / "checkpoints" / "best.ckpt")
    named = refusal(tmp_path).rpartition("such as ")[2]
    assert load_weights(small(), named, "resnet10").missing == NEW


class Config(dict):
    """A dictionary of another make, as configuration packages have them."""


class Names(list):
    """A list of another make."""


Color = enum.Enum("Color", ["RED"])


class Member:
    """A member of an enumeration, as Python 3.11.2 pickles it."""

    def __reduce__(self):
        return getattr, (Color, "RED")


EXTRAS = {
    "array": np.array([0.5, 0.6]),
    "long": np.zeros(2, dtype=np.longdouble),
    "letters": np.array(["a", "b"]),
    "objects": np.array([1, None], dtype=object),
    "structured": np.zeros(2, dtype=[("x", "f4")]),
    "masked": np.ma.array([1, 2]),
    "number": np.float64(0.83),
    "type": np.dtype("f4"),
    "generator": np.random.default_rng(0),
    "omegaconf": OmegaConf.create({"lr": 1, "steps": [1, "${lr}"]}),
    "date": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    "history": collections.defaultdict(list, {"loss": [1.0]}),
    "nested": collections.defaultdict(dict),
    "queue": collections.deque([1, 2], maxlen=3),
    "path": PureWindowsPath("data"),
    "config": Config(lr=1),
    "names": Names(["a"]),
    "enum": {Color.RED: Color.RED},
    "member": Member(),
    "set": frozenset([1]),
    "partial": functools.partial(int, base=2),
    "optimizer": torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0),
    "module": torch.nn.Linear(2, 2),
}


@pytest.mark.parametrize(
    ("name", "legacy"),
    # A legacy file with a module holds the module's source, and is refused below.
    [
        (name, legacy)
        for name in EXTRAS
        for legacy in (False, True)
        if not (name == "module" and legacy)
    ],
)
def test_other_objects_are_left_out_beside_the_tensors(tmp_path, name, legacy):
    path, embedder = tmp_path / "w.pth", small()
    content = {"state_dict": trunk_state(), "extra": EXTRAS[name]}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    load_weights(embedder, str(path), "resnet10")
    assert same(embedder.backbone.state_dict(), trunk_state())


def test_of_objects_that_are_left_out_one_line_tells(tmp_path, caplog):
    content = {"state_dict": trunk_state(), "hyper_parameters": EXTRAS["omegaconf"]}
    with caplog.at_level(logging.INFO):
        load_weights(small(), save(content, tmp_path / "w.ckpt"), "resnet10")
    assert "ignored, not tensors: omegaconf.dictconfig.DictConfig" in caplog.text


@pytest.mark.parametrize("make", [dict, Config, OrderedDict])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("bytes_first", [">", "<"])
def test_arrays_are_weights_too(tmp_path, make, order, bytes_first):
    arrays = {}
    for key, value in trunk_state().items():
        array = value.numpy()
        kind = array.dtype.newbyteorder(bytes_first)
        arrays[key] = np.asarray(array, dtype=kind, order=order) if array.ndim else array
    embedder = small()
    path = save(make(state_dict=make(arrays)), tmp_path / "w.pth")
    load_weights(embedder, path, "resnet10")
    assert same(embedder.backbone.state_dict(), trunk_state())


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "i4", "i8", "f2", "f4", "f8"])
def test_arrays_keep_their_values(tmp_path, dtype):
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype=dtype)
    tensor = read_state(Path(save({"a": array}, tmp_path / "w.pt"))).tensors["a"]
    assert tensor.numpy().dtype == array.dtype
    np.testing.assert_array_equal(tensor.numpy(), array)


def test_a_whole_module_is_named(tmp_path):
    path = tmp_path / "w.pt"
    for content in (torch.nn.Linear(2, 2), {"model": torch.nn.Linear(2, 2), "epoch": 1}):
        for legacy in (False, True):
            torch.save(content, path, _use_new_zipfile_serialization=not legacy)
            message = refusal(path)
            assert "torch.nn.modules.linear.Linear" in message
            assert "torch.save(model.state_dict(), FILE)" in message


def archive(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name in names:
            file.writestr(name, b"content")
    return stream.getvalue()


def unknown_compression(name):
    content = archive(name)
    for head, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):  # of the file, of the directory
        at = content.index(head) + place
        content = content[:at] + (99).to_bytes(2, "little") + content[at + 2 :]
    return content


def tar():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        file.addfile(tarfile.TarInfo("weights.pth"))
    return stream.getvalue()


def saved(write):
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


STATE = {"conv1.weight": torch.zeros(40, 30)}
OTHER_FILES = {
    "an HTML page, not weights": b"<!DOCTYPE html><title>Virus scan warning</title>",
    "an HTML page, not": b"\xef\xbb\xbf\n <HTML><head>",
    "an XML page": b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n",
    "an empty file": b"",
    "JSON text, not weights": b'{"a": 1}',
    "JSON text that lists": b'{"metadata": {}, "weight_map": {}}',
    "JSON text": b'[{"a":1{',
    "text file, not weights: 'Zu viele Zugriffe'": b"Zu viele Zugriffe\nheute",
    "gzip archive": gzip.compress(b"weights"),
    "tar archive": tar(),
    "ZIP archive of a/weights.pth": archive("a/weights.pth"),
    "TorchScript archive": saved(lambda s: torch.jit.save(torch.jit.script(nn.ReLU()), s)),
    "is missing, or it is damaged": unknown_compression("a/data.pkl"),
    "arrays of NumPy": saved(lambda s: np.savez(s, a=np.zeros(2))),
    "an array of NumPy": saved(lambda s: np.save(s, np.zeros(2))),
    "torch.save did not write": pickle.dumps({"a": np.zeros(2)}),
    "pickle protocol 4": saved(lambda s: torch.save(STATE, s, pickle_protocol=4)),
    "its end is missing": saved(lambda s: torch.save(STATE, s))[:-400],
    "end is missing": saved(lambda s: torch.save(STATE, s, _use_new_zipfile_serialization=False))[
        :-400
    ],
    "missing, or it is damaged": safetensors_bytes(STATE)[:-100],
    "written neither by": bytes(600),
}


@pytest.mark.parametrize("named", OTHER_FILES)
def test_a_file_of_another_kind_is_called_by_its_name(tmp_path, named):
    path = tmp_path / "w.pth"
    path.write_bytes(OTHER_FILES[named])
    message = refusal(path)
    assert named in message
    if named == "TorchScript archive":  # the remedy
        torch.save(torch.jit.load(path).state_dict(), path)
        assert read_state(path).tensors == {}


class Intruder:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("plain", [True, False], ids=["pickle", "torch"])
def test_a_file_of_arbitrary_objects_is_refused_and_never_run(tmp_path, plain):
    trace, path = tmp_path / "trace", tmp_path / "w.pt"
    content = {"conv1.weight": torch.zeros(2), "x": Intruder(str(trace))}
    path.write_bytes(pickle.dumps(content)) if plain else torch.save(content, path)
    message = refusal(path)
    assert "read safely" in message
    assert plain or "open" in message
    assert "weights_only" not in message  # torch's own text advises to run the code
    assert not trace.exists()


@pytest.fixture(scope="module")
def embedder():
    return small()


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    state = {"conv1.weight": torch.zeros(2, 3), "n": {"m": torch.arange(3)}}
    torch.save(state, folder / "zip")
    torch.save(state, folder / "legacy", _use_new_zipfile_serialization=False)
    return [(folder / name).read_bytes() for name in ("zip", "legacy")]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_file_is_refused_in_one_line(archives, embedder, tmp_path, data):
    content = bytearray(data.draw(st.one_of(st.sampled_from(archives), st.binary(max_size=40))))
    positions = st.integers(0, max(len(content) - 1, 0))
    if content:
        for position in data.draw(st.lists(positions, max_size=20)):
            content[position] = data.draw(st.integers(0, 255))
    path = tmp_path / "w.pt"
    path.write_bytes(content[: data.draw(st.one_of(positions, st.just(len(content))))])
    refusal(path, embedder)  # whole or not: these tensors are no network


MAPPINGS = st.recursive(
    st.one_of(
        st.none(),
        st.integers(),
        st.text(max_size=5),
        st.sampled_from([
            torch.zeros(()), torch.ones(2, 3), torch.full((8,), torch.nan), torch.zeros(0),
            torch.zeros(8, 3, 7, 7, dtype=torch.int8), torch.zeros(8, dtype=torch.complex64),
            torch.eye(3).to_sparse(), torch.zeros(8, 3, 7, 7, dtype=torch.bool),
            torch.zeros(8, device="meta"), torch.nn.Parameter(torch.ones(8)),
        ]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.one_of(
                st.integers(),
                st.text(max_size=5),
                st.sampled_from([
                    "state_dict", "model", "teacher", "student", "conv1.weight", "bn1.weight",
                    "module.conv1.weight", "base.0.weight", "layer1.0.bn1.running_mean",
                    "feat_bn.weight", "gap.p", "a\nb", "student.", "backbone.network.",
                ]),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=MAPPINGS)
def test_whatever_a_file_holds_it_is_refused_in_one_line(embedder, tmp_path, content):
    before = {key: value.clone() for key, value in embedder.state_dict().items()}
    refusal(save(content, tmp_path / "w.pt"), embedder)
    assert same(embedder.state_dict(), before)  # nothing half done


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_safetensors_file_is_refused_in_one_line(embedder, tmp_path, data):
    path = tmp_path / "w.safetensors"
    save_file({"conv1.weight": torch.zeros(2, 3), "bn1.weight": torch.ones(4)}, path)
    content = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    refusal(path, embedder)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_safetensors_are_known_by_their_content(tmp_path, name):
    state = {key: value.contiguous() for key, value in trunk_state().items()}
    save_file(state, tmp_path / name, metadata={"format": "pt"})
    embedder = small()
    load_weights(embedder, str(tmp_path / name), "resnet10")
    assert same(embedder.backbone.state_dict(), trunk_state())


class Tied(nn.Module):
    """Network whose two layers have one weight."""

    def __init__(self, tied=True):
        super().__init__()
        self.first, self.second = nn.Linear(24, 24), nn.Linear(24, 24)
        if tied:
            self.second.weight = self.first.weight

    def forward(self, images):
        return self.second(self.first(images.flatten(1)))


def test_of_tied_tensors_a_file_has_one_name(tmp_path):
    """safetensors refuses to write both names, and its save_model leaves one out."""

    def embedder(tied=True):
        torch.manual_seed(int(tied))
        return build_embedder(Tied(tied), weights=None, image_size=(4, 2))

    source, path = embedder().backbone, tmp_path / "tied.safetensors"
    with pytest.raises(RuntimeError, match="share memory"):
        save_file(source.state_dict(), path)
    save_model(source, str(path))
    assert len(load_file(path)) == 3
    torch.manual_seed(9)
    ours = build_embedder(Tied(), weights=None, image_size=(4, 2))
    report = load_weights(ours, str(path), "Tied")
    assert same(ours.backbone.state_dict(), source.state_dict())
    assert report.missing == NEW
    message = refusal(path, embedder(tied=False), "Tied")  # a class without the tie
    assert "missing backbone.network." in message
    apart = save(embedder(tied=False).backbone.state_dict(), tmp_path / "apart.pt")
    message = refusal(apart, ours, "Tied")
    assert "network.second.weight are one tensor of the network, two of the file" in message


def test_a_checkpoint_of_cluster_contrast_and_its_kin(tmp_path):
    """A ResNet as a numbered sequence, a neck of another name, a best mAP of NumPy's kind."""
    numbers = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    state = OrderedDict()
    for key, value in trunk_state().items():
        stage, rest = key.split(".", 1)
        state[f"module.base.{numbers[stage]}.{rest}"] = value
    neck = {"weight": 2.0, "bias": 0.0, "running_mean": 0.5, "running_var": 3.0}
    state |= {f"module.feat_bn.{key}": torch.full((64,), value) for key, value in neck.items()}
    state["module.gap.p"] = torch.tensor([4.5])
    content = {"state_dict": state, "epoch": 50, "best_mAP": np.float64(0.83),
               "args": argparse.Namespace(lr=3.5e-4, data=PosixPath("/data"))}  # fmt: skip
    embedder = build_embedder("resnet10", width=0.125, weights=None, pooling="gem")
    report = load_weights(embedder, save(content, tmp_path / "model_best.pth.tar"), "resnet10")
    assert same(embedder.backbone.state_dict(), trunk_state())
    assert embedder.neck.running_var.tolist() == [3.0] * 64
    assert embedder.pooling.p.item() == 4.5
    assert embedder.pooling.p.shape == ()
    assert report.missing == report.unexpected == report.misshapen == ()


def test_a_deeper_numbered_sequence_is_refused(tmp_path):
    state = {f"backbone.{key}": value for key, value in trunk_state().items()}
    state["base.4.7.conv1.weight"] = torch.zeros(3)
    message = refusal(save(state, tmp_path / "w.pt"))
    assert "not in the model base.4.7.conv1.weight" in message


def test_the_neck_of_transreid_is_our_neck(tmp_path):
    state = {f"base.{key}": value for key, value in trunk_state().items()}
    state |= {"bottleneck.weight": torch.full((64,), 2.0), "classifier.weight": torch.zeros(9, 64)}
    embedder = small()
    report = load_weights(embedder, save(state, tmp_path / "w.pth"), "resnet10")
    assert embedder.neck.weight.tolist() == [2.0] * 64
    assert report.missing == NEW[1:]
    assert report.unexpected == ()


def test_of_moco_the_query_encoder_is_taken(tmp_path):
    state = {f"module.encoder_q.{key}": value for key, value in trunk_state().items()}
    state |= {f"module.encoder_k.{key}": value + 1 for key, value in trunk_state().items()}
    state |= {"module.encoder_q.fc.0.weight": torch.zeros(3), "module.queue": torch.zeros(4)}
    embedder = small()
    report = load_weights(embedder, save({"state_dict": state}, tmp_path / "w.pth"), "resnet10")
    assert same(embedder.backbone.state_dict(), trunk_state())
    assert report.unexpected == ()


def vit(image_size=(64, 32), name="vit_small"):
    torch.manual_seed(4)
    return build_embedder(name, weights=None, image_size=image_size)


def published(trunk):
    """A checkpoint of DINO as TransReID-SSL saves it: the teacher's tensors have 1.0 added."""
    state = {key: value.clone() for key, value in trunk.state_dict().items()}
    head = {"head.mlp.0.weight": torch.zeros(2), "head.last_layer.weight_v": torch.zeros(2)}
    return {
        "student": {f"module.backbone.{key}": value for key, value in state.items()} | head,
        "teacher": {f"backbone.{key}": value + 1 for key, value in state.items()} | head,
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_small", patch_size=16),
        "dino_loss": OrderedDict(center=torch.zeros(1, 3)),
    }


@pytest.mark.parametrize("name", ["vit_small", "vit_small_ics"])
def test_a_checkpoint_of_dino_fills_a_transformer_with_its_teacher(tmp_path, name):
    source = vit(name=name)
    embedder = vit(name=name)
    report = load_weights(
        embedder, save(published(source.backbone), tmp_path / "checkpoint.pth"), name
    )
    expected = {key: value + 1 for key, value in source.backbone.state_dict().items()}
    assert same(embedder.backbone.state_dict(), expected)
    assert report.resized == report.unexpected == ()
    assert report.missing == NEW


@pytest.mark.parametrize("wrapped", ["vit_small", "timm/vit_tiny_patch16_224"])
def test_position_embeddings_of_another_grid_are_resized(tmp_path, wrapped):
    if wrapped.startswith("timm/"):
        pytest.importorskip("timm")
    torch.manual_seed(4)
    source = build_embedder(wrapped, weights=None, image_size=(96, 96)).backbone
    state = source.network.state_dict() if wrapped.startswith("timm/") else source.state_dict()
    embedder = build_embedder(wrapped, weights=None, image_size=(64, 32))
    report = load_weights(embedder, save(state, tmp_path / "w.pt"), wrapped)
    (name,) = report.resized
    assert name.endswith(".pos_embed")
    expected = resize_positions(state["pos_embed"], PositionGrid(4, 2, prefix=1))
    assert torch.equal(embedder.state_dict()[name], expected)
    assert f"1 resized ({name})" in str(report)
    state["pos_embed"] = torch.zeros(1, 8, state["pos_embed"].shape[2])
    message = refusal(save(state, tmp_path / "w.pt"), embedder, wrapped)
    assert f"other shapes {name}: (1, 8, " in message


def test_as_many_patches_are_not_the_same_grid(tmp_path, caplog):
    torch.manual_seed(5)
    source, embedder = vit((64, 32)), vit((32, 64))  # 4 x 2 patches, 2 x 4 patches
    state = {f"student.{name}": value for name, value in source.state_dict().items()}
    described = {"format": 1, "image": {"height": 64, "width": 32}}
    path = save({"state_dict": state, "dccc_lightning": described}, tmp_path / "own.ckpt")
    (name,) = load_weights(embedder, path, "vit_small").resized
    theirs = source.state_dict()[name]
    expected = resize_positions(theirs, PositionGrid(2, 4, prefix=1))
    assert torch.equal(embedder.state_dict()[name], expected)
    assert not torch.equal(expected, theirs)
    assert not load_weights(vit((64, 32)), path, "vit_small").resized
    assert "patches" not in caplog.text
    path = save(source.backbone.state_dict(), tmp_path / "foreign.pt")  # which says no size
    assert not load_weights(embedder, path, "vit_small").resized
    assert "taken as 2 x 4 patches; if the file is for images of 4 x 2 patches" in caplog.text


def test_a_transformer_with_another_stem_is_refused(tmp_path):
    path = save(vit(name="vit_small_ics").backbone.state_dict(), tmp_path / "w.pt")
    message = refusal(path, vit(), "vit_small")
    assert "patch_embed.proj.weight: (384, 64, 8, 8), (384, 3, 16, 16)" in message
    assert "not in the model patch_embed.conv.0.weight" in message


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, bad):
    state = trunk_state()
    state["layer2.0.bn1.bias"][3] = bad
    message = refusal(save(state, tmp_path / "w.pt"))
    assert "not finite: backbone.layer2.0.bn1.bias" in message


def test_integers_are_no_weights(tmp_path):
    state = {key: value.to(torch.int8) for key, value in trunk_state().items()}
    message = refusal(save(state, tmp_path / "w.pt"))
    assert "backbone.conv1.weight: torch.int8, torch.float32" in message


def test_names_with_line_breaks_do_not_break_the_line(tmp_path):
    assert "no such file" in refusal("/no\nwhere")
    assert "no such file" in refusal("x" * 5000)
    message = refusal(save({"conv1.weight\n" * 50: torch.zeros(2)}, tmp_path / "w.pt"))
    assert len(message) < 600


def test_the_report_is_one_line_of_counts_and_a_few_names(tmp_path, caplog):
    state = trunk_state() | {"neck.weight": torch.ones(64)}
    state |= {f"extra{i}": torch.zeros(1) for i in range(9)}
    path = save(state, tmp_path / "w.pt")
    with caplog.at_level(logging.INFO):
        report = load_weights(small(), path, "resnet10", dialect="none")
    count = len(trunk_state()) + 1
    line = (
        f"no known family; {count} tensors loaded, "
        "3 new (neck.bias, neck.running_mean, neck.running_var), "
        "9 unused (extra0, extra1, extra2, extra3 and 5 more)"
    )
    assert str(report) == line
    assert [record.getMessage() for record in caplog.records] == [
        f"weights {path} for resnet10: {line}"
    ]
    with pytest.raises(AttributeError):
        report.loaded = ()
    assert str(WeightsReport(("a",), (), (), ())) == "1 tensors loaded"


REAL = Path(os.environ.get("DCCC_WEIGHTS_DIR", "")) / "mobilenet_v2_imagenet.pth"


@pytest.mark.skipif(
    not os.environ.get("DCCC_WEIGHTS_DIR") or not REAL.is_file(), reason="no real weights here"
)
def test_a_real_file_of_imagenet_weights():
    embedder = build_embedder("mobilenet_v2", weights=str(REAL)).eval()
    state = {k: v.float() for k, v in torch.load(REAL, weights_only=True).items()}
    reference = torchvision.models.mobilenet_v2()
    reference.load_state_dict(state)
    reference.eval()
    reference.features[14].conv[1][0].stride = (1, 1)  # the one difference
    x = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = embedder.backbone(x)
        np.testing.assert_allclose(maps, reference.features(x), rtol=1e-3, atol=1e-3)
        spread = embedder.pool(x).std(dim=1)
    assert (spread > 0.1).all()  # trained features: random ones are all but equal


IMAGENET = type(torchvision.models.get_model_weights("resnet18")["IMAGENET1K_V1"])


def test_the_weights_of_imagenet_are_torchvisions_first_version(monkeypatch):
    state = torchvision.models.resnet18().state_dict()
    asked = []

    def get_state_dict(weights, *args, **kwargs):
        asked.append((str(weights), kwargs))
        return state

    monkeypatch.setattr(IMAGENET, "get_state_dict", get_state_dict)
    embedder = build_embedder("resnet18", weights="imagenet")
    assert torch.equal(embedder.backbone.conv1.weight, state["conv1.weight"])
    assert asked == [("ResNet18_Weights.IMAGENET1K_V1", {"progress": True, "check_hash": True})]


@pytest.mark.parametrize(
    "error",
    [
        URLError("no route to host"),
        TimeoutError("timed out"),
        RuntimeError('invalid hash value (expected "f37072fd", got "0")\nmore'),
        EOFError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_without_network_the_file_to_download_is_named(monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(IMAGENET, "get_state_dict", fail)
    message = refusal("imagenet", build_embedder("resnet18", weights=None), "resnet18")
    assert "resnet18-f37072fd.pth" in message
    assert "model.weights=PATH" in message
    assert (str(error).splitlines() or ["EOFError"])[0] in message


def test_the_weights_of_ibn_net_come_from_its_release(monkeypatch):
    embedder = build_embedder("resnet50_ibn_a", weights=None)
    state = {k: v + 1 for k, v in embedder.backbone.state_dict().items() if "num_" not in k}
    asked = []

    def download(url, **options):
        asked.append((url, options))
        return state

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    report = load_weights(embedder, "imagenet", "resnet50_ibn_a")
    assert report.missing == NEW
    assert torch.equal(embedder.backbone.bn1.weight, state["bn1.weight"])
    ((url, options),) = asked
    assert url.endswith("/XingangPan/IBN-Net/releases/download/v1.0/resnet50_ibn_a-d9d0bb7b.pth")
    assert options == {"map_location": "cpu", "check_hash": True, "weights_only": True}
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    message = refusal("imagenet", embedder, "resnet50_ibn_a")
    assert "download resnet50_ibn_a-d9d0bb7b.pth on another" in message


def test_the_weights_of_timm_are_asked_of_timm(monkeypatch, caplog):
    timm = pytest.importorskip("timm")
    name = "timm/mobilenetv3_small_050"
    embedder = build_embedder(name, weights=None, image_size=(64, 32))
    create, asked = timm.create_model, []

    def pretrained(architecture, pretrained=False, **options):
        asked.append((architecture, pretrained))
        torch.manual_seed(8)
        return create(architecture, **options)

    monkeypatch.setattr(timm, "create_model", pretrained)
    report = load_weights(embedder, "imagenet", name)
    assert asked == [("mobilenetv3_small_050", True)]
    assert report.missing == NEW
    torch.manual_seed(8)
    expected = create("mobilenetv3_small_050", num_classes=0).state_dict()
    assert same(embedder.backbone.network.state_dict(), expected)
    assert "normalised" not in caplog.text

    def settings(*statistics):
        found = SimpleNamespace(
            mean=statistics[0], std=statistics[1], input_size=(3, 9, 9), notes=()
        )
        monkeypatch.setattr(timm.models, "get_pretrained_cfg", lambda name: found)

    settings((0.5,) * 3, (0.5,) * 3)
    load_weights(embedder, "imagenet", name)
    assert embedder.layout == Layout(normalization="half")
    embedder.arrange(Layout())
    settings((0.4,) * 3, (0.5,) * 3)
    load_weights(embedder, "imagenet", name)
    assert embedder.layout == Layout()
    assert "mobilenetv3_small_050 was trained on images normalised by the mean (0.4" in caplog.text

    def offline(*args, **options):
        raise OSError("no route to the hub\nmore")

    monkeypatch.setattr(timm, "create_model", offline)
    assert "(no route to the hub); download timm/mobilenetv3_small_050" in refusal(
        "imagenet", embedder, name
    )


def test_imagenet_has_no_resnet10():
    message = refusal("imagenet")
    assert "no ImageNet weights for resnet10" in message
    assert "model.weights=null" in message
