"""SOLIDER's Swin transformers, beside a reference that attends over all positions with a mask."""

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("timm")

from dccc_lightning.data.augmentation import normalize
from dccc_lightning.errors import UserError
from dccc_lightning.models import catalog
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.models.layout import Layout

SIZE, HEADS, NAME = (64, 32), 2, "solider_swin_tiny"
PIXELS = torch.randint(0, 256, (2, 3, *SIZE), generator=torch.Generator().manual_seed(3))
PIXELS = PIXELS.to(torch.uint8)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setitem(catalog.SWINS, NAME, (8, (2, 2, 2, 2), (HEADS,) * 4))


def published(semantic=True):
    """Tensors by mmcv's names, with random values."""
    torch.manual_seed(1)
    trunk = build_embedder(NAME, weights=None, image_size=SIZE).backbone
    state = {k: torch.randn_like(v) * 0.4 for k, v in trunk.state_dict().items()}
    state = {k: v for k, v in state.items() if not k.startswith(("scale", "shift"))}
    for stage, dim in enumerate((16, 32, 64, 64)):
        state[f"norm{stage}.weight"] = state.get(f"norm{stage}.weight", torch.ones(dim // 2))
        for part in "wb" if semantic else "":
            state[f"semantic_embed_{part}.{stage}.weight"] = torch.randn(dim, 2)
            state[f"semantic_embed_{part}.{stage}.bias"] = torch.randn(dim)
    return state


def layer_norm(x, state, name):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def linear(x, state, name):
    return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def attention(x, state, name, shift):
    _, height, width, dim = x.shape
    x = F.pad(x, (0, 0, 0, -width % 7, 0, -height % 7))
    rows, columns = x.shape[1:3]
    x = x.roll((-shift, -shift), (1, 2)).reshape(-1, rows * columns, dim)
    y, z = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    y, z = y.reshape(-1), z.reshape(-1)
    window = (y // 7) * 100 + z // 7
    parts = [(p >= n - 7).int() + (p >= n - shift).int() for p, n in ((y, rows), (z, columns))]
    region = parts[0] * 3 + parts[1] if shift else torch.zeros_like(y)
    bias = torch.full((len(y), len(y), HEADS), -torch.inf)
    inside = window[:, None] == window
    offset = (y[:, None] - y + 6) * 13 + z[:, None] - z + 6
    bias[inside] = state[f"{name}.relative_position_bias_table"][offset[inside]]
    bias[inside & (region[:, None] != region)] -= 100
    q, k, v = linear(x, state, f"{name}.qkv").unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    weights = (q @ k.mT / (dim // HEADS) ** 0.5 + bias.permute(2, 0, 1)).softmax(dim=3)
    x = linear((weights @ v).transpose(1, 2).flatten(2), state, f"{name}.proj")
    x = x.reshape(-1, rows, columns, dim).roll((shift, shift), (1, 2))
    return x[:, :height, :width]


def reference(state, images, weight=0.2):
    x = F.conv2d(
        images, state["patch_embed.projection.weight"], state["patch_embed.projection.bias"], 4
    )
    x = layer_norm(x.permute(0, 2, 3, 1), state, "patch_embed.norm")
    for stage in range(4):
        for number in range(2):
            block = f"stages.{stage}.blocks.{number}"
            y = layer_norm(x, state, f"{block}.norm1")
            x = x + attention(y, state, f"{block}.attn.w_msa", 3 * number)
            y = linear(layer_norm(x, state, f"{block}.norm2"), state, f"{block}.ffn.layers.0.0")
            x = x + linear(F.gelu(y), state, f"{block}.ffn.layers.1")
        if stage == 3:
            break
        batch, height, width, _ = x.shape
        y = F.unfold(x.permute(0, 3, 1, 2), 2, stride=2).mT
        y = linear(layer_norm(y, state, f"stages.{stage}.downsample.norm"), state,
                   f"stages.{stage}.downsample.reduction")  # fmt: skip
        x = y.reshape(batch, height // 2, width // 2, -1)
        if f"semantic_embed_w.{stage}.weight" in state:
            given = torch.tensor([weight, 1 - weight])
            scale = linear(given, state, f"semantic_embed_w.{stage}")
            x = x * F.softplus(scale) + linear(given, state, f"semantic_embed_b.{stage}")
    return layer_norm(x, state, "norm3").mean((1, 2))


def embedded(content, tmp_path, **options):
    torch.save(content, tmp_path / "w.pth")
    embedder = build_embedder(
        NAME, weights=str(tmp_path / "w.pth"), image_size=SIZE, **options
    ).eval()
    again = build_embedder(weights=None, image_size=SIZE, **embedder.architecture).eval()
    again.load_state_dict(embedder.state_dict())
    with torch.no_grad():
        embeddings = embedder(normalize(PIXELS))
        assert torch.equal(again(normalize(PIXELS)), embeddings)
    return embedder, embeddings


@pytest.mark.parametrize("semantic", [True, False])
def test_fine_tuned_it_embeds_before_the_neck(tmp_path, semantic):
    state = published(semantic)
    content = {f"base.{name}": value for name, value in state.items()}
    content["base.stages.0.blocks.0.attn.w_msa.relative_position_index"] = torch.zeros(49, 49)
    content["classifier.weight"] = torch.ones(7, 64)
    for name in ("weight", "bias", "running_mean", "running_var"):
        content[f"bottleneck.{name}"] = torch.ones(64)
    embedder, embeddings = embedded(content, tmp_path)
    wanted = F.normalize(reference(state, (PIXELS / 255 - 0.5) / 0.5))
    torch.testing.assert_close(embeddings, wanted, rtol=0, atol=3e-5)
    layout = Layout(normalization="half", interpolation="bilinear", neck="before")
    assert embedder.layout == layout


def test_of_the_pretraining_the_teacher_is_taken(tmp_path):
    state = published()
    teacher = {f"backbone.{name}": value for name, value in state.items()}
    content = {"student": {}, "teacher": teacher | {"head.mlp.0.weight": torch.ones(3, 64)}}
    _, embeddings = embedded(content, tmp_path, layout={"neck": "before"})
    wanted = F.normalize(reference(state, normalize(PIXELS)))
    torch.testing.assert_close(embeddings, wanted, rtol=0, atol=3e-5)


def test_other_sizes_and_backbones_are_refused(tmp_path):
    with pytest.raises(ValueError, match="image_size must be multiples of 32, got 64 x 48"):
        build_embedder(NAME, weights=None, image_size=(64, 48))
    torch.save({f"base.{k}": v for k, v in published().items()}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"choose model\.backbone=solider_swin_tiny or"):
        build_embedder("resnet10", weights=str(tmp_path / "w.pth"))
