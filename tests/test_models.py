import copy
import math
import sys

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.regnet import BlockParams

from dccc_lightning.errors import UserError
from dccc_lightning.models.backbones import build_backbone
from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.batchnorm_conversion import group_batch_norms
from dccc_lightning.models.catalog import BACKBONES, MOBILE, OSNETS, SWINS
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.models.instance_batchnorm import InstanceBatchNorm
from dccc_lightning.models.pooling import GeneralizedMean, GlobalAverage, build_pooling
from dccc_lightning.models.position_grid import PositionGrid, resize_positions

RESNETS = {"resnet10": 512, "resnet18": 512, "resnet34": 512}
TOKENS = {
    "vit_small": 384, "vit_base": 768, "vit_small_ics": 384, "vit_base_ics": 768,
    "vit_base_jpm": 5 * 768, "vit_small_pass": 2 * 384, "vit_base_pass": 2 * 768,
    "clip_vit_base": 768 + 512,
}  # fmt: skip
OURS = {"resnet10", "resnet50_ibn_a", "resnet101_ibn_a", *OSNETS, *SWINS, *TOKENS}
"""Networks that torchvision does not have."""

FAMILIES = {  # one of each; where the last reduction is, by torchvision's names
    "resnet18": ["layer4.0.conv1", "layer4.0.downsample.0"],
    "resnext50_32x4d": ["layer4.0.conv2", "layer4.0.downsample.0"],
    "mobilenet_v2": ["features.14.conv.1.0"],
    "mobilenet_v3_small": ["features.9.block.1.0"],
    "efficientnet_b0": ["features.6.0.block.1.0"],
    "regnet_y_400mf": ["trunk_output.block4.block4-0.proj.0", "trunk_output.block4.block4-0.f.b.0"],
}


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


def torchvisions(name):
    """The state of torchvision's network without its classifier."""
    state = torchvision.models.get_model(name, weights=None).state_dict()
    return {k: v for k, v in state.items() if not k.startswith(("fc.", "classifier."))}


def test_the_networks_that_people_ask_for_are_there():
    assert {"resnet50", "resnet152", "resnet50_ibn_a", "mobilenet_v2", "vit_small"} <= set(
        BACKBONES
    )
    assert len(set(BACKBONES)) == len(BACKBONES)
    assert {*OURS, *FAMILIES} <= set(BACKBONES)


def test_the_families_of_torchvision_are_complete():
    prefixes = ("mobilenet_", "efficientnet_", "regnet_")
    theirs = torchvision.models.list_models(module=torchvision.models)
    assert set(MOBILE) == {name for name in theirs if name.startswith(prefixes)}


