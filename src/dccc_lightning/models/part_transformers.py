"""Vision transformers with vectors of parts: TransReID's JPM and PASS.

Sources: damo-cv/TransReID dec5504, ``model/make_model.py`` (He et al., "TransReID", ICCV 2021);
CASIA-IVA-Lab/PASS-reID 5b84b42, ``PASS_transreid`` (Zhu et al., "PASS", ECCV 2022).
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from dccc_lightning.models.vit import VisionTransformer

_GROUPS, _SHIFT, _REGIONS = 4, 5, 2


class JigsawTransformer(VisionTransformer):
    """Vision transformer with the jigsaw patch module (JPM).

    Two copies of the last block and its norm follow the other blocks: one for all patches, one for
    each of four groups of shifted and shuffled patches, together with the class token. Embeddings
    are the five class tokens, those of the groups divided by 4.

    Args:
        image_size: Height and width of the images in pixels, multiples of 16.
        **options: Arguments of timm's VisionTransformer.
    """

    def __init__(self, image_size: tuple[int, int], **options: Any) -> None:
        super().__init__(image_size, **options)
        last = self.blocks[-1]
        self.b1 = nn.Sequential(last, self.norm)
        self.b2 = deepcopy(self.b1)
        self.blocks = nn.Sequential(*list(self.blocks.children())[:-1])
        self.norm = nn.Identity()
        self.parts = (self.embed_dim,) * (1 + _GROUPS)
        self.out_channels = sum(self.parts)

    def embed(self, images: Tensor) -> Tensor:
        """Return the class tokens of all patches and of the groups, (B, 5 D)."""
        tokens: Tensor = self.forward_features(images)
        token, patches = tokens[:, :1], self._shuffled(tokens[:, 1:])
        size = (tokens.shape[1] - 1) // _GROUPS
        groups = [patches[:, i * size : (i + 1) * size] for i in range(_GROUPS)]
        local = [self.b2(torch.cat((token, group), dim=1))[:, 0] / _GROUPS for group in groups]
        return torch.cat((self.b1(tokens)[:, 0], *local), dim=1)

    def _shuffled(self, patches: Tensor) -> Tensor:
        """Shift the patches by four, then interleave their two halves."""
        shifted = torch.roll(patches, 1 - _SHIFT, dims=1)
        if shifted.shape[1] % _REGIONS:
            shifted = torch.cat((shifted, shifted[:, -2:-1]), dim=1)
        batch, count, dim = shifted.shape
        regions = shifted.reshape(batch, _REGIONS, count // _REGIONS, dim)
        return regions.transpose(1, 2).reshape(batch, count, dim)


class PartTokenTransformer(VisionTransformer):
    """Vision transformer with three part tokens after the class token.

    Embeddings are the class token beside the mean of the part tokens.

    Args:
        image_size: Height and width of the images in pixels, multiples of 16.
        **options: Arguments of timm's VisionTransformer.
    """

    def __init__(self, image_size: tuple[int, int], **options: Any) -> None:
        super().__init__(image_size, reg_tokens=3, **options)
        self.parts = (2 * self.embed_dim,)
        self.out_channels = 2 * self.embed_dim

    def embed(self, images: Tensor) -> Tensor:
        """Return the class token and the mean of the part tokens, (B, 2 D)."""
        tokens: Tensor = self.forward_features(images)
        parts = tokens[:, 1 : self.num_prefix_tokens]
        return torch.cat((tokens[:, 0], parts.mean(dim=1)), dim=1)
