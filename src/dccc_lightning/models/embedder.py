"""Build an embedding network and load its weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from dccc_lightning.models.backbones import build_backbone
from dccc_lightning.models.catalog import OWN, check_embedder, check_pooling
from dccc_lightning.models.frozen_parts import freeze_parts
from dccc_lightning.models.layout import Layout
from dccc_lightning.models.network import Embedder
from dccc_lightning.models.pooling import build_pooling
from dccc_lightning.models.trunk import Trunk
from dccc_lightning.models.weights import load_weights
from dccc_lightning.models.wrapped_trunk import wrap_backbone


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
            ``layer1.0``, or the statistics of its batch norms, see ``freeze_parts``.

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
