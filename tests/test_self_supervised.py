"""Files of DINO, DINOv2, DINOv3, MoCo v3 and MiewID: names, shapes, and the networks they become.

The files are written here by the authors' names with random values; timm's networks, and its own
conversion of the authors' names, are the reference.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

pytest.importorskip("timm")

import timm
from timm.models import eva, vision_transformer

from dccc_lightning.data.augmentation import normalize
from dccc_lightning.models import catalog
from dccc_lightning.models.dialects.reading import read_dialect
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.models.position_grid import PositionGrid, resize_positions
from dccc_lightning.models.state_files import StateFile

SIZE = (64, 32)
PIXELS = torch.randint(0, 256, (3, 3, *SIZE), generator=torch.Generator().manual_seed(3))
PIXELS = PIXELS.to(torch.uint8)


def drawn(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
            if name.endswith(("running_var", "pooling.p")):
                value.abs_().add_(1)
    return network.eval()


def embedded(content, tmp_path, backbone, **options):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    embedder = build_embedder(backbone, weights=str(path), image_size=SIZE, **options).eval()
    again = build_embedder(weights=None, image_size=SIZE, **embedder.architecture).eval()
    again.load_state_dict(embedder.state_dict())
    with torch.no_grad():
        images = normalize(PIXELS)
        embeddings = embedder(images)
        assert torch.equal(again(images), embeddings)
    return embedder, embeddings


class MiewID(nn.Module):
    """By its names: GeM over timm's default map, then a batch norm."""

    def __init__(self, name="test_efficientnet"):
        super().__init__()
        self.backbone = timm.create_model(name, num_classes=0, global_pool="")
        self.pooling = nn.ParameterDict({"p": nn.Parameter(torch.ones(1) * 3)})
        self.bn = nn.BatchNorm1d(self.backbone.num_features)

    def forward(self, images):
        maps = self.backbone.forward_features(images)
        if maps.dim() == 3:
            return self.bn(maps[:, 0])
        power = self.pooling["p"]
        return self.bn(maps.clamp(min=1e-6).pow(power).mean(dim=(2, 3)).pow(1 / power))


@pytest.mark.parametrize("name", ["test_efficientnet", "resnet10t", "test_vit"])
def test_miew_id_is_timms_network_at_its_own_stride(tmp_path, name):
    options = {"img_size": SIZE} if name == "test_vit" else {}
    network = MiewID(name)
    network.backbone = timm.create_model(name, num_classes=0, global_pool="", **options)
    if name == "test_vit":
        network.backbone = timm.create_model(name, num_classes=0, **options)
    embedder, found = embedded(
        {"state_dict": drawn(network).state_dict()}, tmp_path, f"timm/{name}"
    )
    with torch.no_grad():
        wanted = F.normalize(network(normalize(PIXELS)))
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)
    assert embedder.layout.interpolation == "bilinear"


def test_the_last_stride_of_a_network_of_timm_can_be_chosen():
    short = build_embedder("timm/resnet10t", weights=None, image_size=SIZE)
    long = build_embedder(
        "timm/resnet10t", weights=None, image_size=SIZE, layout={"last_stride": 2}
    )
    assert short.backbone(torch.zeros(2, 3, *SIZE)).shape[2:] == (4, 2)
    assert long.backbone(torch.zeros(2, 3, *SIZE)).shape[2:] == (2, 1)
    assert short.state_dict().keys() == long.state_dict().keys()
    with pytest.raises(ValueError, match="timm/test_vit has no option last_stride"):
        build_embedder("timm/test_vit", weights=None, image_size=SIZE, layout={"last_stride": 2})