SLOW = {*BACKBONES} - {*OURS, *FAMILIES, "resnet50"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in BACKBONES],
)
def test_the_last_map_of_an_image_of_256_by_128_has_16_by_8_positions_but_of_a_swin(
    name, monkeypatch
):
    # On the meta device there are shapes alone, no arithmetic; RegNets compute their widths.
    widths = BlockParams.from_init_params

    def on_cpu(*arguments, **options):
        with torch.device("cpu"):
            return widths(*arguments, **options)

    monkeypatch.setattr(BlockParams, "from_init_params", on_cpu)
    with torch.device("meta"):
        trunk = build_backbone(name).eval()
        maps = trunk(torch.empty(2, 3, 256, 128))
        state = {key: v.shape for key, v in trunk.state_dict().items()}
        if name not in OURS:  # and it loads torchvision's weights
            assert state == {key: v.shape for key, v in torchvisions(name).items()}
    strided = (8, 4) if name.startswith("solider") else (16, 8)
    positions = (1, 1) if name in TOKENS else strided
    assert maps.shape == (2, trunk.out_channels, *positions)
    assert trunk.ends_in_map == (name not in TOKENS)
    expected = TOKENS | RESNETS | {"mobilenet_v2": 1280, "resnet50": 2048, "resnet50_ibn_a": 2048}
    assert trunk.out_channels == expected.get(name, trunk.out_channels)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_computation_is_torchvisions_but_for_the_last_stride(name):
    torch.manual_seed(0)
    reference = torchvision.models.get_model(name, weights=None)
    drawn, following = copy.deepcopy(reference.state_dict()), torch.rand(1)
    randomise_statistics(reference)
    torch.manual_seed(0)
    trunk = build_backbone(name).eval()
    own = trunk.state_dict()
    if name.startswith("res"):  # built here, with torchvision's random weights
        assert torch.equal(torch.rand(1), following)
        assert all(torch.equal(value, drawn[key]) for key, value in own.items())
    trunk.load_state_dict({k: v for k, v in reference.state_dict().items() if k in own})
    for layer in FAMILIES[name]:
        assert reference.get_submodule(layer).stride == (2, 2)
        reference.get_submodule(layer).stride = (1, 1)
    body = reference.get_submodule(FAMILIES[name][0].split(".")[0])
    taken = []
    body.register_forward_hook(lambda *args: taken.append(args[2]))
    x = images(2, 3, 64, 32)
    with torch.no_grad():
        reference.eval()(x)
        assert torch.equal(trunk(x), taken[0])
    assert taken[0].shape[2:] == (4, 2)


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v2", "vit_small_ics"])
def test_nothing_is_random_in_train_mode(name):
    trunk = build_backbone(name, image_size=(32, 32), bn_group_size=4).train()
    x = images(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(trunk(x), trunk(x))


def instance_norm(x, weight, bias, eps=1e-5):
    """Image by image and channel by channel."""
    out = torch.empty_like(x)
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            values = x[b, c]
            deviation = (values.var(correction=0) + eps).sqrt()
            out[b, c] = (values - values.mean()) / deviation * weight[c] + bias[c]
    return out


@pytest.mark.parametrize("channels", [4, 5])
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_ibn_is_instance_norm_on_one_half_and_grouped_batch_norm_on_the_other(channels, order):
    layer = InstanceBatchNorm(channels, group_size=3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(0.5, 2)
    x = (3 + 2 * images(6, channels, 4, 2)).contiguous(memory_format=order)
    batch = GroupedBatchNorm(channels - 2, group_size=3)
    batch.load_state_dict(layer.BN.state_dict())
    expected = torch.cat(
        (instance_norm(x[:, :2], layer.IN.weight, layer.IN.bias), batch(x[:, 2:])), 1
    )
    output = layer(x)
    np.testing.assert_allclose(output.detach(), expected.detach(), rtol=1e-4, atol=1e-5)
    assert output.is_contiguous(memory_format=order)


def test_resnet50_ibn_a_has_the_names_of_the_published_weights():
    with torch.device("meta"):
        state = build_backbone("resnet50_ibn_a").state_dict()
        plain = torchvisions("resnet50")
    expected = {}
    for key, value in plain.items():
        stage, _, rest = key.partition(".")
        if stage in ("layer1", "layer2", "layer3") and ".bn1." in rest:
            before, after = key.split(".bn1.")
            half = (value.shape[0] // 2,) if value.ndim else ()
            expected[f"{before}.bn1.BN.{after}"] = half
            if after in ("weight", "bias"):
                expected[f"{before}.bn1.IN.{after}"] = half
        else:
            expected[key] = tuple(value.shape)
    assert {"layer1.0.bn1.IN.weight", "layer3.5.bn1.BN.running_var", "bn1.weight"} <= set(expected)
    assert "layer4.0.bn1.weight" in expected
    assert {key: tuple(value.shape) for key, value in state.items()} == expected


def test_the_convolution_stem_has_the_names_of_the_published_weights():
    with torch.device("meta"):
        plain = build_backbone("vit_small").state_dict()
        state = build_backbone("vit_small_ics").state_dict()
    assert plain["pos_embed"].shape == state["pos_embed"].shape == (1, 1 + 16 * 8, 384)
    stem = {key: tuple(v.shape) for key, v in state.items() if key not in plain}
    assert {key: shape for key, shape in stem.items() if "num_batches" not in key} == {
        "patch_embed.conv.0.weight": (64, 3, 7, 7),
        "patch_embed.conv.3.weight": (64, 64, 3, 3),
        "patch_embed.conv.6.weight": (64, 64, 3, 3),
        **{f"patch_embed.conv.{i}.{half}.{name}": (32,) for i in (1, 4) for half, name in (
            ("IN", "weight"), ("IN", "bias"), ("BN", "weight"), ("BN", "bias"),
            ("BN", "running_mean"), ("BN", "running_var"),
        )},
        **{f"patch_embed.conv.7.{name}": (64,) for name in
           ("weight", "bias", "running_mean", "running_var")},
    }  # fmt: skip
    assert plain["patch_embed.proj.weight"].shape == (384, 3, 16, 16)
    assert state["patch_embed.proj.weight"].shape == (384, 64, 8, 8)


def test_transformers_take_images_of_their_size_alone():
    embedder = build_embedder("vit_small", weights=None, image_size=(64, 32))
    assert embedder.eval()(images(2, 3, 64, 32)).shape == (2, 384)
    with pytest.raises(ValueError, match="for images of 64 x 32, got 32 x 64"):
        embedder(images(2, 3, 32, 64))
    with pytest.raises(ValueError, match="image_size must be multiples of 16, got 100 x 32"):
        build_backbone("vit_small", image_size=(100, 32))
    with pytest.raises(ValueError, match="image_size must be at least 1"):
        build_backbone("resnet10", image_size=(0, 32))
    with pytest.raises(
        ValueError, match="pooling must be avg for a backbone that returns a vector"
    ):
        build_embedder("vit_small", pooling="gem", weights=None)


@pytest.mark.parametrize("file_grid", [(14, 14), (16, 8), (24, 8), (4, 2)])
@pytest.mark.parametrize("grid", [(16, 8), (4, 2), (24, 8), (7, 7)])
def test_position_embeddings_keep_their_orientation(file_grid, grid):
    rows = torch.linspace(-1, 1, file_grid[0])[:, None].expand(file_grid)
    columns = torch.linspace(-1, 1, file_grid[1])[None].expand(file_grid)
    embedding = torch.stack((rows, columns, torch.full(file_grid, 0.5)), dim=-1).view(1, -1, 3)
    embedding = torch.cat((torch.tensor([[[7.0, 8.0, 9.0]]]), embedding), dim=1)
    resized = resize_positions(embedding, PositionGrid(*grid, prefix=1))
    assert resized.shape == (1, 1 + grid[0] * grid[1], 3)
    assert resized[0, 0].tolist() == [7, 8, 9]  # the class token stands nowhere
    maps = resized[0, 1:].view(*grid, 3)
    np.testing.assert_allclose(maps[..., 2], 0.5, rtol=1e-6)
    for axis, values in ((0, maps[..., 0]), (1, maps[..., 1].T)):
        assert (values.diff(dim=0) > 0).all(), axis  # grows along its axis
        np.testing.assert_allclose(values, values[:, :1].expand_as(values), atol=1e-5)
    if grid == file_grid:
        np.testing.assert_allclose(resized, embedding, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 8, 4), (1, 1, 4), (2, 9, 4), (9, 4), (1, 0, 4)])
def test_position_embeddings_of_no_known_grid_are_left_alone(shape):
    assert resize_positions(torch.zeros(shape), PositionGrid(4, 2, prefix=1)) is None


NORMS = {
    "resnet10": 1 + 8 + 3, "resnet50": 1 + 48 + 4, "resnet50_ibn_a": 1 + 48 + 4,
    "mobilenet_v2": 52, "vit_small": 0, "vit_small_ics": 3,
}  # fmt: skip


@pytest.mark.parametrize(("name", "group_size"), [*zip(NORMS, (16, 64, 8, 4, 2, 3), strict=True)])
def test_every_batch_norm_works_in_groups_of_the_size_asked_for(name, group_size):
    with torch.device("meta"):
        embedder = build_embedder(name, weights=None, bn_group_size=group_size)
    norms = [m for m in embedder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert all(isinstance(layer, GroupedBatchNorm) for layer in norms)
    assert {layer.group_size for layer in norms} == {group_size}
    assert embedder.neck in norms
    assert len(norms) == NORMS[name] + 1


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


@pytest.mark.parametrize("name", [name for name in BACKBONES if "ibn_a" in name])
def test_instance_norm_needs_more_than_a_pixel(name):
    with pytest.raises(ValueError, match="image_size must be above 16 x 16"):
        build_backbone(name, image_size=(16, 16))
    backbone = build_backbone(name, image_size=(17, 8)).eval()
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 17, 8)).isfinite().all()


