"""Networks of timm: strictly loaded, normalised, pooled and sized as their authors do."""

import re

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("timm")

import timm
from timm.layers.activations import QuickGELU

from dccc_lightning.errors import UserError
from dccc_lightning.models import catalog, timm_trunk
from dccc_lightning.models.backbones import build_backbone
from dccc_lightning.models.dialects.families import recognize
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.models.layout import NORMALIZATIONS, Layout
from dccc_lightning.models.position_grid import PositionGrid, resize_positions
from dccc_lightning.models.timm_trunk import timm_image_size, timm_layout

SMALL = "timm/resnet10t"
VIT = "timm/test_vit"
SIZE = (64, 32)


def embedder_of(content, tmp_path, name, size=SIZE, **options):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    return build_embedder(name, weights=str(path), image_size=size, **options).eval()


def state_of(name, **options):
    torch.manual_seed(3)
    return timm.create_model(name.removeprefix("timm/"), **options).state_dict()


def test_a_file_of_timm_is_loaded_whole_or_not_at_all(tmp_path):
    state = state_of(SMALL, num_classes=7)
    embedder = embedder_of(state, tmp_path, SMALL)
    own = embedder.backbone.network.state_dict()
    assert own.keys() == state.keys() - {"fc.weight", "fc.bias"}  # the classifier alone
    assert all(torch.equal(value, state[name]) for name, value in own.items())
    half = {k: v for k, v in state.items() if not k.startswith(("layer3.", "layer4."))}
    with pytest.raises(UserError, match=r"missing backbone\.network\.layer3\."):
        embedder_of(half, tmp_path, SMALL)
    foreign = {f"tower.trunk.{name}": value for name, value in state.items()}
    with pytest.raises(UserError, match="0 tensors fit; missing"):
        embedder_of(foreign, tmp_path, SMALL)


@pytest.mark.parametrize(
    ("name", "normalization"),
    [
        ("vit_base_patch16_224.augreg_in21k", "half"),
        ("vit_base_patch16_siglip_224", "half"),
        ("vit_base_patch16_clip_quickgelu_224.openai", "clip"),
        ("eva02_base_patch14_224", "clip"),
        ("vit_small_patch14_dinov2", "imagenet"),
        ("vit_small_patch16_dinov3", "imagenet"),
        ("swin_large_patch4_window12_384", "imagenet"),
    ],
)
def test_mean_and_std_are_those_of_the_weights(name, normalization):
    assert timm_layout(f"timm/{name}") == {"normalization": normalization}


def test_mean_and_std_become_part_of_the_network(tmp_path):
    name = "timm/vit_tiny_patch16_224"  # augreg
    state = state_of(name, img_size=SIZE, num_classes=0)
    embedder = embedder_of(state, tmp_path, name)
    assert embedder.architecture["layout"] == {"normalization": "half"}
    kept = embedder_of(state, tmp_path, name, layout={"normalization": "imagenet"})
    assert kept.layout == Layout()
    described = {
        "format": 1,
        "model": dict(kept.architecture),
        "image": {"height": 64, "width": 32},
    }
    own = {f"student.{k}": v for k, v in kept.state_dict().items()}
    again = embedder_of({"state_dict": own, "dccc_lightning": described}, tmp_path, name)
    assert again.layout == Layout()  # a run's own network, not the name's


def test_weights_of_another_activation_are_refused():
    with pytest.raises(
        ValueError, match=r"choose timm/vit_base_patch16_clip_quickgelu_224\.openai"
    ):
        timm_layout("timm/vit_base_patch16_clip_224.openai")
    assert timm_layout("timm/vit_base_patch16_clip_224.laion2b") == {"normalization": "clip"}


def test_dinov3_returns_the_class_token_of_its_authors():
    torch.manual_seed(0)
    trunk = build_backbone("timm/vit_tiny_patch16_dinov3_qkvb", image_size=SIZE).eval()
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        tokens = trunk.network.forward_features(images)
        assert torch.equal(trunk(images)[:, :, 0, 0], tokens[:, 0])
        mean = tokens[:, trunk.network.num_prefix_tokens :].mean(dim=1)
        assert F.cosine_similarity(tokens[:, 0], mean).max() < 0.9


