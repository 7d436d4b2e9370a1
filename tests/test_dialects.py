"""Checkpoints of the field: recognised, built as the networks that they are, or refused by name.

The files are written here, with the names and shapes of each family and random values; the networks
beside them are plain torch. Names: the repositories and commits in ``models/dialects``.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, ResNet

from dccc_lightning.data.augmentation import normalize
from dccc_lightning.errors import UserError
from dccc_lightning.inference.loading import load_embedder
from dccc_lightning.models.dialects.families import DIALECTS, recognize
from dccc_lightning.models.dialects.reading import read_dialect
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.models.layout import PUBLISHED, Layout
from dccc_lightning.models.state_files import StateFile
from dccc_lightning.models.weights import load_weights
from dccc_lightning.training.checkpointing import describe_network

D, HEIGHT, WIDTH = 512, 64, 32
PADDED = nn.MaxPool2d(3, 2, padding=1)
CEIL = nn.MaxPool2d(3, 2, ceil_mode=True)
TWO = nn.MaxPool2d(2, 2)
POWER = 2.5
PIXELS = torch.randint(0, 256, (4, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(3))
PIXELS = PIXELS.to(torch.uint8)


def random_norms(network):
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for value, low in (
                (module.weight, 0.5), (module.bias, -0.5),
                (module.running_mean, -0.5), (module.running_var, 0.5),
            ):  # fmt: skip
                value.data.uniform_(low, low + 1)


def trunk(seed=0):
    torch.manual_seed(seed)
    network = ResNet(BasicBlock, [1, 1, 1, 1])
    del network.fc
    random_norms(network)
    return network.eval()


def neck(seed=1, size=D):
    torch.manual_seed(seed)
    norm = nn.BatchNorm1d(size)
    random_norms(norm)
    return norm.eval()


@torch.no_grad()
def expected(pool=PADDED, relu=True, stride=1, power=None, norm=True, non_local=None, layer=None):
    """The embeddings by the published code's forward, in plain torch."""
    network = trunk()
    network.layer4[0].conv1.stride = network.layer4[0].downsample[0].stride = (stride, stride)
    stem = network.bn1(network.conv1(normalize(PIXELS)))
    maps = pool(stem.relu() if relu else stem)
    for number in range(1, 5):
        maps = network.get_submodule(f"layer{number}")(maps)
        if number in (non_local or {}):
            maps = attended(non_local[number], maps)
    if power is None:
        pooled = maps.mean((2, 3))
    else:
        pooled = maps.clamp(min=1e-6).pow(power).mean((2, 3)).pow(1 / power)
    if layer is not None:
        pooled = layer(pooled[..., None, None] if isinstance(layer[0], nn.Conv2d) else pooled)
        pooled = pooled.flatten(1)
    return F.normalize(neck(size=pooled.shape[1])(pooled) if norm else pooled)


def attended(block, maps):
    """The non-local block as it is published: affinities of all pairs of positions."""
    theta, phi, values = (block[part](maps).flatten(2) for part in ("theta", "phi", "g"))
    affinities = theta.transpose(1, 2) @ phi / phi.shape[2]
    seen = (affinities @ values.transpose(1, 2)).transpose(1, 2)
    return maps + block["W"](seen.unflatten(2, maps.shape[2:]))


def non_local(channels, seed=5):
    torch.manual_seed(seed)
    parts = {part: nn.Conv2d(channels, 1, 1) for part in ("theta", "phi", "g")}
    block = nn.ModuleDict(
        parts | {"W": nn.Sequential(nn.Conv2d(1, channels, 1), nn.BatchNorm2d(channels))}
    )
    random_norms(block)
    return block.eval()


def embedding(size, kind):
    torch.manual_seed(6)
    if kind == "convolution":
        return nn.Sequential(nn.Conv2d(D, size, 1, bias=False))
    layer = nn.Sequential(nn.Linear(D, size))
    if kind == "fc":
        layer.extend([nn.BatchNorm1d(size), nn.ReLU()])
        random_norms(layer)
    return layer.eval()


