"""Vision transformers with the key names of the self-supervised LUP weights of TransReID-SSL.

Source of the names: the repository damo-cv/TransReID-SSL, files
``transreid_pytorch/model/backbones/vit_pytorch.py`` and ``dino/ours_vit.py`` (commit fc39e88);
Luo et al., "Self-Supervised Pre-Training for Transformer-Based Person Re-Identification",
arXiv 2111.12084. Not tried with the real files.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.catalog import PATCH, TRANSFORMERS, check_patches
from dccc_lightning.models.instance_batchnorm import InstanceBatchNorm
from dccc_lightning.models.trunk import PositionGrid, Trunk

DEPTH = 12


class VisionTransformer(Trunk):
    """A ViT whose feature is its class token after the last layer norm, a map of 1 x 1.

    Dosovitskiy et al., "An Image is Worth 16x16 Words", 2020. It has no dropout and no stochastic
    depth: student and teacher would be different networks at every step, and a resumed run
    another one.

    Args:
        dim: D, the size of a token.
        heads: Heads of the attention; divides D.
        conv_stem: Cut patches out of maps instead of the image: three convolutions with instance
            and batch norm at half the resolution (the IBN-based convolution stem, ICS, of arXiv
            2111.12084).
        image_size: Height and width of the images in pixels, multiples of 16.
        group_size: Images of the global batch that share the batch-norm statistics of the stem.
        depth: Number of blocks.
    """

    ends_in_map = False

    def __init__(
        self,
        dim: int,
        heads: int,
        conv_stem: bool,
        image_size: tuple[int, int],
        group_size: int,
        depth: int = DEPTH,
    ) -> None:
        super().__init__()
        check_patches(image_size)
        height, width = image_size
        self.image_size = (height, width)
        self.positions = PositionGrid(height // PATCH, width // PATCH, prefix=1)
        patches = self.positions.height * self.positions.width
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + patches, dim))
        self.patch_embed = ConvPatches(dim, group_size) if conv_stem else Patches(dim)
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.out_channels = dim
        for values in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(values, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images to class tokens, (B, D, 1, 1).

        Raises:
            ValueError: Images of another size than the position embeddings.
        """
        if images.shape[2:] != self.image_size:
            ours, theirs = (" x ".join(map(str, s)) for s in (self.image_size, images.shape[2:]))
            raise ValueError(f"the position embeddings are for images of {ours}, got {theirs}")
        patches = self.patch_embed(images)
        token = self.cls_token.expand(images.shape[0], -1, -1)
        x = torch.cat((token, patches), dim=1) + self.pos_embed
        feature: Tensor = self.norm(self.blocks(x)[:, 0])
        return feature[:, :, None, None]


class Patches(nn.Module):
    """Cuts an image into tokens, (B, 3, H, W) to (B, H / 16 * W / 16, D), row by row."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=PATCH, stride=PATCH)

    def forward(self, images: Tensor) -> Tensor:
        """Return the tokens."""
        tokens: Tensor = self.proj(images).flatten(2).transpose(1, 2)
        return tokens


class ConvPatches(nn.Module):
    """Cuts tokens out of maps of half the resolution (ICS)."""

    def __init__(self, dim: int, group_size: int, hidden: int = 64) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, hidden, kernel_size=7, stride=2, padding=3, bias=False),
            InstanceBatchNorm(hidden, group_size),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, bias=False),
            InstanceBatchNorm(hidden, group_size),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, bias=False),
            GroupedBatchNorm(hidden, group_size),
            nn.ReLU(inplace=True),
        )
        self.proj = nn.Conv2d(hidden, dim, kernel_size=PATCH // 2, stride=PATCH // 2)

    def forward(self, images: Tensor) -> Tensor:
        """Return the tokens."""
        tokens: Tensor = self.proj(self.conv(images)).flatten(2).transpose(1, 2)
        return tokens


class Block(nn.Module):
    """Attention among the tokens, then a perceptron on each, both with layer norm before."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential()
        self.mlp.add_module("fc1", nn.Linear(dim, 4 * dim))
        self.mlp.add_module("act", nn.GELU())
        self.mlp.add_module("fc2", nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens of the same shape, (B, N, D)."""
        x = x + self.attn(self.norm1(x))
        output: Tensor = x + self.mlp(self.norm2(x))
        return output


class Attention(nn.Module):
    """Self-attention with several heads."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens of the same shape, (B, N, D)."""
        batch, tokens, dim = x.shape
        split = self.qkv(x).view(batch, tokens, 3, self.heads, dim // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind()
        mixed = F.scaled_dot_product_attention(query, key, value)
        output: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return output


def build_vit(name: str, image_size: tuple[int, int], group_size: int) -> VisionTransformer:
    """Build one of ``TRANSFORMERS`` with random weights."""
    dim, heads, conv_stem = TRANSFORMERS[name]
    return VisionTransformer(dim, heads, conv_stem, image_size, group_size)


def resize_positions(embedding: Tensor, grid: PositionGrid) -> Tensor | None:
    """Interpolate position embeddings to another grid, bicubically; the prefix stays as it is.

    Args:
        embedding: (1, prefix + n, D) for an image as high as wide, or two or three times as high:
            n = h w with h = w, h = 2 w or h = 3 w, which no n fits twice.
        grid: The one that is wanted.

    Returns:
        (1, prefix + height * width, D), or None if n is the product of no such h and w.
    """
    if embedding.dim() != 3 or len(embedding) != 1 or embedding.shape[1] <= grid.prefix:
        return None
    prefix, patches = embedding[:, : grid.prefix], embedding[:, grid.prefix :].float()
    count = patches.shape[1]
    sides = [(ratio, round((count / ratio) ** 0.5)) for ratio in (1, 2, 3)]
    fitting = [(ratio * side, side) for ratio, side in sides if ratio * side**2 == count]
    if not fitting:
        return None
    maps = patches.view(1, *fitting[0], -1).permute(0, 3, 1, 2)
    maps = F.interpolate(
        maps, (grid.height, grid.width), mode="bicubic", align_corners=False, antialias=True
    )
    return torch.cat((prefix.float(), maps.flatten(2).transpose(1, 2)), dim=1)