POOLINGS = {
    "timm/test_vit": lambda network, tokens: tokens[:, 0],  # the class token, as CLIP and DINOv2
    "timm/test_vit2": lambda network, tokens: network.fc_norm(tokens[:, 1:].mean(dim=1)),
    "timm/test_vit3": lambda network, tokens: network.attn_pool(tokens),  # as SigLIP
    "timm/eva02_tiny_patch14_224": lambda network, tokens: network.fc_norm(
        tokens[:, 1:].mean(dim=1)
    ),
    "timm/vit_base_patch16_siglip_224": lambda network, tokens: network.attn_pool(tokens),
    "timm/vit_base_patch16_clip_quickgelu_224": lambda network, tokens: tokens[:, 0],
    "timm/eva02_base_patch16_clip_224": lambda network, tokens: tokens[:, 0],
    "timm/vit_small_patch14_dinov2": lambda network, tokens: tokens[:, 0],
}
"""Embeddings from the tokens before pooling, by the name of the network."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if "base" in name or "small" in name else ())
        for name in POOLINGS
    ],
)
def test_the_pooling_is_that_of_the_network(name):
    torch.manual_seed(0)
    size = (56, 28) if "patch14" in name else SIZE
    trunk = build_backbone(name, image_size=size).eval()
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        tokens = trunk.network.forward_features(images)
        wanted = POOLINGS[name](trunk.network, tokens)
        assert torch.equal(trunk(images)[:, :, 0, 0], wanted)
    if "_clip_" in name:
        assert trunk.out_channels == 768  # CLIP's projection to 512 is not part of it
    # Nothing in a file tells QuickGELU from GELU: the name does, and the checkpoint keeps it.
    assert isinstance(trunk.network.blocks[0].mlp.act, QuickGELU) is ("quickgelu" in name)


def test_networks_of_one_size_are_refused_at_another():
    with pytest.raises(ValueError, match="cannot be used on images of 256 x 128 here"):
        build_backbone("timm/levit_128s", image_size=(256, 128))


def test_patches_fill_the_images():
    network = timm_trunk.import_timm(VIT).create_model("test_vit", img_size=SIZE)
    network.patch_embed.patch_size = (14, 14)  # as DINOv2's
    with pytest.raises(ValueError, match="multiples of 14, such as 252 x 126"):
        timm_trunk._check_patches(network, (256, 128))
    timm_trunk._check_patches(network, (252, 126))
    said = (
        "cannot be used on images of 100 x 32 here: image_size must be multiples of 16, such as 96"
    )
    with pytest.raises(ValueError, match=said):
        build_backbone(VIT, image_size=(100, 32))


def test_the_grid_of_positions_counts_not_their_number(tmp_path, monkeypatch):
    """OpenAI's 14 x 14 patches are as many as 28 x 7."""
    monkeypatch.setitem(
        catalog.TRANSFORMERS, "clip_vit_base", catalog.TransformerPlan(24, 2, "clip")
    )
    source = build_embedder("clip_vit_base", weights=None, image_size=(224, 224)).backbone
    renamed = {
        "patch_embed.proj.": "conv1.", "norm_pre.": "ln_pre.", "projection.weight": "proj",
        ".norm1.": ".ln_1.", ".norm2.": ".ln_2.", ".qkv.": ".in_proj_", ".fc1.": ".c_fc.",
        ".attn.proj.": ".attn.out_proj.", ".fc2.": ".c_proj.", "blocks.": "transformer.resblocks.",
        "pos_embed": "positional_embedding", "cls_token": "class_embedding",
    }  # fmt: skip
    state = {}
    for name, value in source.state_dict().items():
        theirs = re.sub(r"^norm\.", "ln_post.", name)
        for ours, openais in renamed.items():
            theirs = theirs.replace(ours, openais)
        state[f"visual.{theirs}"] = value.T if theirs == "proj" else value
    embedder = embedder_of(state, tmp_path, "clip_vit_base", (448, 112), dialect="clip")
    wanted = resize_positions(source.pos_embed.detach(), PositionGrid(28, 7, 1), (224, 224))
    assert torch.equal(embedder.backbone.pos_embed, wanted)
    assert not torch.equal(wanted, source.pos_embed)
    assert timm_image_size("timm/vit_base_patch16_clip_quickgelu_224.openai") == (224, 224)


def test_resized_positions_stay_in_the_checkpoint(tmp_path, caplog):
    state = state_of(VIT, img_size=(96, 96), num_classes=0)
    first = embedder_of(state, tmp_path, VIT)
    assert not torch.equal(first.backbone.network.pos_embed[:, 1:9], state["pos_embed"][:, 1:9])
    own = {f"student.{name}": value for name, value in first.state_dict().items()}
    described = {
        "format": 1,
        "model": dict(first.architecture),
        "image": {"height": 64, "width": 32},
    }
    caplog.set_level("INFO")
    again = embedder_of({"state_dict": own, "dccc_lightning": described}, tmp_path, VIT)
    assert torch.equal(again.backbone.network.pos_embed, first.backbone.network.pos_embed)
    assert "1 resized" not in caplog.text


@pytest.mark.slow
def test_mega_descriptor_is_timms_swin_with_mean_and_std_one_half(tmp_path):
    name = "swin_tiny_patch4_window7_224"
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=0).eval()
    path = tmp_path / "mega.pth"
    torch.save(theirs.state_dict(), path)
    ours = build_embedder(
        f"timm/{name}", weights=str(path), image_size=(224, 224), dialect="mega_descriptor"
    ).eval()
    images = torch.rand(3, 3, 224, 224)
    mean, std = (torch.tensor(row)[:, None, None] for row in NORMALIZATIONS["imagenet"])
    with torch.inference_mode():
        wanted = F.normalize(theirs((images - 0.5) / 0.5))
        found = ours((images - mean) / std)
    assert ours.layout.interpolation == "bilinear"
    assert (1 - (wanted * found).sum(dim=1)).max() < 1e-5
    assert recognize(theirs.state_dict()).name == "other"  # of the names many networks have
