import math

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from dccc_lightning.models.backbones import BACKBONES, build_backbone
from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.embedder import Embedder, build_embedder
from dccc_lightning.models.pooling import GeneralizedMean, GlobalAverage, build_pooling

WIDTHS = {"resnet10": 512, "resnet18": 512, "resnet34": 512, "resnet50": 2048, "resnet101": 2048}
TORCHVISION = [name for name in BACKBONES if name != "resnet10"]


def images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small_embedder(**settings):
    torch.manual_seed(0)
    defaults = {"backbone": "resnet10", "width": 0.25, "weights": None, "bn_group_size": 4}
    return build_embedder(**(defaults | settings))


def randomise_statistics(network):
    """Give batch norm something to do in eval mode."""
    torch.manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.5)


def test_every_backbone_is_covered_here():
    assert set(WIDTHS) == set(BACKBONES)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_last_map_of_an_image_of_256_by_128_has_16_by_8_positions(name):
    with torch.device("meta"):  # shapes alone: no arithmetic
        trunk = build_backbone(name).eval()
        maps = trunk(torch.empty(2, 3, 256, 128))
    assert trunk.out_channels == WIDTHS[name]
    assert maps.shape == (2, WIDTHS[name], 16, 8)


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_state_is_torchvisions_without_the_classifier(name):
    with torch.device("meta"):
        state = build_backbone(name).state_dict()
        reference = getattr(torchvision.models, name)().state_dict()
    expected = {key: v.shape for key, v in reference.items() if not key.startswith("fc.")}
    assert {key: value.shape for key, value in state.items()} == expected


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_computation_is_torchvisions_up_to_the_last_stride(name):
    torch.manual_seed(0)
    reference = getattr(torchvision.models, name)().eval()
    randomise_statistics(reference)
    trunk = build_backbone(name).eval()
    trunk.load_state_dict(reference.state_dict(), strict=False)
    taken = {}
    for network, label in ((reference, "torchvision"), (trunk, "ours")):
        network.layer3.register_forward_hook(lambda *a, at=label: taken.update({at: a[2]}))
    with torch.no_grad():
        x = images(2, 3, 64, 32)
        reference(x)
        maps = trunk(x)
        assert torch.equal(taken["ours"], taken["torchvision"])
        for layer in reference.layer4.modules():
            if isinstance(layer, nn.Conv2d):
                layer.stride = (1, 1)
        assert torch.equal(maps, reference.layer4(taken["torchvision"]))
    assert maps.shape[2:] == (4, 2)


