"""Backbones by name."""

from dccc_lightning.models.catalog import (
    MOBILE,
    OSNETS,
    RESNETS,
    SWINS,
    TRANSFORMERS,
    check_backbone,
)
from dccc_lightning.models.osnet import OSNetTrunk
from dccc_lightning.models.resnet import build_resnet
from dccc_lightning.models.timm_trunk import build_timm
from dccc_lightning.models.trunk import Trunk


def build_backbone(
    name: str,
    width: float = 1.0,
    bn_group_size: int = 64,
    image_size: tuple[int, int] | None = None,
) -> Trunk:
    """Build a trunk by name, with random weights.

    Args:
        name: One of ``catalog.BACKBONES`` or ``timm/NAME``; resnet10 has one basic block per stage.
        width: Factor of the number of channels, for OSNet and ResNets of basic blocks only.
        bn_group_size: Number of images of the global batch that share batch-norm statistics.
        image_size: Height and width of the images in pixels, 256 x 128 if None; used by
            transformers only.

    Raises:
        ValueError: The name is unknown, or the network does not support the width or size.
        UserError: The backbone needs timm, which is not installed.
    """
    size = check_backbone(name, width, bn_group_size, image_size)
    if name in RESNETS:
        return build_resnet(name, width, bn_group_size)
    if name in OSNETS:
        return OSNetTrunk(name, width, bn_group_size)
    if name in MOBILE:  # torchvision takes longer to import than torch
        from dccc_lightning.models.mobile import build_mobile  # noqa: PLC0415

        return build_mobile(name, bn_group_size)
    if name in TRANSFORMERS:  # timm is an extra
        from dccc_lightning.models.vision_transformers import build_vit  # noqa: PLC0415

        return build_vit(name, size, bn_group_size)
    if name in SWINS:
        from dccc_lightning.models.swin import build_swin  # noqa: PLC0415

        return build_swin(name, size)
    return build_timm(name, size, bn_group_size)