def names(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def numbered(first_stage, prefix="module."):
    parts = {"conv1": 0, "bn1": 1} | {f"layer{i + 1}": first_stage + i for i in range(4)}
    state = {}
    for name, value in trunk().state_dict().items():
        part, rest = name.split(".", 1)
        state[f"{prefix}base.{parts[part]}.{rest}"] = value
    return state


TRUNK, NECK = trunk().state_dict(), neck().state_dict()
CLASSES = torch.ones(7, D)
GEM = torch.tensor([POWER])
FASTREID = names(TRUNK, "backbone.") | names(NECK, "heads.bottleneck.0.")
STRONG = names(TRUNK, "base.") | names(NECK, "bottleneck.") | {"classifier.weight": CLASSES}
SPCL = numbered(4) | names(NECK, "module.feat_bn.") | {"module.classifier.weight": CLASSES}
MMT = numbered(3) | names(NECK, "module.feat_bn.") | {"module.classifier.weight": CLASSES}
OPEN = names(TRUNK, "backbone.") | names(NECK, "head.feat_bn.") | {"classifier.weight": CLASSES}
NON_LOCAL = {2: non_local(128), 3: non_local(256)}
NL = names(NON_LOCAL[2].state_dict(), "NL_2.0.") | names(NON_LOCAL[3].state_dict(), "NL_3.0.")
LINEAR, FC = embedding(24, "linear"), embedding(24, "fc")
CONVOLUTION = embedding(24, "convolution")
SMALL_NECK, SMALL_CLASSES = neck(size=24).state_dict(), torch.ones(7, 24)
OTHER = {name: value + 1 for name, value in SPCL.items()}
STATISTICS = {name: torch.ones(1, 3, 1, 1) for name in ("pixel_mean", "pixel_std")}

BUILT = {  # family: file, forward
    "fastreid": ({"model": FASTREID | {"heads.weight": CLASSES}}, {"pool": CEIL}),
    "fastreid with GeM": (
        {"model": FASTREID | STATISTICS | {"heads.weight": CLASSES, "heads.pool_layer.p": GEM}},
        {"pool": CEIL, "power": POWER},
    ),
    "fastreid_0": (
        {
            "model": names(TRUNK, "backbone.")
            | names(NECK, "heads.bnneck.")
            | STATISTICS
            | {"heads.classifier.weight": CLASSES}
        },
        {},
    ),
    "strong_baseline": (STRONG, {"relu": False}),
    "agw": (STRONG | {"global_pool.p": GEM}, {"relu": False, "power": POWER}),
    "fastreid, AGW and SBS": (
        {"model": FASTREID | names(NL, "backbone.") | {"heads.pool_layer.p": GEM}},
        {"pool": CEIL, "power": POWER, "non_local": NON_LOCAL},
    ),
    "fastreid_reduced": (
        {
            "model": names(TRUNK, "backbone.")
            | names(CONVOLUTION.state_dict(), "heads.bottleneck.")
            | names(SMALL_NECK, "heads.bottleneck.1.")
            | {"heads.weight": SMALL_CLASSES}
        },
        {"pool": CEIL, "layer": CONVOLUTION},
    ),
    "agw with non-local blocks": (
        STRONG | names(NL, "base.") | {"global_pool.p": GEM},
        {"relu": False, "power": POWER, "non_local": NON_LOCAL},
    ),
    "cluster_contrast, 24-d": (
        {
            "state_dict": numbered(4)
            | names(LINEAR[0].state_dict(), "module.feat.")
            | names(SMALL_NECK, "module.feat_bn.")
            | {"module.classifier.weight": SMALL_CLASSES}
        },
        {"layer": LINEAR},
    ),
    "open_unreid, 24-d": (
        names(TRUNK, "backbone.")
        | names(LINEAR[0].state_dict(), "head.feat_reduction.")
        | names(SMALL_NECK, "head.feat_bn.")
        | {"classifier.weight": SMALL_CLASSES},
        {"layer": LINEAR},
    ),
    "torchreid_fc": (
        {
            "state_dict": TRUNK
            | names(FC.state_dict(), "fc.")
            | {"classifier.weight": SMALL_CLASSES}
        },
        {"layer": FC, "norm": False},
    ),
    "transreid_resnet": (STRONG, {"pool": TWO, "relu": False}),
    "transreid_ssl_resnet": (STRONG, {"pool": TWO}),
    "cluster_contrast": ({"state_dict": SPCL, "epoch": 3}, {}),
    "cluster_contrast with GeM": ({"state_dict": SPCL | {"module.gap.p": GEM}}, {"power": POWER}),
    "pplr": (
        numbered(4)
        | names(NECK, "module.bnneck.")
        | names(NECK, "module.bnneck0.")
        | {"module.classifier.weight": CLASSES, "module.classifier0.weight": CLASSES},
        {},
    ),
    "mmt": ({"state_dict": MMT}, {"relu": False}),
    "open_unreid": ({"state_dict": OPEN | {"global_pooling.p": GEM}}, {"power": POWER}),
    "open_unreid, mean teacher": (
        {
            "state_dict": names(OPEN, "module.mean_net.")
            | names({k: v + 1 for k, v in OPEN.items()}, "module.net.")
        },
        {},
    ),
    "open_unreid, two networks": (
        {"state_dict_1": OPEN, "state_dict_2": {k: v + 1 for k, v in OPEN.items()}, "epoch": 2},
        {},
    ),
    "two networks and their teachers": (
        {"state_dict": names(SPCL, "model_1_ema.") | names(OTHER, "model_1.")},
        {},
    ),
    "two networks, each in a dictionary": ({"model_1": OTHER, "model_1_ema": SPCL}, {}),
    "torchreid": (
        {"state_dict": TRUNK | {"classifier.weight": CLASSES, "classifier.bias": CLASSES[:, 0]}},
        {"stride": 2, "norm": False},
    ),
}


def saved(content, folder):
    path = folder / "weights.pth"
    torch.save(content, path)
    return str(path)


def embedded(embedder):
    with torch.no_grad():
        return embedder.eval()(normalize(PIXELS))


def rows(embeddings, others):
    return (embeddings * others).sum(1).min().item()


@pytest.mark.parametrize("case", BUILT)
def test_a_file_becomes_the_network_that_it_is(tmp_path, case):
    content, forward = BUILT[case]
    by_name = case in ("transreid_resnet", "transreid_ssl_resnet")
    embedder = build_embedder(
        "resnet10", weights=saved(content, tmp_path), dialect=case if by_name else "auto"
    )
    wanted = expected(**forward)
    torch.testing.assert_close(embedded(embedder), wanted, rtol=0, atol=2e-5)
    again = build_embedder(weights=None, **embedder.architecture)
    again.load_state_dict(embedder.state_dict())
    assert torch.equal(embedded(again), embedded(embedder))
    assert again.architecture == embedder.architecture


def test_the_networks_differ():
    ways = [expected(**forward) for forward in ({}, {"pool": CEIL}, {"relu": False},
            {"pool": TWO}, {"power": POWER}, {"stride": 2}, {"norm": False},
            {"non_local": NON_LOCAL})]  # fmt: skip
    cosines = [rows(ways[i], ways[j]) for i in range(len(ways)) for j in range(i)]
    assert max(cosines) < 0.9999


def test_one_line_tells_the_family_and_what_it_asks(tmp_path):
    content, _ = BUILT["fastreid with GeM"]
    embedder = build_embedder("resnet10", weights=None)
    report = load_weights(embedder, saved(content, tmp_path), "resnet10")
    assert str(report) == (
        f"FastReID 1.x; {len(FASTREID) + 1} tensors loaded; built with stem pooling 3 x 3 unpadded "
        "with ceil_mode, GeM of power 2.5; left out: ImageNet mean and std of the input; SBS was "
        "trained at 384 x 128"
    )
    assert report.missing == report.unexpected == ()
    content = {"state_dict": names(SPCL, "model_1_ema.") | names(OTHER, "model_2.")}
    report = load_weights(embedder, saved(content, tmp_path), "resnet10")
    assert "(model_1_ema), SpCL and Cluster Contrast" in report.family
    assert report.left_out == ("model_2",)


ZERO = torch.zeros(2)
IBN_A = {"base.conv1.weight": ZERO, "base.layer1.0.bn1.IN.weight": ZERO, "base.layer4.0.a": ZERO}


@pytest.mark.parametrize("pooling", ["bottleneck.weight", "global_pool.p"])
def test_ibn_a_has_the_relu_that_the_others_of_its_repository_lack(pooling):
    names_of_file = IBN_A | {"bottleneck.weight": ZERO, pooling: ZERO}
    assert recognize(names_of_file).layout.stem_relu
    del names_of_file["base.layer1.0.bn1.IN.weight"]
    assert not recognize(names_of_file).layout.stem_relu


def test_a_family_given_by_name_may_be_in_a_module_as_a_recognised_one(tmp_path):
    content, forward = BUILT["transreid_resnet"]
    path = saved(names(content, "net."), tmp_path)
    embedder = build_embedder("resnet10", weights=path, dialect="transreid_resnet")
    torch.testing.assert_close(embedded(embedder), expected(**forward), rtol=0, atol=2e-5)


@pytest.mark.parametrize(("channels", "pool"), [(64, "ceil"), (4, "padded")])
def test_resnexts_of_fastreid_have_the_padded_stem(channels, pool):
    tensors = FASTREID | {"backbone.layer1.0.conv2.weight": torch.zeros(64, channels, 3, 3)}
    assert read_dialect(StateFile(tensors), "auto").layout.stem_pool == pool


LAYER = {"0.weight": torch.ones(64, D), "1.running_mean": torch.ones(64)}
REFUSED = {
    "the branches of MGN": names(TRUNK, "backbone.") | {"b1_head.a": ZERO, "b2_head.a": ZERO},
    "neither a ResNet nor OSNet": {"backbone.stage1.0.a": ZERO, "heads.bottleneck.0.b": ZERO},
    "too few for 2 non-local blocks": STRONG
    | names(NL, "base.")
    | names(NON_LOCAL[2].state_dict(), "base.NL_2.1."),
    "camera embeddings (SIE)": {
        "base.patch_embed.proj.weight": ZERO, "base.blocks.0.a": ZERO, "bottleneck.weight": ZERO,
        "base.sie_embed": ZERO,
    },
    "a layer behind the neck (fc.weight)": {
        "backbone.bn2.running_mean": ZERO, "pooling.p": ZERO, "bn.running_mean": ZERO,
        "fc.weight": ZERO,
    },
    "neither an EfficientNet, a ResNet nor a plain transformer": {
        "backbone.stages.0.a": ZERO, "pooling.p": ZERO, "bn.running_mean": ZERO,
    },
    "another token than timm's": {
        "backbone.cls_token": ZERO, "backbone.fc_norm.weight": ZERO, "pooling.p": ZERO,
        "bn.running_mean": ZERO,
    },
    "layers behind the pooling (model.fc.0.weight)": {
        "model.conv1.weight": ZERO, "model.layer4.0.a": ZERO, "model.fc.0.weight": ZERO,
    },
    "an MLP behind the extractor": {
        "model.extractor.model.norm.bias": ZERO, "model.projection.0.weight": ZERO,
    },
    "other names than the authors' or timm's": {
        "embeddings.cls_token": ZERO, "encoder.layer.0.norm1.weight": ZERO,
    },
    "layers over all tokens": {"model.blocks.0.a": ZERO, "model.feature.0.weight": ZERO},
    "its projection alone": {"model.visual.conv1.weight": ZERO, "model.visual.proj": ZERO},
    "ConvNeXt by other names than timm's": {
        "downsample_layers.0.0.weight": ZERO, "stages.0.0.dwconv.weight": ZERO,
    },
    "a stem of convolutions": {
        "base_encoder.cls_token": ZERO, "base_encoder.patch_embed.proj.0.weight": ZERO,
    },
    "batch norms of two domains": SPCL | {"module.base.1.BN_S.weight": ZERO},
    "batch norms of several domains": OPEN | {"backbone.bn1.dsbn.0.weight": ZERO},
}  # fmt: skip


@pytest.mark.parametrize("part", REFUSED)
def test_a_part_that_cannot_be_built_is_refused_by_name(tmp_path, part):
    embedder = build_embedder("resnet10", weights=None)
    before = {name: value.clone() for name, value in embedder.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_weights(embedder, saved(REFUSED[part], tmp_path), "resnet10")
    assert part in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert all(torch.equal(value, before[name]) for name, value in embedder.state_dict().items())
    assert embedder.layout == Layout()
    assert embedder.architecture["pooling"] == "avg"


@pytest.mark.parametrize("name", ["fc", "heads", "logits", "id_embedding"])
def test_a_classifier_is_known_by_its_shape(tmp_path, name):
    content = names(TRUNK, "encoder.") | {f"{name}.weight": CLASSES, f"{name}.bias": CLASSES[:, 0]}
    report = load_weights(
        build_embedder("resnet10", weights=None), saved(content, tmp_path), "resnet10"
    )
    assert report.unexpected == ()


@pytest.mark.parametrize(
    "lost",
    [
        names(LAYER, "head."),  # a norm follows
        {"head.0.weight": torch.ones(64, D), "classifier.weight": torch.ones(7, 64)},
        {"heads.scale": torch.ones(D)},
        {"classifier.attention.weight": torch.ones(4, 4, 1, 1)},
    ],
)
def test_anything_else_that_was_trained_is_refused(tmp_path, lost):
    path = saved(names(TRUNK, "encoder.") | lost, tmp_path)
    embedder = build_embedder("resnet10", weights=None)
    with pytest.raises(UserError, match=r"not in the model .*model\.dialect=none") as caught:
        load_weights(embedder, path, "resnet10")
    assert next(iter(lost)) in str(caught.value)
    report = load_weights(embedder, path, "resnet10", dialect="none")  # the remedy
    assert report.unexpected == tuple(lost)


def test_another_backbone_cannot_have_the_options(tmp_path):
    pytest.importorskip("timm")
    embedder = build_embedder("timm/resnet18", weights=None, image_size=(HEIGHT, WIDTH))
    state = names(embedder.backbone.network.state_dict(), "base.") | names(NECK, "bottleneck.")
    with pytest.raises(UserError, match=r"has no ReLU in the stem; choose a ResNet"):
        load_weights(embedder, saved(state, tmp_path), "timm/resnet18")


def test_options_are_checked():
    with pytest.raises(ValueError, match="layout has no option 'relu'"):
        build_embedder("resnet10", weights=None, layout={"relu": False})
    with pytest.raises(ValueError, match=r"layout\.stem_pool must be one of padded"):
        build_embedder("resnet10", weights=None, layout={"stem_pool": "max"})
    with pytest.raises(ValueError, match="mobilenet_v2 has no option last_stride"):
        build_embedder("mobilenet_v2", weights=None, layout={"last_stride": 2})


def test_mean_and_std_of_one_half_are_part_of_the_network():
    embedder = build_embedder("resnet10", weights=None).eval()
    embedder.backbone.load_state_dict(TRUNK)
    with torch.no_grad():
        wanted = embedder((PIXELS / 255 - 0.5) / 0.5)
    tensors = embedder.state_dict().keys()
    embedder.arrange(Layout(normalization="half"))
    torch.testing.assert_close(embedded(embedder), wanted, rtol=0, atol=2e-5)
    assert embedder.state_dict().keys() == tensors
    fine_tuned = ["base.cls_token", "base.blocks.0.norm1.weight", "bottleneck.weight"]
    assert recognize(fine_tuned).layout.normalization == "half"
    assert recognize(["cls_token", "blocks.0.norm1.weight"]).layout == Layout()


def test_a_run_from_such_a_file_keeps_its_network(tmp_path):
    content, forward = BUILT["fastreid with GeM"]
    embedder = build_embedder("resnet10", weights=saved(content, tmp_path))
    data = SimpleNamespace(
        height=HEIGHT, width=WIDTH, interpolation="bicubic",
        dataset=SimpleNamespace(name="somewhere"), rotations=1, match="mean", fit="stretch",
    )  # fmt: skip
    record = describe_network(embedder, data)
    assert record["model"]["pooling"] == "gem"
    assert record["model"]["layout"] == {"stem_pool": "ceil"}
    tensors = names(embedder.state_dict(), "student.")
    checkpoint = tmp_path / "last.ckpt"
    torch.save({"state_dict": tensors, "dccc_lightning": record}, checkpoint)
    loaded = load_embedder(checkpoint, device="cpu")
    wanted = expected(**forward)
    torch.testing.assert_close(loaded.embed(PIXELS), wanted, rtol=0, atol=2e-5)
    started = build_embedder("resnet10", weights=str(checkpoint))
    torch.testing.assert_close(embedded(started), wanted, rtol=0, atol=2e-5)
    record["model"].pop("layout")
    torch.save({"state_dict": tensors, "dccc_lightning": record}, checkpoint)
    assert load_embedder(checkpoint, device="cpu").fingerprint != loaded.fingerprint
    record["model"]["layout"] = {"stem_pool": "max"}
    torch.save({"state_dict": tensors, "dccc_lightning": record}, checkpoint)
    with pytest.raises(UserError, match="description of the network cannot be used"):
        build_embedder("resnet10", weights=str(checkpoint))
    with pytest.raises(UserError, match=r"layout\.stem_pool must be one of"):
        load_embedder(checkpoint, device="cpu")


def test_the_table_in_the_documentation_has_every_row():
    page = (Path(__file__).parents[1] / "docs" / "models.md").read_text()
    for name in DIALECTS:
        assert f"`{name}`" in page


FILES_OF_BACKBONES = {
    "resnet34": "model.backbone=resnet34", "resnet50_ibn_a": "model.backbone=resnet50_ibn_a",
    "resnext101_64x4d": "model.backbone=resnext101_64x4d", "osnet_ain": "model.backbone=osnet_ain",
    "mobilenet_v2": "the model of the file",
}  # fmt: skip


@pytest.mark.parametrize("name", FILES_OF_BACKBONES)
def test_a_wrong_backbone_is_answered_by_that_of_the_file(tmp_path, name):
    with torch.device("meta"):
        state = build_embedder(name, weights=None).backbone.state_dict()
    state = {f"base.{key}": torch.zeros(()).expand(value.shape) for key, value in state.items()}
    with pytest.raises(UserError, match=f"choose {FILES_OF_BACKBONES[name]}"):
        load_weights(build_embedder("resnet10", weights=None), saved(state, tmp_path), "resnet10")


def test_a_width_is_answered_too(tmp_path):
    for name, width in (("osnet_ibn", 0.25), ("resnet10", 0.5)):
        other = build_embedder(name, width=width, weights=None)
        path = saved(other.state_dict(), tmp_path)
        with pytest.raises(UserError, match=f"choose model.backbone={name} model.width={width},"):
            build_embedder("resnet18", weights=path)
        build_embedder(name, width=width, weights=path)  # the remedy


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("fast-reid", "fastreid"), ("spcl", "cluster_contrast"), ("torchried", "torchreid"),
     ("OSNET", "osnet"), (3, "auto recognises")],
)  # fmt: skip
def test_a_wrong_dialect_is_answered_by_the_nearest(wrong, nearest):
    with pytest.raises(ValueError, match=rf"dialect '?{wrong}'? is unknown; .*{nearest}"):
        build_embedder("resnet10", weights=None, dialect=wrong)