@pytest.mark.parametrize(("name", "group_size"), [("resnet10", 16), ("resnet50", 64)])
def test_every_batch_norm_works_in_groups_of_the_size_asked_for(name, group_size):
    with torch.device("meta"):
        embedder = build_embedder(name, weights=None, bn_group_size=group_size)
    norms = [m for m in embedder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert all(isinstance(layer, GroupedBatchNorm) for layer in norms)
    assert {layer.group_size for layer in norms} == {group_size}
    assert embedder.neck in norms
    assert len(norms) == {"resnet10": 1 + 8 + 3, "resnet50": 1 + 48 + 4}[name] + 1


def test_groups_do_not_see_each_other_in_train_mode():
    embedder = small_embedder()
    x = images(8, 3, 32, 16)
    together = embedder(x)
    apart = torch.cat([embedder(x[:4]), embedder(x[4:])])
    np.testing.assert_allclose(together.detach(), apart.detach(), rtol=1e-4, atol=1e-5)


def test_resnet10_at_half_width():
    embedder = build_embedder("resnet10", width=0.5, weights=None)
    assert embedder.feature_dim == 256
    channels = (32, 64, 128, 256)
    expected = 3 * 32 * 7 * 7 + 2 * 32
    for before, after in zip((32, *channels), channels, strict=False):
        expected += 9 * before * after + 2 * after + 9 * after * after + 2 * after
        expected += before * after + 2 * after if before != after else 0
    expected += 2 * 256  # the neck
    assert sum(p.numel() for p in embedder.parameters()) == expected
    deviation = embedder.backbone.layer4[0].conv2.weight.std().item()
    assert deviation == pytest.approx(math.sqrt(2 / (9 * 256)), rel=0.02)  # Kaiming, fan out
    assert embedder.eval()(images(2, 3, 64, 32)).shape == (2, 256)


def test_impossible_backbones_are_refused():
    with pytest.raises(ValueError, match=r"backbone must be one of .*resnet50.*'resnet51'"):
        build_backbone("resnet51")
    with pytest.raises(ValueError, match=r"width must be 1 for resnet50, got 0\.5"):
        build_backbone("resnet50", width=0.5)
    for width in (0, 0.001, -1, 5, math.nan):
        with pytest.raises(ValueError, match="width"):
            build_backbone("resnet18", width=width)
    with pytest.raises(ValueError, match="group_size"):
        build_backbone("resnet10", bn_group_size=0)


def test_gem_follows_its_formula():
    maps = images(2, 3, 4, 2).abs() + 0.1
    for p in (1.0, 2.5, 3.0, 8.0):
        pooled = GeneralizedMean(p)(maps)
        for b in range(2):
            for d in range(3):
                values = [v**p for v in maps[b, d].flatten().tolist()]
                expected = (sum(values) / len(values)) ** (1 / p)
                assert pooled[b, d].item() == pytest.approx(expected, rel=1e-5)


def test_gem_lies_between_average_and_maximum_and_learns_its_power():
    maps = images(3, 5, 4, 2).relu()  # zeros too, as after a ReLU
    average, pooling = GlobalAverage()(maps), GeneralizedMean()
    np.testing.assert_allclose(average, maps.mean(dim=(2, 3)), rtol=1e-6)
    np.testing.assert_allclose(GeneralizedMean(1.0)(maps).detach(), average, rtol=1e-4, atol=1e-6)
    pooled = pooling(maps)
    assert (pooled >= average).all()
    assert (pooled <= maps.amax(dim=(2, 3)) + 1e-5).all()
    pooled.sum().backward()
    assert pooling.p.item() == 3.0
    assert torch.isfinite(pooling.p.grad)
    assert pooling.p.grad > 0  # a larger p moves the result towards the maximum


def test_impossible_poolings_are_refused():
    with pytest.raises(ValueError, match="pooling must be one of avg, gem, got 'max'"):
        build_pooling("max")
    with pytest.raises(ValueError, match="p must be in"):
        GeneralizedMean(0.5)
    assert isinstance(build_embedder("resnet10", pooling="gem", weights=None).pooling,
                      GeneralizedMean)  # fmt: skip


@pytest.mark.parametrize("pooling", ["avg", "gem"])
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_embeddings_are_float32_of_length_one(pooling, autocast, training):
    embedder = small_embedder(pooling=pooling).train(training)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        embeddings = embedder(images(4, 3, 64, 32))
    assert embeddings.dtype == torch.float32
    assert embeddings.shape == (4, embedder.feature_dim)
    np.testing.assert_allclose(embeddings.detach().norm(dim=1), np.ones(4), rtol=1e-6)


def test_an_embedding_is_backbone_pooling_neck_and_length_one():
    embedder = small_embedder().eval()
    randomise_statistics(embedder)
    x = images(3, 3, 64, 32)
    pooled = embedder.backbone(x).mean(dim=(2, 3))
    np.testing.assert_allclose(embedder.pool(x).detach(), pooled.detach(), rtol=1e-5)
    neck = embedder.neck
    scaled = (pooled - neck.running_mean) / (neck.running_var + neck.eps).sqrt() * neck.weight
    expected = scaled / scaled.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(embedder(x).detach(), expected.detach(), rtol=1e-4, atol=1e-6)


def test_the_bias_of_the_neck_alone_is_frozen_at_zero():
    embedder = small_embedder()
    frozen = [name for name, p in embedder.named_parameters() if not p.requires_grad]
    assert frozen == ["neck.bias"]
    embedder(images(4, 3, 32, 16)).square().sum().backward()
    assert embedder.neck.bias.grad is None
    assert not embedder.neck.bias.any()


def test_an_embedder_takes_any_backbone():
    embedder = Embedder(nn.Conv2d(3, 7, 3), GlobalAverage(), feature_dim=7, bn_group_size=8)
    assert embedder.eval()(images(2, 3, 8, 8)).shape == (2, 7)
