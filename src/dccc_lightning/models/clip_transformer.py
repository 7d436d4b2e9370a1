"""Image encoder of CLIP, with its projection.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
2021; two necks: Li et al., "CLIP-ReID", AAAI 2023.
"""

from functools import partial
from typing import Any

import torch
from timm.layers.activations import QuickGELU
from timm.layers.norm import LayerNorm
from torch import Tensor, nn

from dccc_lightning.models.layout import OF_CLIP, PUBLISHED, Layout
from dccc_lightning.models.vit import VisionTransformer


class ClipTransformer(VisionTransformer):
    """Vision transformer of CLIP that returns its class token beside the projection of it.

    Its activation is OpenAI's approximation of GELU, x sigmoid(1.702 x), unless the layout has
    another. A batch norm of the output is a neck for each of the two vectors, as it works on single
    channels.

    Args:
        image_size: Height and width of the images in pixels, multiples of 16.
        **options: Arguments of timm's VisionTransformer.
    """

    options = OF_CLIP

    def __init__(self, image_size: tuple[int, int], **options: Any) -> None:
        norm = partial(LayerNorm, eps=1e-5)
        super().__init__(image_size, pre_norm=True, norm_layer=norm, **options)
        self.arrange(PUBLISHED)
        projected = self.embed_dim * 2 // 3  # 512 of ViT-B
        self.projection = nn.Linear(self.embed_dim, projected, bias=False)
        nn.init.normal_(self.projection.weight, std=self.embed_dim**-0.5)
        self.parts = (self.embed_dim, projected)
        self.out_channels = sum(self.parts)

    def arrange(self, layout: Layout) -> None:
        """Set the distance of the patches and the activation."""
        super().arrange(layout)
        for block in self.blocks:
            block.get_submodule("mlp").act = (
                QuickGELU() if layout.activation == "quick_gelu" else nn.GELU()
            )

    def embed(self, images: Tensor) -> Tensor:
        """Return the class token and its projection, (B, 5 / 3 D)."""
        token = super().embed(images)
        return torch.cat((token, self.projection(token)), dim=1)