def test_impossible_backbones_are_refused():
    for wrong, nearest in {"resnet51": "resnet50", "Resnet50-IBN-a": "resnet50_ibn_a"}.items():
        with pytest.raises(ValueError, match=f"'{wrong}' is unknown; the nearest are .*{nearest}"):
            build_backbone(wrong)
    with pytest.raises(ValueError, match="timm/NAME"):
        build_backbone(3)
    for name in ("mobilenet_v2", "vit_small", "timm/resnet18"):
        with pytest.raises(ValueError, match=f"width must be 1 for {name}"):
            build_backbone(name, width=0.5)
    with pytest.raises(ValueError, match=r"width must be 1 for resnet50, got 0\.5"):
        build_backbone("resnet50", width=0.5)
    for width in (0, 0.001, -1, 5, math.nan):
        with pytest.raises(ValueError, match="width"):
            build_backbone("resnet18", width=width)
    with pytest.raises(ValueError, match="group_size"):
        build_backbone("resnet10", bn_group_size=0)
    for name in ("mobilenet_v2", "vit_small", "timm/resnet18"):
        with pytest.raises(ValueError, match="group_size must be at least 1, got 0"):
            build_backbone(name, bn_group_size=0)


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


@pytest.mark.parametrize(
    "name",
    ["resnet10", "resnet50_ibn_a", "mobilenet_v2", "regnet_y_400mf", "timm/mobilenetv3_small_050"],
)
def test_maps_stay_in_channels_last_order_all_the_way(name):
    embedder = build_embedder(name, weights=None, image_size=(64, 32)).eval()
    orders = {}
    for path, layer in embedder.backbone.named_modules():
        # A map of 1 x 1, as in squeeze and excitation, has both orders.
        if isinstance(layer, (nn.Conv2d, GroupedBatchNorm, InstanceBatchNorm)):
            layer.register_forward_hook(
                lambda _, __, out, path=path: orders.update(
                    {path: out.is_contiguous(memory_format=torch.channels_last)}
                )
            )
    embedder(images(2, 3, 64, 32))
    assert len(orders) > 20
    # Half a layer is not in order by itself: InstanceBatchNorm brings its halves together.
    assert [path for path, ordered in orders.items() if not ordered and path[-3:] != ".BN"] == []


