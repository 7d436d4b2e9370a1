"""Backbones by name."""

import difflib

from dccc_lightning import checks
from dccc_lightning.models.mobile import MOBILE, build_mobile
from dccc_lightning.models.resnet import RESNETS, build_resnet
from dccc_lightning.models.timm_trunk import TIMM, build_timm
from dccc_lightning.models.trunk import Trunk
from dccc_lightning.models.vit import TRANSFORMERS, build_vit

BACKBONES = (*RESNETS, *MOBILE, *TRANSFORMERS)
"""Every name but those of timm, which begin with ``timm/``."""

IMAGE_SIZE = (256, 128)
"""Height and width in pixels of the published method."""

IBN_STRIDE = 16
"""Pixels of the image for one of the last map with instance norm, of the IBN-a networks."""


def build_backbone(
    name: str,
    width: float = 1.0,
    bn_group_size: int = 64,
    image_size: tuple[int, int] | None = None,
) -> Trunk:
    """Build a trunk by name, with random weights.

    Args:
        name: One of ``BACKBONES`` or ``timm/NAME``; resnet10 has one basic block a stage.
        width: Factor on the number of channels, only for ResNets of basic blocks.
        bn_group_size: Images of the global batch that share batch-norm statistics.
        image_size: Height and width of the images in pixels, 256 x 128 if None; transformers alone
            depend on it.

    Raises:
        ValueError: An unknown name, or a width or size that the network cannot have.
        UserError: A network of timm, which is not installed.
    """
    checks.real("width", width, 1 / 64, 4.0)  # one of the 64 channels of the first layer remains
    height, across = IMAGE_SIZE if image_size is None else image_size
    size = checks.integer("image_size", height, 1), checks.integer("image_size", across, 1)
    if name in RESNETS:
        if name.endswith("_ibn_a") and max(size) <= IBN_STRIDE:
            raise ValueError(
                f"image_size must be above {IBN_STRIDE} x {IBN_STRIDE} for {name}, got "
                f"{size[0]} x {size[1]}: instance norm of a single pixel is nothing"
            )
        return build_resnet(name, width, bn_group_size)
    known = name in BACKBONES or str(name).startswith(TIMM)
    if known and width != 1.0:
        raise ValueError(f"width must be 1 for {name}, got {width}")
    if name in MOBILE:
        return build_mobile(name, bn_group_size)
    if name in TRANSFORMERS:
        return build_vit(name, size, bn_group_size)
    if isinstance(name, str) and name.startswith(TIMM):
        return build_timm(name, size, bn_group_size)
    near = difflib.get_close_matches(str(name), BACKBONES, n=3, cutoff=0.0)
    raise ValueError(
        f"backbone {name!r} is unknown; the nearest are {', '.join(near)}, and {TIMM}NAME is any "
        "network of timm"
    )
