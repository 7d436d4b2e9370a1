"""Checkpoints of transformers: recognised, built as the networks that they are, or refused.

The files are written here, with the names of each family and random values; the networks beside
them are plain torch. Names: the repositories and commits in ``models/dialects``.
"""

import logging
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

pytest.importorskip("timm")

from dccc_lightning.data.augmentation import normalize
from dccc_lightning.errors import UserError
from dccc_lightning.models import catalog, pretrained
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.models.layout import NORMALIZATIONS, Layout
from dccc_lightning.models.weights import load_weights

D, HEADS, DEPTH, PROJECTED = 24, 2, 12, 16
BEFORE = {"normalization": "half", "interpolation": "bilinear", "neck": "before"}
SIZE = (64, 32)
PIXELS = torch.randint(0, 256, (3, 3, 96, 48), generator=torch.Generator().manual_seed(3))
PIXELS = PIXELS.to(torch.uint8)


@pytest.fixture(autouse=True)
def _small_transformers(monkeypatch):
    for name, plan in catalog.TRANSFORMERS.items():
        monkeypatch.setitem(catalog.TRANSFORMERS, name, plan._replace(dim=D, heads=HEADS))


def names(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def drawn(seed, **shapes):
    generator = torch.Generator().manual_seed(seed)
    return {
        name.replace("__", "."): torch.randn(shape, generator=generator) * 0.4
        for name, shape in shapes.items()
    }


def neck(seed, dim):
    state = drawn(seed, weight=dim, bias=dim, running_mean=dim)
    return state | {"running_var": drawn(seed + 1, v=dim)["v"].abs() + 0.3}


def after(state, features):
    return F.batch_norm(
        features, state["running_mean"], state["running_var"], state["weight"], state["bias"]
    )


class Block(nn.Module):
    """A block of TransReID's transformers, by its names."""

    def __init__(self, dim=D):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(dim, 3 * dim), "proj": nn.Linear(dim, dim)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, 4 * dim), "fc2": nn.Linear(4 * dim, dim)})

    def forward(self, x):
        batch, count, dim = x.shape
        qkv = self.attn["qkv"](self.norm1(x)).reshape(batch, count, 3, HEADS, dim // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(2, 3) / (dim // HEADS) ** 0.5).softmax(dim=3)
        x = x + self.attn["proj"]((weights @ v).transpose(1, 2).reshape(batch, count, dim))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class TransReID(nn.Module):
    """Tokens of the last block, before the last norm."""

    def __init__(self, size=SIZE, stride=16, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        height, width = ((side - 16) // stride + 1 for side in size)
        self.cls_token = nn.Parameter(torch.randn(1, 1, D))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + height * width, D))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, D, 16, stride)})
        self.blocks = nn.ModuleList([Block() for _ in range(DEPTH)])
        self.norm = nn.LayerNorm(D, eps=1e-6)
        for value in self.norm.parameters():
            value.data.normal_()

    def tokens(self, images, depth=DEPTH):
        patches = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        first = self.cls_token.expand(len(images), -1, -1)
        x = torch.cat((first, patches), dim=1) + self.pos_embed
        for block in self.blocks[:depth]:
            x = block(x)
        return x

    def forward(self, images):
        return self.norm(self.tokens(images))[:, 0]


class OpenAI(nn.Module):
    """OpenAI's vision transformer, by its names."""

    def __init__(self, grid=(4, 2), gelu=None):
        super().__init__()
        torch.manual_seed(1)
        self.gelu = gelu or (lambda x: x * torch.sigmoid(1.702 * x))
        self.conv1 = nn.Conv2d(3, D, 16, 16, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(D))
        self.positional_embedding = nn.Parameter(torch.randn(1 + grid[0] * grid[1], D))
        self.ln_pre, self.ln_post = nn.LayerNorm(D), nn.LayerNorm(D)
        self.proj = nn.Parameter(torch.randn(D, PROJECTED))
        blocks = []
        for _ in range(DEPTH):
            attention = nn.MultiheadAttention(D, HEADS, batch_first=True)
            nn.init.normal_(attention.in_proj_bias)
            mlp = nn.ModuleDict({"c_fc": nn.Linear(D, 4 * D), "c_proj": nn.Linear(4 * D, D)})
            parts = {
                "attn": attention,
                "mlp": mlp,
                "ln_1": nn.LayerNorm(D),
                "ln_2": nn.LayerNorm(D),
            }
            blocks.append(nn.ModuleDict(parts))
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(blocks)})

    def forward(self, images):
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(images), 1, -1)
        x = self.ln_pre(torch.cat((first, patches), dim=1) + self.positional_embedding)
        for block in self.transformer["resblocks"]:
            y = block["ln_1"](x)
            x = x + block["attn"](y, y, y, need_weights=False)[0]
            x = x + block["mlp"]["c_proj"](self.gelu(block["mlp"]["c_fc"](block["ln_2"](x))))
        token = self.ln_post(x)[:, 0]
        return token, token @ self.proj


