"""Embedding network: backbone, pooling and batch-norm neck."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dccc_lightning.models.backbones import build_backbone
from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.catalog import OWN, check_embedder, check_pooling
from dccc_lightning.models.input_normalization import InputNormalization
from dccc_lightning.models.layout import PUBLISHED, Layout
from dccc_lightning.models.pooling import GeneralizedMean, build_pooling
from dccc_lightning.models.trunk import Trunk
from dccc_lightning.models.weights import load_weights
from dccc_lightning.models.wrapped_trunk import wrap_backbone


class Embedder(nn.Module):
    """Network of backbone, pooling, batch-norm neck and L2 normalisation.

    The neck's bias is frozen at zero (Luo et al., "Bag of Tricks and a Strong Baseline for Deep
    Person Re-identification", 2019). Images are converted to channels-last order, which is faster.

    Args:
        backbone: Module that maps (B, 3, H, W) to (B, D, h, w).
        pooling: Module that maps (B, D, h, w) to (B, D).
        feature_dim: D, the size of the embeddings.
        bn_group_size: Number of images of the global batch that share batch-norm statistics.

    Attributes:
        layout: Options of the network; set by ``arrange``.
        architecture: Arguments of ``build_embedder`` that rebuild it; empty if it was built
            otherwise.
    """

    architecture: Mapping[str, Any] = {}
    layout: Layout = PUBLISHED

    def __init__(
        self, backbone: nn.Module, pooling: nn.Module, feature_dim: int, bn_group_size: int
    ) -> None:
        super().__init__()
        self.normalization: nn.Module = nn.Identity()
        self.backbone = backbone
        self.pooling = pooling
        self.neck = GroupedBatchNorm(feature_dim, group_size=bn_group_size)
        cast(Tensor, self.neck.bias).requires_grad_(False)
        self.feature_dim = feature_dim

    def pool(self, images: Tensor) -> Tensor:
        """Return the pooled features (B, D) before the neck, not normalised."""
        images = self.normalization(images).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.pooling(self.backbone(images))
        return features

    def check_layout(self, layout: Layout) -> None:
        """Check that the network supports a layout.

        Raises:
            ValueError: Only ResNets of this package support the options.
        """
        if layout.changes_trunk() and not hasattr(self.backbone, "arrange"):
            raise ValueError(
                f"the network of the file has {layout}; choose a ResNet of docs/models.md as "
                "model.backbone"
            )

    def arrange(self, layout: Layout, gem: bool = False) -> None:
        """Set the options of a layout, and record them in ``architecture``.

        Args:
            layout: Options of published networks.
            gem: Change the pooling to GeM.

        Raises:
            ValueError: The backbone does not support the layout.
        """
        self.check_layout(layout)
        if hasattr(self.backbone, "arrange"):
            cast(Any, self.backbone).arrange(layout)
        is_half = layout.normalization == "half"
        self.layout = layout
        self.normalization = InputNormalization() if is_half else nn.Identity()
        if gem and not isinstance(self.pooling, GeneralizedMean):
            self.pooling = GeneralizedMean()
        if self.architecture:
            changed = {"pooling": "gem"} if gem else {}
            options = {"layout": layout.options()} if layout.options() else {}
            others = {k: v for k, v in self.architecture.items() if k != "layout"}
            self.architecture = others | changed | options

    def forward(self, images: Tensor) -> Tensor:
        """Embed normalised images.

        Args:
            images: (B, 3, H, W) float.

        Returns:
            (B, D) float32 embeddings of length 1.
        """
        return F.normalize(self.neck(self.pool(images)).float(), dim=1)


def build_embedder(
    backbone: str | nn.Module = "resnet50",
    width: float = 1.0,
    pooling: str = "avg",
    weights: str | None = "imagenet",
    bn_group_size: int = 64,
    image_size: tuple[int, int] | None = None,
    dialect: str = "auto",
    layout: Mapping[str, Any] | None = None,
) -> Embedder:
    """Build an embedder and load its weights.

    Args:
        backbone: One of ``models.catalog.BACKBONES``, ``timm/NAME``, or a custom module that maps
            normalised images (B, 3, H, W) to (B, D, h, w) or (B, D). The module is copied, and
            batch norms of the copy are replaced by ``GroupedBatchNorm``.
        width: Factor of the number of channels (ResNets of basic blocks only).
        pooling: ``avg`` or ``gem``; backbones that return a vector, such as transformers, support
            ``avg`` only.
        weights: ``imagenet`` (of torchvision, IBN-Net or timm, by backbone), ``bundled`` (of this
            package, for resnet10 at half width), path of a file, or None for random weights, or for
            the weights of a custom module.
        bn_group_size: Number of images of the global batch that share batch-norm statistics.
        image_size: Height and width of the images in pixels, 256 x 128 if None; used by
            transformers and to check custom modules.
        dialect: Family of a file of weights: ``auto`` to recognise it, ``none`` to match names and
            shapes only, or a name of docs/models.md.
        layout: Options of ``Layout``, which override those of the file's family.

    Raises:
        ValueError: A name is unknown, a number out of range, or a module cannot process the images.
        UserError: The weights cannot be found, read or matched, or timm is not installed.
    """
    size = check_embedder(
        backbone, width, pooling, weights, bn_group_size, image_size, dialect, layout
    )
    trunk: Trunk
    if isinstance(backbone, str):
        name = backbone
        trunk = build_backbone(name, width, bn_group_size, image_size)
    else:
        name = f"{OWN}{type(backbone).__module__}.{type(backbone).__qualname__}"
        trunk = wrap_backbone(backbone, size, bn_group_size)
    check_pooling(pooling, trunk.ends_in_map)
    embedder = Embedder(trunk, build_pooling(pooling), trunk.out_channels, bn_group_size)
    embedder.architecture = {
        "backbone": name, "width": width, "pooling": pooling, "bn_group_size": bn_group_size,
    }  # fmt: skip
    embedder.arrange(Layout.of(layout))
    if weights is not None:
        load_weights(embedder, weights, name, dialect)
    embedder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
    return embedder