def test_batch_norm_of_others_becomes_batch_norm_in_groups():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, eps=1e-3, momentum=0.3),
        nn.Sequential(nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(4 * 6 * 6)),
        nn.LayerNorm(144),
    )
    randomise_statistics(network)
    reference = copy.deepcopy(network)
    group_batch_norms(network, group_size=2)
    state = network.state_dict()
    assert state.keys() == reference.state_dict().keys()
    assert all(torch.equal(state[k], v) for k, v in reference.state_dict().items())
    x = images(4, 3, 8, 8)
    assert torch.equal(network.eval()(x), reference.eval()(x))
    halves = torch.cat([copy.deepcopy(reference).train()(x[:2]), reference.train()(x[2:])])
    first = copy.deepcopy(network[1]).train()
    np.testing.assert_allclose(network.train()(x).detach(), halves.detach(), rtol=1e-4, atol=1e-5)
    assert (first.eps, first.momentum, first.group_size) == (1e-3, 0.3, 2)
    assert isinstance(network[3], nn.LayerNorm)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.BatchNorm2d(3, affine=False), "without weights or running statistics"),
        (nn.BatchNorm2d(3, track_running_stats=False), "without weights or running statistics"),
        (nn.BatchNorm3d(3), "a BatchNorm3d has no equivalent with groups"),
    ],
)
def test_batch_norm_that_cannot_work_in_groups_is_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        group_batch_norms(nn.Sequential(nn.Sequential(layer)), 4)