def pixels(size, normalization="imagenet"):
    mean, std = (torch.tensor(v)[:, None, None] for v in NORMALIZATIONS[normalization])
    return (PIXELS[:, :, : size[0], : size[1]] / 255 - mean) / std


def loaded(content, tmp_path, backbone, size=SIZE, **options):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    embedder = build_embedder(backbone, weights=str(path), image_size=size, **options).eval()
    again = build_embedder(weights=None, image_size=size, **embedder.architecture).eval()
    again.load_state_dict(embedder.state_dict())
    with torch.no_grad():
        images = normalize(PIXELS[:, :, : size[0], : size[1]])
        embeddings = embedder(images)
        assert torch.equal(again(images), embeddings)
    return embedder, embeddings


def assert_equal(embeddings, wanted):
    torch.testing.assert_close(embeddings, F.normalize(wanted.detach()), rtol=0, atol=3e-5)


TWO_NECKS = names(neck(5, D), "bottleneck.") | names(neck(7, PROJECTED), "bottleneck_proj.")


@pytest.mark.parametrize("wrapper", ["", "module."])
def test_clip_reid_embeds_before_its_two_necks(tmp_path, wrapper):
    clip = OpenAI()
    content = names(clip.state_dict(), "image_encoder.") | TWO_NECKS
    content |= {"classifier.weight": torch.ones(7, D), "classifier_proj.weight": torch.ones(7, 16)}
    content |= {
        "prompt_learner.cls_ctx": torch.ones(7, 4, 8),
        "text_encoder.ln_final.bias": torch.ones(8),
    }
    embedder, embeddings = loaded(names(content, wrapper), tmp_path, "clip_vit_base")
    assert_equal(embeddings, torch.cat(clip(pixels(SIZE, "half")), dim=1))
    assert embedder.architecture["layout"] == BEFORE
    _, embeddings = loaded(content, tmp_path, "clip_vit_base", layout={"neck": "after"})
    necks = [neck(5, D), neck(7, PROJECTED)]
    wanted = [after(norm, y) for norm, y in zip(necks, clip(pixels(SIZE, "half")), strict=True)]
    assert_equal(embeddings, torch.cat(wanted, dim=1))


def test_pcl_clip_embeds_behind_its_two_necks(tmp_path):
    clip = OpenAI()
    content = {
        "state_dict": names(names(clip.state_dict(), "image_encoder.") | TWO_NECKS, "module.")
    }
    embedder, embeddings = loaded(content, tmp_path, "clip_vit_base")
    vectors = clip(pixels(SIZE))
    wanted = [after(neck(5, D), vectors[0]), after(neck(7, PROJECTED), vectors[1])]
    assert_equal(embeddings, torch.cat(wanted, dim=1))
    assert embedder.layout == Layout()
    assert [n for n, p in embedder.named_parameters() if not p.requires_grad] == ["neck.bias"]


TEXT = {
    "positional_embedding": torch.ones(77, 16), "text_projection": torch.ones(16, 16),
    "transformer.resblocks.0.ln_1.weight": torch.ones(16), "logit_scale": torch.ones([]),
    "token_embedding.weight": torch.ones(9, 16), "ln_final.bias": torch.ones(16),
    "input_resolution": torch.tensor(224),
}  # fmt: skip


