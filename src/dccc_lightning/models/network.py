"""Embedding network: backbone, pooling, embedding layer and batch-norm neck."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.embedding_layer import build_embedding_layer
from dccc_lightning.models.input_normalization import input_layer
from dccc_lightning.models.layout import OF_RESNETS, PUBLISHED, Layout
from dccc_lightning.models.pooling import GeneralizedMean
from dccc_lightning.models.trunk import Trunk


class Embedder(nn.Module):
    """Network of backbone, pooling, batch-norm neck and L2 normalisation.

    An embedding layer between pooling and neck is built by ``set_embedding``.

    The neck's bias is frozen at zero (Luo et al., "Bag of Tricks and a Strong Baseline for Deep
    Person Re-identification", 2019). Images are converted to channels-last order, which is faster.

    Args:
        backbone: Module that maps (B, 3, H, W) to (B, D, h, w).
        pooling: Module that maps (B, D, h, w) to (B, D).
        feature_dim: D, the size of the embeddings.
        bn_group_size: Number of images of the global batch that share batch-norm statistics.

    Attributes:
        feature_dim: Size of the embeddings.
        pooled_dim: D.
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
        self.pooled_dim, self._group_size = feature_dim, bn_group_size
        self.set_embedding(0, "linear")

    def set_embedding(self, size: int, kind: str) -> None:
        """Replace embedding layer and neck by new ones.

        Args:
            size: Size of the embeddings; 0 for that of the pooled features, without a layer.
            kind: One of ``layout.EMBEDDINGS``.
        """
        self.feature_dim = size or self.pooled_dim
        self.embedding: nn.Module = nn.Identity()
        if size:
            self.embedding = build_embedding_layer(self.pooled_dim, size, kind, self._group_size)
        self.neck = GroupedBatchNorm(self.feature_dim, group_size=self._group_size)
        cast(Tensor, self.neck.bias).requires_grad_(False)

    def pool(self, images: Tensor) -> Tensor:
        """Return the features (B, D) before the neck, not normalised."""
        images = self.normalization(images).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.embedding(self.pooling(self.backbone(images)))
        return features

    def check_layout(self, layout: Layout) -> None:
        """Check that the network supports a layout.

        Raises:
            ValueError: The backbone lacks an option.
        """
        lacking = layout.unsupported(getattr(self.backbone, "options", ()))
        if lacking.options():
            remedy = "a ResNet" if lacking.unsupported(OF_RESNETS) == PUBLISHED else "a transformer"
            raise ValueError(
                f"the network of the file has {lacking}; choose {remedy} of docs/models.md as "
                "model.backbone"
            )

    def arrange(self, layout: Layout, gem: bool = False, embedding_dim: int | None = None) -> None:
        """Set the options of a layout, and record them in ``architecture``.

        Args:
            layout: Options of published networks.
            gem: Change the pooling to GeM.
            embedding_dim: Size of a new embedding layer; 0 for none, None to keep the present one.

        Raises:
            ValueError: A stage has fewer blocks than non-local blocks.
        """
        if isinstance(self.backbone, Trunk):
            self.backbone.arrange(layout)
        self.layout = layout
        self.normalization = input_layer(layout)
        if gem and not isinstance(self.pooling, GeneralizedMean):
            self.pooling = GeneralizedMean()
        if embedding_dim is not None:
            self.set_embedding(embedding_dim, layout.embedding)
        cast(Tensor, self.neck.weight).requires_grad_(layout.neck == "after")
        if self.architecture:
            changed: dict[str, Any] = {"pooling": "gem"} if gem else {}
            if embedding_dim is not None:
                changed["embedding_dim"] = embedding_dim
            options = {"layout": layout.options()} if layout.options() else {}
            others = {k: v for k, v in self.architecture.items() if k != "layout"}
            self.architecture = others | changed | options

    def become(self, other: "Embedder") -> None:
        """Take over the modules and options of another embedder."""
        vars(self).update(vars(other))

    def forward(self, images: Tensor) -> Tensor:
        """Embed normalised images.

        Args:
            images: (B, 3, H, W) float.

        Returns:
            (B, D) float32 embeddings of length 1.
        """
        features = self.pool(images)
        if self.layout.neck == "after":
            features = self.neck(features)
        return F.normalize(features.float(), dim=1)