TIMM = {  # D, positions for 64 x 32, tensors of batch norm
    "timm/mobilenetv3_small_050": (1024, (2, 1)),  # batch norm and activation in one layer
    "timm/resnet10t": (512, (4, 2)),
    "timm/convnext_atto": (320, (4, 2)),  # no batch norm, a layer norm after the map
    "timm/vit_tiny_patch16_224": (192, (1, 1)),
}


@pytest.mark.parametrize("name", TIMM)
def test_networks_of_timm_by_name(name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    depth, positions = TIMM[name]
    embedder = build_embedder(name, weights=None, bn_group_size=4, image_size=(64, 32))
    trunk = embedder.backbone
    randomise_statistics(trunk)
    norms = [m for m in trunk.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert all(isinstance(m, GroupedBatchNorm) and m.group_size == 4 for m in norms)
    assert bool(norms) == ("mobilenet" in name or "resnet" in name)
    x = images(4, 3, 64, 32)
    assert embedder.feature_dim == depth
    assert trunk(x).shape == (4, depth, *positions)
    (embedder(x) * images(4, depth)).sum().backward()  # nothing unused: DDP would wait for it
    idle = [n for n, p in embedder.named_parameters() if p.grad is None]
    assert idle == ["neck.bias"]
    options = {"img_size": (64, 32)} if "vit" in name else {}
    options |= {"output_stride": 16} if positions == (4, 2) else {}
    reference = timm.create_model(name.removeprefix("timm/"), num_classes=0, **options)
    reference.load_state_dict(trunk.network.state_dict())
    with torch.no_grad():
        pooled = trunk.eval()(x).mean(dim=(2, 3))
        if "resnet" in name or "vit" in name:  # the others have layers after timm's pooling
            np.testing.assert_allclose(pooled, reference.eval()(x), rtol=1e-3, atol=1e-4)
        copied = copy.deepcopy(embedder).eval()
        assert torch.equal(copied(x), embedder.eval()(x))


def test_activations_that_timm_puts_into_batch_norm_stay():
    pytest.importorskip("timm")
    trunk = build_backbone("timm/mobilenetv3_small_050", image_size=(64, 32)).eval()
    layer = trunk.network.bn1
    x = images(2, layer.num_features, 4, 2)
    expected = nn.functional.hardswish(nn.functional.batch_norm(
        x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps
    ))  # fmt: skip
    np.testing.assert_allclose(layer(x).detach(), expected.detach(), rtol=1e-5, atol=1e-6)


def test_networks_that_timm_cannot_build_for_us_are_refused_in_one_line():
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=r"'timm/resnet5O' is unknown to timm .*timm/resnet50"):
        build_backbone("timm/resnet5O")
    with pytest.raises(ValueError, match=r"levit_128s .* counts tokens as images") as caught:
        build_backbone("timm/levit_128s", image_size=(224, 224))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="levit_128s cannot be used on images of 256 x 128"):
        build_backbone("timm/levit_128s")


@pytest.mark.parametrize("name", ["timm/resnet18", "vit_small"])
def test_without_timm_the_command_that_installs_it_is_shown(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError) as caught:
        build_embedder(name, weights=None)
    assert str(caught.value) == (
        f'model.backbone={name} needs timm: pip install "dccc-lightning[timm]"'
    )