def test_of_clip_the_image_encoder_is_taken(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    clip = OpenAI()
    content = names(clip.state_dict(), "visual.") | TEXT
    embedder, embeddings = loaded(content, tmp_path, "clip_vit_base")
    wanted = torch.cat(clip(pixels(SIZE, "clip")), dim=1)
    assert_equal(embeddings, after(embedder.neck.state_dict(), wanted))
    assert "CLIP; 152 tensors loaded" in caplog.text
    assert "with OpenAI's QuickGELU" in caplog.text
    assert "left out: text encoder" in caplog.text
    halves = {name: value.half() for name, value in content.items()}
    _, other = loaded(halves, tmp_path, "clip_vit_base")
    assert (other * embeddings).sum(1).min() > 0.999


@pytest.mark.parametrize("module", ["", "model.", "model.model.", "net."])
def test_an_image_encoder_without_text_has_to_be_named(tmp_path, module):
    """OpenAI's whole file and open-metric-learning's have the same names, but other embeddings."""
    clip = OpenAI().state_dict()
    content = names(clip, f"{module}visual.")
    with pytest.raises(UserError, match=r"projection alone .*; .*model.dialect=clip, ") as caught:
        loaded(content, tmp_path, "clip_vit_base")
    assert len(str(caught.value).splitlines()) == 1
    _, named = loaded(content, tmp_path, "clip_vit_base", dialect="clip")
    _, whole = loaded(names(clip, "visual.") | TEXT, tmp_path, "clip_vit_base")
    assert torch.equal(named, whole)


def test_the_activation_is_recorded_with_the_network(tmp_path):
    """OpenAI's names do not tell it; open_clip's own weights have the exact GELU."""
    clip = OpenAI(gelu=F.gelu)
    content = names(clip.state_dict(), "visual.") | TEXT
    layout = {"activation": "gelu", "normalization": "imagenet"}
    embedder, embeddings = loaded(content, tmp_path, "clip_vit_base", layout=layout)
    wanted = torch.cat(clip(pixels(SIZE)), dim=1)
    assert_equal(embeddings, after(embedder.neck.state_dict(), wanted))
    assert embedder.architecture["layout"] == {"activation": "gelu"}
    _, other = loaded(content, tmp_path, "clip_vit_base", layout={"normalization": "imagenet"})
    assert 1e-7 < 1 - (embeddings.double() * other.double()).sum(1).min() < 0.1
    with pytest.raises(ValueError, match="layout: vit_small has no option activation"):
        build_embedder("vit_small", weights=None, layout={"activation": "gelu"})


def jigsaw(base, b1, b2, images):
    """The five class tokens of JPM, in plain loops over lists of tokens."""
    tokens = base.tokens(images, DEPTH - 1)
    token, patches = tokens[:, :1], list(tokens[:, 1:].unbind(dim=1))
    shifted = patches[4:] + patches[:4]
    if len(shifted) % 2:
        shifted.append(shifted[-2])
    half = len(shifted) // 2
    shuffled = [part for pair in zip(shifted[:half], shifted[half:], strict=True) for part in pair]
    size = len(patches) // 4
    groups = [torch.stack(shuffled[i * size : (i + 1) * size], dim=1) for i in range(4)]
    local = [b2(torch.cat((token, group), dim=1))[:, 0] for group in groups]
    return [b1(tokens)[:, 0], *local]


@pytest.mark.parametrize(("size", "stride"), [(SIZE, 16), ((96, 48), 12)])
def test_of_jpm_the_trained_last_blocks_are_taken(tmp_path, size, stride):
    base = TransReID(size, stride)
    b1, b2 = (nn.Sequential(Block(), nn.LayerNorm(D, eps=1e-6)) for _ in range(2))
    content = names(base.state_dict(), "base.") | names(b1.state_dict(), "b1.")
    content |= names(b2.state_dict(), "b2.") | names(neck(10, D), "bottleneck.")
    for i in range(1, 5):
        content |= names(neck(10 + i, D), f"bottleneck_{i}.")
        content |= {
            "classifier.weight": torch.ones(7, D),
            f"classifier_{i}.weight": torch.ones(7, D),
        }
    content |= {"base.fc.weight": torch.ones(1000, D), "base.fc.bias": torch.ones(1000)}
    embedder, embeddings = loaded(content, tmp_path, "vit_base_jpm", size)
    first, *local = jigsaw(base, b1, b2, pixels(size, "half"))
    assert_equal(embeddings, torch.cat([first, *(y / 4 for y in local)], dim=1))
    assert embedder.feature_dim == 5 * D
    assert embedder.layout == Layout(**BEFORE, patch_stride=stride)
    _, embeddings = loaded(
        content,
        tmp_path,
        "vit_base_jpm",
        size,
        layout={"neck": "after", "normalization": "half", "patch_stride": stride},
    )
    wanted = [after(neck(10 + i, D), y) for i, y in enumerate((first, *local))]
    assert_equal(embeddings, torch.cat([wanted[0], *(y / 4 for y in wanted[1:])], dim=1))


@pytest.mark.parametrize("stride", [16, 12, 11])
def test_overlapping_patches_are_known_by_the_number_of_positions(tmp_path, stride):
    size = (96, 48)
    base = TransReID(size, stride)
    content = names(base.state_dict(), "base.") | names(neck(3, D), "bottleneck.")
    embedder, embeddings = loaded(content, tmp_path, "vit_base", size)
    assert_equal(embeddings, base(pixels(size, "half")))
    assert embedder.layout.patch_stride == stride
    checkpoint = tmp_path / "last.ckpt"  # of a run with this network: says it
    record = {
        "format": 1,
        "model": dict(embedder.architecture),
        "image": {"height": 96, "width": 48},
    }
    tensors = names(embedder.state_dict(), "student.")
    torch.save({"state_dict": tensors, "dccc_lightning": record}, checkpoint)
    again = build_embedder("vit_base", weights=str(checkpoint), image_size=size)
    assert again.layout == embedder.layout
    assert not again.neck.weight.requires_grad  # unused: DDP would wait for its gradient


def test_a_refused_file_leaves_the_grid_as_it_was(tmp_path):
    content = names(TransReID((96, 48), 12).state_dict(), "base.") | names(
        neck(3, D), "bottleneck."
    )
    del content["base.blocks.3.norm1.weight"]
    embedder = build_embedder("vit_base", weights=None, image_size=(96, 48))
    before = {name: value.clone() for name, value in embedder.state_dict().items()}
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"missing backbone\.blocks\.3\.norm1\.weight"):
        load_weights(embedder, str(tmp_path / "w.pth"), "vit_base")
    assert embedder.layout == Layout()
    assert all(torch.equal(value, before[name]) for name, value in embedder.state_dict().items())


