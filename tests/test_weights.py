import pickle
from urllib.error import URLError

import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dccc_lightning.errors import UserError
from dccc_lightning.losses import ClusterContrastLoss, SoftContrastiveLoss
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.models.weights import load_weights
from dccc_lightning.module import DCCCModule
from dccc_lightning.optimization import Optimization

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


@pytest.mark.parametrize(
    "prefix", ["", "module.", "backbone.", "base.", "encoder.", "module.base.", "student.backbone."]
)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "student"])
def test_names_of_other_repositories_are_understood(tmp_path, prefix, wrapper):
    state = {prefix + key: value for key, value in trunk_state().items()}
    state[f"{prefix}extra"] = torch.zeros(2)
    content = state if wrapper is None else {wrapper: state, "epoch": 3}
    embedder = small()
    report = load_weights(embedder, save(content, tmp_path / "w.pt"), "resnet10")
    assert same(embedder.backbone.state_dict(), trunk_state())
    assert report.unexpected == (f"{prefix}extra",)


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


def test_a_checkpoint_without_teacher_loads_too(tmp_path):
    student = small(7)
    memory = ClusterMemory(feature_dim=64, momentum=0.1, temperature=0.05, update="mean", tau_w=1.0)
    module = DCCCModule(student, memory, ClusterContrastLoss(), Optimization())
    checkpoint = {"state_dict": module.state_dict()}
    embedder = small(8)
    load_weights(embedder, save(checkpoint, tmp_path / "last.ckpt"), "resnet10")
    assert same(embedder.state_dict(), student.state_dict())


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
    assert "does not fit resnet10" in message
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
    assert "does not fit resnet18: missing backbone.layer1.1.conv1.weight" in message


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"state_dict": {}}, {"a": [1, 2]}])
def test_a_file_without_tensors_is_refused(tmp_path, content):
    assert "missing backbone.conv1.weight" in refusal(save(content, tmp_path / "w.pt"))


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), "weights"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    message = refusal(save(content, tmp_path / "w.pt"))
    assert f"holds a {type(content).__name__}, no state dict" in message


def test_a_missing_file_is_named(tmp_path):
    assert f"{tmp_path / 'w.pt'}: no such file" in refusal(tmp_path / "w.pt")
    assert "no such file" in refusal(tmp_path)  # a folder is no file


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
    assert "weights_only" not in message  # torch's own text advises to run the code
    assert not trace.exists()


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    state = {"conv1.weight": torch.zeros(2, 3), "n": {"m": torch.arange(3)}}
    torch.save(state, folder / "zip")
    torch.save(state, folder / "legacy", _use_new_zipfile_serialization=False)
    return [(folder / name).read_bytes() for name in ("zip", "legacy")]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_file_is_refused_in_one_line(archives, tmp_path, data):
    content = bytearray(data.draw(st.one_of(st.sampled_from(archives), st.binary(max_size=40))))
    positions = st.integers(0, max(len(content) - 1, 0))
    if content:
        for position in data.draw(st.lists(positions, max_size=20)):
            content[position] = data.draw(st.integers(0, 255))
    path = tmp_path / "w.pt"
    path.write_bytes(content[: data.draw(st.one_of(positions, st.just(len(content))))])
    refusal(path)  # whole or not: these tensors are no network


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(trunk_state(), path)
    path.write_bytes(path.read_bytes()[:-500])
    assert "not a file of tensors" in refusal(path)


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


def test_imagenet_has_no_resnet10():
    message = refusal("imagenet")
    assert "no ImageNet weights for resnet10" in message
    assert "model.weights=null" in message