def test_dinov2_is_converted_as_timm_does(tmp_path):
    torch.manual_seed(0)
    options = {"img_size": 28, "patch_size": 14, "embed_dim": 16, "depth": 2, "num_heads": 2}
    plain = vision_transformer.VisionTransformer(init_values=1.0, num_classes=0, **options)
    theirs = drawn(plain).state_dict() | {"mask_token": torch.ones(1, 16)}
    for prefix in ("", "backbone."):
        file = StateFile({f"{prefix}{name}": value for name, value in theirs.items()})
        reading = read_dialect(file, "auto")
        assert (reading.family, reading.left_out) == ("DINOv2", ("mask token",))
        found = {n.removeprefix("backbone."): v for n, v in reading.tensors.items()}
        assert found.keys() == plain.state_dict().keys()
    registers = vision_transformer.VisionTransformer(
        init_values=1.0, num_classes=0, reg_tokens=4, no_embed_class=True, **options
    )
    theirs |= {"register_tokens": torch.randn(1, 4, 16)}
    wanted = vision_transformer.checkpoint_filter_fn(dict(theirs), registers)
    reading = read_dialect(StateFile(theirs), "auto")
    assert (reading.family, reading.offset) == ("DINOv2 with registers", 0)
    found = reading.tensors
    assert found.keys() == registers.state_dict().keys()
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())
    chunked = {name.replace("blocks.1.", "blocks.0.1.").replace("blocks.0.n", "blocks.0.0.n"): value
               for name, value in theirs.items()}  # fmt: skip
    assert "blocks.0.1.norm1.weight" in chunked
    assert "blocks.1.norm1.weight" in read_dialect(StateFile(chunked), "auto").tensors


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("gated", [False, True])
def test_dinov3_is_converted_as_timm_does(biased, gated):
    torch.manual_seed(0)
    network = eva.Eva(
        img_size=32, patch_size=16, embed_dim=16, depth=1, num_heads=2, qkv_bias=biased,
        init_values=1.0, rope_type="dinov3", use_rot_pos_emb=True, use_abs_pos_emb=False,
        num_reg_tokens=4, num_classes=0, use_fc_norm=False, swiglu_mlp=gated,
    )  # fmt: skip
    drawn(network)
    back = {"gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma", "reg_token": "storage_tokens",
            "fc1_g": "w1", "fc1_x": "w2", "fc2": "w3" if gated else "fc2"}  # fmt: skip
    theirs = {}
    for ours, value in network.state_dict().items():
        name = ours
        for timms, dinos in back.items():
            name = name.replace(timms, dinos)
        theirs[name] = value
    bias = torch.zeros(48)
    if biased:
        queries, values = (theirs.pop(f"blocks.0.attn.{n}_bias") for n in "qv")
        bias = torch.cat([queries, torch.full((16,), 9.0), values])
    theirs = {n: v for n, v in theirs.items() if not n.endswith("k_bias")}
    theirs |= {
        "blocks.0.attn.qkv.bias": bias, "blocks.0.attn.qkv.bias_mask": torch.ones(48),
        "rope_embed.periods": torch.ones(4), "mask_token": torch.ones(1, 16),
    }  # fmt: skip
    reading = read_dialect(StateFile(theirs), "auto")
    wanted = eva.checkpoint_filter_fn(dict(theirs), network)
    assert reading.family == "DINOv3"
    assert reading.tensors.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in reading.tensors.items())


def test_moco_v3_has_twelve_heads(tmp_path, monkeypatch):
    plan = catalog.TRANSFORMERS["vit_small"]
    monkeypatch.setitem(catalog.TRANSFORMERS, "vit_small", plan._replace(dim=24, heads=2))
    network = drawn(
        vision_transformer.VisionTransformer(
            SIZE, 16, num_classes=0, embed_dim=24, depth=12, num_heads=12
        )
    )
    state = {f"module.base_encoder.{n}": v for n, v in network.state_dict().items()}
    state |= {f"module.momentum_encoder.{n}": v + 1 for n, v in network.state_dict().items()}
    state |= {"module.base_encoder.head.1.running_mean": torch.ones(8)}
    embedder, found = embedded({"state_dict": state}, tmp_path, "vit_small")
    with torch.no_grad():
        wanted = F.normalize(network(normalize(PIXELS)))
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)
    assert str(embedder.layout) == "12 attention heads"
    with pytest.raises(ValueError, match=r"layout\.heads=5: must divide"):
        build_embedder("vit_small", weights=None, image_size=SIZE, layout={"heads": 5})


def test_positions_of_dino_are_scaled_as_its_authors_do():
    """To a grid larger by a tenth of a patch, without antialiasing; registers changed that."""
    positions = torch.randn(1, 1 + 36, 8, generator=torch.manual_seed(0))
    grid = PositionGrid(4, 3, prefix=1)
    maps = positions[0, 1:].T.reshape(1, 8, 6, 6)
    wanted = F.interpolate(maps, scale_factor=(4.1 / 6, 3.1 / 6), mode="bicubic")
    found = resize_positions(positions, grid, offset=0.1)
    torch.testing.assert_close(found[0, 1:], wanted[0].flatten(1).T)
    assert torch.equal(found[:, :1], positions[:, :1])
    assert not torch.allclose(found, resize_positions(positions, grid), atol=0.1)
    file = StateFile({"cls_token": torch.zeros(1), "head.mlp.0.weight": torch.zeros(1)})
    assert read_dialect(file, "auto").offset == 0.1


def test_of_dino_mean_and_std_are_not_those_of_timms_name(tmp_path):
    """timm's default weights of this network were trained with 0.5."""
    network = drawn(timm.create_model("test_vit", num_classes=0, img_size=SIZE))
    state = {f"backbone.{n}": v for n, v in network.state_dict().items()}
    head = {"head.mlp.0.weight": torch.ones(9, 64), "head.last_layer.weight_v": torch.ones(5, 9)}
    embedder, _ = embedded({"teacher": state | head}, tmp_path, "timm/test_vit")
    assert embedder.layout.normalization == "imagenet"
    bare, _ = embedded(network.state_dict(), tmp_path, "timm/test_vit")
    assert bare.layout.normalization == "half"