def test_cluster_contrast_of_transreid_ssl_has_a_neck(tmp_path):
    base = TransReID()
    content = names(base.state_dict() | names(neck(3, D), "bottleneck."), "module.")
    embedder, embeddings = loaded({"state_dict": content, "epoch": 3}, tmp_path, "vit_small")
    assert_equal(embeddings, after(neck(3, D), base(pixels(SIZE, "half"))))
    assert embedder.layout == Layout(normalization="half")


PASS_TOKENS = drawn(
    20, part_token1=(1, 1, D), part_token2=(1, 1, D), part_token3=(1, 1, D),
    cls_pos=(1, 1, D), part1_pos=(1, 1, D), part2_pos=(1, 1, D), part3_pos=(1, 1, D),
)  # fmt: skip


def pass_network(base):
    """Names and embeddings of PASS: the class token beside the mean of three part tokens."""
    state = dict(base.state_dict()) | PASS_TOKENS
    state["pos_embed"] = state["pos_embed"][:, 1:]

    def forward(images):
        patches = base.patch_embed["proj"](images).flatten(2).transpose(1, 2) + state["pos_embed"]
        first = [state["cls_token"] + state["cls_pos"]]
        first += [state[f"part_token{i}"] + state[f"part{i}_pos"] for i in (1, 2, 3)]
        x = torch.cat([*(t.expand(len(images), -1, -1) for t in first), patches], dim=1)
        for block in base.blocks:
            x = block(x)
        x = base.norm(x)
        return torch.cat((x[:, 0], (x[:, 1] + x[:, 2] + x[:, 3]) / 3), dim=1)

    return state, forward


@pytest.mark.parametrize("kind", ["pass", "pass_usl", "pass_fine_tuned"])
def test_pass_has_part_tokens(tmp_path, kind):
    state, forward = pass_network(TransReID())
    if kind == "pass":
        content = {"teacher": names(state, "backbone.") | {"head.mlp.0.weight": torch.ones(3, D)}}
        layout = Layout()
    elif kind == "pass_usl":
        content = {"state_dict": names(state | names(neck(3, 2 * D), "bottleneck."), "module.")}
        layout = Layout(normalization="half")
    else:
        content = names(state, "base.") | {"classifier.weight": torch.ones(7, 2 * D)}
        for i in ("", "_1", "_2", "_3"):
            content |= names(neck(3, D), f"bottleneck{i}.")
        layout = Layout(**BEFORE)
    embedder, embeddings = loaded(content, tmp_path, "vit_small_pass")
    assert embedder.layout == layout
    wanted = forward(pixels(SIZE, layout.normalization))
    if kind == "pass":
        wanted = after(embedder.neck.state_dict(), wanted)
    elif kind == "pass_usl":
        wanted = after(neck(3, 2 * D), wanted)
    assert_equal(embeddings, wanted)


