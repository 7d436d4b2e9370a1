"""The network that turns a person crop into an embedding."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dccc_lightning.models.backbones import build_backbone
from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.catalog import check_embedder, check_pooling
from dccc_lightning.models.pooling import build_pooling
from dccc_lightning.models.weights import load_weights


class Embedder(nn.Module):
    """Backbone, pooling, batch-norm neck, L2 normalisation (METHOD, network).

    The neck's bias is frozen at zero, which keeps the hypersphere centred (Luo et al., "Bag of
    Tricks and a Strong Baseline for Deep Person Re-identification", 2019). Images are brought into
    channels-last order, in which convolutions are fastest.

    Args:
        backbone: Maps (B, 3, H, W) to (B, D, h, w).
        pooling: Maps (B, D, h, w) to (B, D).
        feature_dim: D.
        bn_group_size: Images of the global batch that share batch-norm statistics.
    """

    def __init__(
        self, backbone: nn.Module, pooling: nn.Module, feature_dim: int, bn_group_size: int
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.neck = GroupedBatchNorm(feature_dim, group_size=bn_group_size)
        cast(Tensor, self.neck.bias).requires_grad_(False)
        self.feature_dim = feature_dim

    def pool(self, images: Tensor) -> Tensor:
        """Return the (B, D) features before the neck, of any length."""
        images = images.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.pooling(self.backbone(images))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Embed normalised images.

        Args:
            images: (B, 3, H, W) float.

        Returns:
            (B, D) float32 embeddings of length 1.
        """
        return F.normalize(self.neck(self.pool(images)).float(), dim=1)


def build_embedder(
    backbone: str = "resnet50",
    width: float = 1.0,
    pooling: str = "avg",
    weights: str | None = "imagenet",
    bn_group_size: int = 64,
    image_size: tuple[int, int] | None = None,
) -> Embedder:
    """Build an embedder by names and load its weights.

    Args:
        backbone: One of ``models.catalog.BACKBONES``, or ``timm/NAME``.
        width: Factor on the number of channels (ResNets of basic blocks only).
        pooling: ``avg`` or ``gem``; transformers, which end in one token, take ``avg`` alone.
        weights: ``imagenet`` (torchvision's, IBN-Net's or timm's, by name), ``bundled`` (this
            package's, for resnet10 at half width), the path of a file, or None for random weights.
        bn_group_size: Images of the global batch that share batch-norm statistics.
        image_size: Height and width of the images in pixels, 256 x 128 if None; transformers alone
            depend on it.

    Raises:
        ValueError: A name or number is out of range.
        UserError: The weights cannot be found, read or fitted, or timm is missing.
    """
    check_embedder(backbone, width, pooling, weights, bn_group_size, image_size)
    trunk = build_backbone(backbone, width, bn_group_size, image_size)
    check_pooling(pooling, trunk.ends_in_map)
    embedder = Embedder(trunk, build_pooling(pooling), trunk.out_channels, bn_group_size)
    if weights is not None:
        load_weights(embedder, weights, backbone)
    embedder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
    return embedder
