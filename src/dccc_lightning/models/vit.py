"""Vision transformers of timm, with the convolution stem of TransReID-SSL.

Source of the stem and of the names of its weights: the repository damo-cv/TransReID-SSL, files
``transreid_pytorch/model/backbones/vit_pytorch.py`` and ``dino/ours_vit.py`` (commit fc39e88);
Luo et al., "Self-Supervised Pre-Training for Transformer-Based Person Re-Identification",
arXiv 2111.12084. Not tested with the real files.
"""

from functools import partial
from typing import Any

from timm.models import vision_transformer
from torch import Tensor, nn

from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.catalog import PATCH, TRANSFORMERS, check_patches
from dccc_lightning.models.instance_batchnorm import InstanceBatchNorm
from dccc_lightning.models.position_grid import PositionGrid
from dccc_lightning.models.trunk import Trunk


class VisionTransformer(vision_transformer.VisionTransformer, Trunk):
    """Vision transformer that returns its class token after the last layer norm as a 1 x 1 map.

    Dosovitskiy et al., "An Image is Worth 16x16 Words", 2020. Dropout and stochastic depth are
    disabled, as they would make student and teacher different networks at every step and resumed
    runs irreproducible.

    Args:
        image_size: Height and width of the images in pixels, multiples of 16.
        **options: Arguments of timm's VisionTransformer.
    """

    ends_in_map = False

    def __init__(self, image_size: tuple[int, int], **options: Any) -> None:
        check_patches(image_size)
        super().__init__(image_size, PATCH, num_classes=0, **options)
        self.image_size = tuple(image_size)
        height, width = self.patch_embed.grid_size
        self.positions = PositionGrid(height, width, prefix=1)
        self.out_channels = self.embed_dim

    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]
        """Map (B, 3, H, W) normalised images to class tokens, (B, D, 1, 1).

        Raises:
            ValueError: The size of the images differs from that of the position embeddings.
        """
        if images.shape[2:] != self.image_size:
            ours, theirs = (" x ".join(map(str, s)) for s in (self.image_size, images.shape[2:]))
            raise ValueError(f"the position embeddings are for images of {ours}, got {theirs}")
        token: Tensor = super().forward(images)
        return token[:, :, None, None]


class ConvPatches(nn.Module):
    """Patch embedding with the IBN-based convolution stem (ICS) at half the resolution.

    Args:
        group_size: Number of images of the global batch that share batch-norm statistics.
        img_size: Height and width of the images in pixels.
        embed_dim: D, the size of a token.
        hidden: Number of channels of the maps.
        **options: Further arguments of timm's PatchEmbed, ignored.
    """

    def __init__(
        self,
        group_size: int,
        img_size: tuple[int, int],
        embed_dim: int,
        hidden: int = 64,
        **options: Any,
    ) -> None:
        super().__init__()
        self.grid_size = (img_size[0] // PATCH, img_size[1] // PATCH)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
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
        self.proj = nn.Conv2d(hidden, embed_dim, kernel_size=PATCH // 2, stride=PATCH // 2)

    def forward(self, images: Tensor) -> Tensor:
        """Return the tokens (B, H / 16 * W / 16, D), row by row."""
        tokens: Tensor = self.proj(self.conv(images)).flatten(2).transpose(1, 2)
        return tokens


def build_vit(name: str, image_size: tuple[int, int], group_size: int) -> VisionTransformer:
    """Build one of ``TRANSFORMERS`` with random weights."""
    dim, heads, conv_stem = TRANSFORMERS[name]
    stem = {"embed_layer": partial(ConvPatches, group_size)} if conv_stem else {}
    return VisionTransformer(image_size, embed_dim=dim, num_heads=heads, **stem)