def test_a_head_of_several_layers_is_no_classifier(tmp_path):
    content = TRUNK | {"fc.weight": CLASSES, "fc.bias": CLASSES[:, 0]}
    embedder = build_embedder("resnet10", weights=None)
    assert load_weights(embedder, saved(content, tmp_path), "resnet10").unexpected == ()
    with pytest.raises(UserError, match=r"not in the model head\.0\.weight"):
        load_weights(embedder, saved(content | names(LAYER, "head."), tmp_path), "resnet10")


PRETRAINED = {
    "MoCo": {"state_dict": names(TRUNK, "module.encoder_q.")
             | names(LAYER, "module.encoder_q.fc.") | {"module.queue": torch.ones(64, 9)}},
    "MoCo v3": {"state_dict": names(TRUNK, "module.base_encoder.")
                | names(LAYER, "module.base_encoder.fc.")
                | names(LAYER, "module.predictor.")},
    "DINO": {"teacher": names(TRUNK, "backbone.") | names(LAYER, "head.mlp.")
             | {"head.last_layer.weight_v": torch.ones(9, 64)}},
}  # fmt: skip


@pytest.mark.parametrize("family", PRETRAINED)
def test_pretraining_leaves_its_heads_out_by_name(tmp_path, family):
    embedder = build_embedder("resnet10", weights=None)
    report = load_weights(embedder, saved(PRETRAINED[family], tmp_path), "resnet10")
    assert report.unexpected == ()
    assert "projection head" in report.left_out
    torch.testing.assert_close(embedded(embedder), expected(norm=False), rtol=0, atol=2e-5)


