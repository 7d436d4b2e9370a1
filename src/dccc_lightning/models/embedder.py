"""Embedding network: backbone, pooling, embedding layer and batch-norm neck."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dccc_lightning.models.backbones import build_backbone
from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.catalog import OWN, check_embedder, check_pooling
from dccc_lightning.models.embedding_layer import build_embedding_layer
from dccc_lightning.models.frozen_parts import freeze_parts
from dccc_lightning.models.input_normalization import input_layer
from dccc_lightning.models.layout import OF_RESNETS, PUBLISHED, Layout
from dccc_lightning.models.pooling import GeneralizedMean, build_pooling
from dccc_lightning.models.trunk import Trunk
from dccc_lightning.models.weights import load_weights
from dccc_lightning.models.wrapped_trunk import wrap_backbone


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


def build_embedder(
    backbone: str | nn.Module = "resnet50",
    width: float = 1.0,
    pooling: str = "avg",
    weights: str | None = "imagenet",
    bn_group_size: int = 64,
    image_size: tuple[int, int] | None = None,
    dialect: str = "auto",
    layout: Mapping[str, Any] | None = None,
    embedding_dim: int | None = None,
    freeze: Sequence[str] = (),
) -> Embedder:
    """Build an embedder and load its weights.

    Args:
        backbone: One of ``models.catalog.BACKBONES``, ``timm/NAME``, or a custom module that maps
            normalised images (B, 3, H, W) to (B, D, h, w) or (B, D). The module is copied, and
            batch norms of the copy are replaced by ``GroupedBatchNorm``.
        width: Factor of the number of channels (OSNet and ResNets of basic blocks only).
        pooling: ``avg`` or ``gem``; backbones that return a vector, such as transformers, support
            ``avg`` only.
        weights: ``imagenet`` (of torchvision, IBN-Net or timm, by backbone), ``bundled`` (of this
            package, for resnet10 at half width), ``clip`` (OpenAI's, for clip_vit_base), path of a
            file, or None for random weights, or for the weights of a custom module.
        bn_group_size: Number of images of the global batch that share batch-norm statistics.
        image_size: Height and width of the images in pixels, 256 x 128 if None; used by
            transformers and to check custom modules.
        dialect: Family of a file of weights: ``auto`` to recognise it, ``none`` to match names and
            shapes only, or a name of docs/models.md.
        layout: Options of ``Layout``, which override those of the file's family.
        embedding_dim: Size of a linear layer between pooling and neck, 0 for none; None for that of
            the file or, without one, of the published network (512 for OSNet).
        freeze: Parts of the network that are not trained, by name, such as ``patch_embed`` or
            ``layer1.0``, see ``freeze_parts``.

    Raises:
        ValueError: A name is unknown, a number out of range, or a module cannot process the images.
        UserError: The weights cannot be found, read or matched, or timm is not installed.
    """
    size = check_embedder(
        backbone, width, pooling, weights, bn_group_size, image_size, dialect, layout,
        embedding_dim, freeze,
    )  # fmt: skip
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
    if trunk.embedding_dim and embedding_dim is None:
        embedder.set_embedding(trunk.embedding_dim, "fc")
    chosen = Layout.of(layout)
    if lacking := chosen.unsupported(trunk.options).options():  # by the network, not its name
        raise ValueError(f"layout: {name} has no option {', '.join(lacking)}")
    embedder.arrange(chosen, embedding_dim=embedding_dim)
    if weights is not None:
        load_weights(embedder, weights, name, dialect, layout)
    freeze_parts(embedder, freeze)
    embedder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
    return embedder
