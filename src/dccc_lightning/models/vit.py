"""Vision transformer of timm, and the convolution stem of TransReID-SSL.

Source of the stem and of the names of its weights: the repository damo-cv/TransReID-SSL, files
``transreid_pytorch/model/backbones/vit_pytorch.py`` and ``dino/ours_vit.py`` (commit fc39e88);
Luo et al., "Self-Supervised Pre-Training for Transformer-Based Person Re-Identification",
arXiv 2111.12084. Not tested with the real files.
"""

from functools import partial
from typing import Any, ClassVar

from timm.layers.attention import Attention
from timm.models import vision_transformer
from torch import Tensor, nn

from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.catalog import PATCH, check_multiple
from dccc_lightning.models.instance_batchnorm import InstanceBatchNorm
from dccc_lightning.models.layout import OF_TRANSFORMERS, Layout
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
    options: ClassVar[tuple[str, ...]] = OF_TRANSFORMERS

    def __init__(self, image_size: tuple[int, int], **options: Any) -> None:
        check_multiple(image_size, PATCH)
        super().__init__(image_size, PATCH, num_classes=0, **options)
        self.image_size = tuple(image_size)
        self.positions = self.grid(PATCH)
        self.out_channels = self.embed_dim
        self.own_heads = int(options.get("num_heads", 12))

    def grid(self, stride: int) -> PositionGrid:
        """Return the grid of patches at a distance of ``stride`` pixels."""
        height, width = ((side - PATCH) // stride + 1 for side in self.image_size)
        return PositionGrid(height, width, self.num_prefix_tokens)

    def arrange(self, layout: Layout) -> None:
        """Set the heads, and the distance of the patches; new position embeddings are random.

        Raises:
            ValueError: The heads do not divide the size of the tokens.
        """
        self._set_heads(layout.heads or self.own_heads)
        grid = self.grid(layout.patch_stride)
        if grid == self.positions:
            return
        self.positions = grid
        self.patch_embed.proj.stride = (layout.patch_stride, layout.patch_stride)
        self.patch_embed.grid_size = (grid.height, grid.width)
        self.patch_embed.num_patches = grid.height * grid.width
        assert self.pos_embed is not None
        self.pos_embed = nn.Parameter(self.pos_embed.new_empty(1, grid.count, self.embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def _set_heads(self, heads: int) -> None:
        if self.embed_dim % heads:
            raise ValueError(
                f"layout.heads={heads}: must divide the size of tokens {self.embed_dim}"
            )
        for attention in self.modules():
            if isinstance(attention, Attention):
                attention.num_heads, attention.head_dim = heads, self.embed_dim // heads
                attention.scale = attention.head_dim**-0.5

    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]
        """Map (B, 3, H, W) normalised images to embeddings, (B, D, 1, 1).

        Raises:
            ValueError: The size of the images differs from that of the position embeddings.
        """
        if images.shape[2:] != self.image_size:
            ours, theirs = (" x ".join(map(str, s)) for s in (self.image_size, images.shape[2:]))
            raise ValueError(f"the position embeddings are for images of {ours}, got {theirs}")
        return self.embed(images)[:, :, None, None]

    def embed(self, images: Tensor) -> Tensor:
        """Return the vectors (B, D) of images of the right size."""
        tokens: Tensor = self.forward_features(images)
        return tokens[:, 0]


class ConvStemTransformer(VisionTransformer):
    """Vision transformer whose patches are cut out of the maps of a convolution stem.

    Args:
        image_size: Height and width of the images in pixels, multiples of 16.
        group_size: Number of images of the global batch that share batch-norm statistics.
        **options: Arguments of timm's VisionTransformer.
    """

    options = ()

    def __init__(self, image_size: tuple[int, int], group_size: int, **options: Any) -> None:
        super().__init__(image_size, embed_layer=partial(ConvPatches, group_size), **options)


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