def test_of_moco_v3_the_projection_head_is_no_embedding_layer(tmp_path):
    """It has the names of torchreid's, which is bilinear and ends in 512."""
    head = {"fc.0.weight": torch.ones(64, D), "fc.1.running_mean": torch.ones(64)}
    content = {"state_dict": names(TRUNK | head, "module.base_encoder.")}
    embedder = build_embedder("resnet10", weights=saved(content, tmp_path))
    assert embedder.layout == PUBLISHED
    twice = build_embedder("resnet10", weights=saved(content, tmp_path), layout={"last_stride": 2})
    torch.testing.assert_close(embedded(twice), expected(stride=2, norm=False), rtol=0, atol=2e-5)


AROUND = [
    "module.",
    "_orig_mod.",
    "_forward_module.module.",
    "model.",
    "net.model.module.",
    "reid.",
]


@pytest.mark.parametrize("module", AROUND)
def test_a_family_is_known_in_the_modules_of_others(tmp_path, module):
    """By names and shapes alone it would have another stem."""
    content = {"state_dict": names(STRONG, module), "optimizer": {"state": {0: torch.ones(3)}}}
    embedder = build_embedder("resnet10", weights=saved(content, tmp_path))
    wanted = expected(relu=False)
    torch.testing.assert_close(embedded(embedder), wanted, rtol=0, atol=2e-5)