ZERO = torch.zeros(2)
VIT = {"base.cls_token": ZERO, "base.blocks.0.norm1.weight": ZERO, "bottleneck.weight": ZERO}
JPM = {"base.blocks.0.a": ZERO, "b1.0.a": ZERO, "b2.0.a": ZERO}
CLASSES = {"classifier.weight": ZERO}
SIE = "camera embeddings (SIE)"
RN50 = "CLIP's ResNet with attention pooling"
REFUSED = [  # backbone, names, part of the message
    ("clip_vit_base", {"image_encoder.proj": ZERO, "cv_embed": ZERO} | CLASSES, SIE),
    ("clip_vit_base", {"image_encoder.layer1.0.conv1.weight": ZERO}, RN50),
    ("clip_vit_base", {"visual.conv1.weight": ZERO, "visual.attnpool.k_proj.bias": ZERO}, RN50),
    ("resnet10", {"image_encoder.proj": ZERO}, "choose model.backbone=clip_vit_base"),
    ("vit_base", VIT | {"base.sie_embed": ZERO}, f"{SIE}, which other cameras do not have"),
    ("vit_base_jpm", JPM | {"base.sie_embed": ZERO}, SIE),
    ("vit_base", JPM, "choose model.backbone=vit_base_jpm"),
    ("vit_small_pass", {"part_token1": ZERO, "bottleneck_pt1.weight": ZERO}, "single part tokens"),
    ("vit_small_pass", {"part_token1": ZERO, "patch_embed.conv.0.weight": ZERO}, "stem of conv"),
    ("vit_small", {"part_token1": ZERO}, "choose model.backbone=vit_small_pass or vit_base_pass"),
]


@pytest.mark.parametrize(("backbone", "content", "part"), REFUSED)
def test_other_networks_are_refused_by_name(tmp_path, backbone, content, part):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError) as caught:
        build_embedder(backbone, weights=str(tmp_path / "w.pth"), image_size=SIZE)
    assert part in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_parts_are_frozen_by_name():
    embedder = build_embedder(
        "clip_vit_base",
        weights=None,
        image_size=SIZE,
        freeze=["patch_embed", "backbone.blocks.1", "pos_embed"],
    )
    frozen = {name for name, value in embedder.named_parameters() if not value.requires_grad}
    blocks = {name for name in frozen if name.startswith("backbone.blocks.1.")}
    assert len(blocks) == 12  # of blocks.10 and blocks.11 none
    assert frozen - blocks == {
        "backbone.patch_embed.proj.weight",
        "backbone.pos_embed",
        "neck.bias",
    }
    assert "freeze" not in embedder.architecture
    with pytest.raises(ValueError, match=r"has no part 'patch_embd'; the nearest are patch_embed,"):
        build_embedder("clip_vit_base", weights=None, image_size=SIZE, freeze=["patch_embd"])
    with pytest.raises(ValueError, match="freeze: nothing is left to train"):
        build_embedder("resnet10", weights=None, freeze=["backbone", "neck"])
    with pytest.raises(ValueError, match="freeze must be a list of names of parts, got 'conv1'"):
        build_embedder("resnet10", weights=None, freeze="conv1")


def test_openais_weights_come_from_timm(monkeypatch):
    import timm

    monkeypatch.setitem(
        catalog.TRANSFORMERS, "clip_vit_base", catalog.TransformerPlan(24, 2, "clip")
    )
    source = timm.models.VisionTransformer(
        64, 16, num_classes=16, embed_dim=D, num_heads=HEADS, pre_norm=True, act_layer="quick_gelu",
        norm_layer=lambda dim, **kwargs: nn.LayerNorm(dim, 1e-5), weight_init="skip",
    )  # fmt: skip
    for value in source.parameters():
        value.data.normal_(std=0.3)
    asked = []

    def create(name, pretrained):
        asked.append((name, pretrained))
        return source

    monkeypatch.setattr(timm, "create_model", create)
    embedder = build_embedder("clip_vit_base", weights="clip", image_size=(64, 64)).eval()
    assert asked == [("vit_base_patch16_clip_quickgelu_224.openai", True)]
    assert embedder.layout == Layout(normalization="clip")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        token = source.eval().forward_features(images)[:, 0]
        wanted = torch.cat((token, token @ source.head.weight.T), dim=1)
        torch.testing.assert_close(embedder.backbone(images)[:, :, 0, 0], wanted)
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: 1 / 0)
    with pytest.raises(UserError, match=r"model\.weights=clip: the weights of clip_vit_base could"):
        pretrained.clip_state()


def test_weights_by_name_are_for_their_networks():
    for backbone, weights, said in (
        ("resnet10", "clip", "they are for model.backbone=clip_vit_base, not resnet10"),
        ("clip_vit_base", "imagenet", "there are none for clip_vit_base; pass clip or a file"),
        ("vit_small", "imagenet", "there are none for vit_small; pass a file"),
    ):
        with pytest.raises(UserError, match=re.escape(f"model.weights={weights}: {said}")):
            build_embedder(backbone, weights=weights)
