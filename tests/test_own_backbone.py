"""A backbone of the user's own: embedded, loaded from checkpoints, and refused in one line."""

import copy

import pytest
import torch
from torch import nn

from dccc_lightning import build_embedder, load_embedder
from dccc_lightning.errors import UserError
from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.catalog import check_embedder

SIZE = (16, 8)
CHANNELS = 6


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3, padding=1), nn.BatchNorm2d(CHANNELS), nn.ReLU()
    ).eval()


def vectorial() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 8, CHANNELS))


class Answer(nn.Module):
    """Return whatever it is given."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: torch.Tensor) -> object:
        return self.answer(images) if callable(self.answer) else self.answer


@pytest.mark.parametrize("make", [convolutional, vectorial])
def test_a_module_that_returns_a_map_or_a_vector_is_embedded(make) -> None:
    module = make()
    before = copy.deepcopy(module.state_dict())
    embedder = build_embedder(module, weights=None, bn_group_size=4, image_size=SIZE)
    images = torch.randn(4, 3, *SIZE)
    expected = make().eval()(images)
    expected = expected.mean(dim=(2, 3)) if expected.dim() == 4 else expected
    neck = torch.nn.functional.normalize(expected / (1 + 1e-5) ** 0.5)
    torch.testing.assert_close(embedder.eval()(images), neck, rtol=1e-5, atol=1e-6)
    assert embedder.feature_dim == CHANNELS
    embedder.train()(images)
    for name, value in module.state_dict().items():  # copied: the user's own does not change
        assert torch.equal(value, before[name])


def test_its_batch_norms_work_in_groups() -> None:
    embedder = build_embedder(convolutional(), weights=None, bn_group_size=4, image_size=SIZE)
    layers = [m for m in embedder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert [type(layer) for layer in layers] == [GroupedBatchNorm] * 2
    assert all(layer.training for layer in layers)  # though the module came in eval mode
    alone = build_embedder(nn.BatchNorm2d(3), weights=None, image_size=SIZE)
    assert isinstance(alone.backbone.network, GroupedBatchNorm)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: (x,), "it must return a tensor, got tuple"),
        (lambda x: x.flatten(2), r"must return \(B, D, h, w\) or \(B, D\), got \(2, 3, 128\)"),
        (lambda x: x.mean(dim=0), "must return"),
        (lambda x: x[:1], "must return"),
        (lambda x: x @ torch.zeros(1), "backbone Answer cannot be used on images of 16 x 8"),
    ],
)
def test_a_module_that_returns_something_else_is_refused(answer, message) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build_embedder(Answer(answer), weights=None, image_size=SIZE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "imagenet"}, "weights must be a file for a custom backbone"),
        ({"weights": None, "width": 0.5}, "width must be 1"),
        ({"weights": None, "pooling": "gem"}, "pooling must be avg"),
        ({"weights": None, "bn_group_size": 0}, "bn_group_size"),
        ({"weights": None, "image_size": (0, 8)}, "image_size"),
    ],
)
def test_settings_that_it_cannot_have_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        build_embedder(vectorial(), **({"image_size": SIZE} | settings))


def test_the_settings_of_a_module_are_checked_before_it_is_built() -> None:
    settings = {"_target_": "my_parts.Net"}
    assert check_embedder(settings, weights=None, image_size=SIZE) == SIZE
    with pytest.raises(ValueError, match="weights must be a file"):
        check_embedder(settings)


def checkpoint(path, embedder, **changes):
    described = {
        "format": 1, "version": "9.9", "model": dict(embedder.architecture) | changes,
        "image": {"height": SIZE[0], "width": SIZE[1]}, "dataset": "shop",
    }  # fmt: skip
    state = {f"student.{name}": value for name, value in embedder.state_dict().items()}
    torch.save({"state_dict": state, "dccc_lightning": described}, path)
    return path


def test_a_checkpoint_is_loaded_with_a_module_of_the_same_architecture(tmp_path) -> None:
    embedder = build_embedder(convolutional(), weights=None, bn_group_size=4, image_size=SIZE)
    with torch.no_grad():
        embedder.backbone.network[0].weight.mul_(2)
    path = checkpoint(tmp_path / "a.ckpt", embedder)
    module = convolutional()
    loaded = load_embedder(path, backbone=module, device="cpu")
    images = torch.randn(3, 3, *SIZE)
    assert torch.equal(loaded.network(images), embedder.eval()(images))
    assert torch.equal(module[0].weight, convolutional()[0].weight)


@pytest.mark.parametrize(
    ("module", "changes", "message"),
    [
        (None, {}, r"its backbone is a custom module, torch\.nn\S+Sequential; load it with"),
        (vectorial, {}, "its tensors do not match its settings"),
        (convolutional, {"backbone": "resnet10"}, "its backbone is resnet10; leave backbone out"),
    ],
)
def test_a_checkpoint_without_the_right_module_is_refused(
    tmp_path, module, changes, message
) -> None:
    embedder = build_embedder(convolutional(), weights=None, image_size=SIZE)
    path = checkpoint(tmp_path / "a.ckpt", embedder, **changes)
    with pytest.raises(UserError, match=message) as caught:
        load_embedder(path, backbone=module and module())
    assert "\n" not in str(caught.value)