def test_half_precision_and_safetensors_of_a_family(tmp_path):
    save_file({n: v.half().contiguous() for n, v in names(STRONG, "module.").items()},
              tmp_path / "a.safetensors")  # fmt: skip
    embedder = build_embedder("resnet10", weights=str(tmp_path / "a.safetensors"))
    assert embedder.layout.stem_relu is False
    torch.testing.assert_close(embedded(embedder), expected(relu=False), rtol=0, atol=5e-3)


STUDENTS = {name: value + 1 for name, value in STRONG.items()}
BESIDE = {
    "teacher of two": names(STRONG, "teacher.") | names(STUDENTS, "student."),
    "ema": names(STRONG, "ema.module.") | names(STUDENTS, "model."),
    "model_ema": {"model": STUDENTS, "model_ema": STRONG},
    "state_dict_ema": {"state_dict": STUDENTS, "state_dict_ema": STRONG},
    "nested": {"model": {"state_dict": STRONG, "epoch": 3}, "optimizer": {"state": {}}},
    "under another key": {"weights": STRONG, "optimizer": {"state": {0: {"step": ZERO}}}},
}


@pytest.mark.parametrize("case", BESIDE)
def test_the_state_dict_is_found_and_of_two_the_moving_average_is_taken(tmp_path, case):
    embedder = build_embedder("resnet10", weights=saved(BESIDE[case], tmp_path))
    torch.testing.assert_close(embedded(embedder), expected(relu=False), rtol=0, atol=2e-5)


@pytest.mark.parametrize("module", ["model.", "model.model."])
def test_a_resnet_of_open_metric_learning_has_last_stride_two(tmp_path, module):
    content = names(TRUNK | {"fc.weight": torch.ones(1000, D), "fc.bias": torch.ones(1000)}, module)
    content = {"state_dict": content | {"criterion.weight": CLASSES}}
    embedder = build_embedder("resnet10", weights=None)
    report = load_weights(embedder, saved(content, tmp_path), "resnet10")
    assert "fc, which embeds with remove_fc=false only" in report.left_out
    wanted = expected(stride=2, norm=False)
    torch.testing.assert_close(embedded(embedder), wanted, rtol=0, atol=2e-5)


def test_an_embedding_layer_of_ones_own_is_new_and_kept(tmp_path):
    embedder = build_embedder("resnet10", weights=None, embedding_dim=16)
    report = load_weights(embedder, saved(TRUNK, tmp_path), "resnet10")
    assert {"embedding.0.weight", "embedding.0.bias"} <= set(report.missing)
    assert embedded(embedder).shape == (4, 16)
    with pytest.raises(UserError, match=r"embedding\.0\.weight: \(24, 512\), \(16, 512\)"):
        load_weights(embedder, saved(BUILT["torchreid_fc"][0], tmp_path), "resnet10")
    with pytest.raises(ValueError, match="embedding_dim must be at least 0"):
        build_embedder("resnet10", weights=None, embedding_dim=-1)
