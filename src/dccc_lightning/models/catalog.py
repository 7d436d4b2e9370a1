"""Names of backbones and checks of their settings, without torch."""

import difflib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from dccc_lightning.common import checks
from dccc_lightning.errors import UserError
from dccc_lightning.models.dialects.families import check_dialect
from dccc_lightning.models.layout import OF_CLIP, OF_MAPS, OF_RESNETS, OF_TRANSFORMERS, Layout
from dccc_lightning.models.weight_formats import check_file


class ResNetPlan(NamedTuple):
    """Architecture of a ResNet; ``ibn``: instance norm on half of the channels."""

    layers: tuple[int, int, int, int]
    basic: bool = False
    groups: int = 1
    width_per_group: int = 64
    ibn: bool = False


RESNETS = {
    "resnet10": ResNetPlan((1, 1, 1, 1), basic=True),
    "resnet18": ResNetPlan((2, 2, 2, 2), basic=True),
    "resnet34": ResNetPlan((3, 4, 6, 3), basic=True),
    "resnet50": ResNetPlan((3, 4, 6, 3)),
    "resnet101": ResNetPlan((3, 4, 23, 3)),
    "resnet152": ResNetPlan((3, 8, 36, 3)),
    "resnext50_32x4d": ResNetPlan((3, 4, 6, 3), groups=32, width_per_group=4),
    "resnext101_32x8d": ResNetPlan((3, 4, 23, 3), groups=32, width_per_group=8),
    "resnext101_64x4d": ResNetPlan((3, 4, 23, 3), groups=64, width_per_group=4),
    "wide_resnet50_2": ResNetPlan((3, 4, 6, 3), width_per_group=128),
    "wide_resnet101_2": ResNetPlan((3, 4, 23, 3), width_per_group=128),
    "resnet50_ibn_a": ResNetPlan((3, 4, 6, 3), ibn=True),
    "resnet101_ibn_a": ResNetPlan((3, 4, 23, 3), ibn=True),
}

MOBILE = (
    *(f"efficientnet_{size}" for size in ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7")),
    *(f"efficientnet_v2_{size}" for size in ("l", "m", "s")),
    *(f"mobilenet_{size}" for size in ("v2", "v3_large", "v3_small")),
    *(f"regnet_x_{size}gf" for size in ("16", "1_6", "32", "3_2")),
    *(f"regnet_x_{size}" for size in ("400mf", "800mf", "8gf")),
    *(f"regnet_y_{size}gf" for size in ("128", "16", "1_6", "32", "3_2")),
    *(f"regnet_y_{size}" for size in ("400mf", "800mf", "8gf")),
)
"""MobileNets, EfficientNets and RegNets of torchvision."""

OSNET_CHANNELS = (64, 256, 384, 512)
"""Channels of OSNet's stem and stages at width 1."""

OSNETS = {
    "osnet": (("none", "none"),) * 3,
    "osnet_ibn": (("after", "after"), ("none", "none"), ("none", "none")),
    "osnet_ain": (("inside", "inside"), ("none", "inside"), ("inside", "none")),
}
"""Instance norm in the two blocks of each stage."""


class TransformerPlan(NamedTuple):
    """Architecture of a vision transformer of 12 blocks and patches of 16 x 16 pixels.

    ``kind``: plain, with a convolution stem (ICS), of CLIP, of TransReID's JPM or of PASS.
    """

    dim: int
    heads: int
    kind: str = "plain"


SWINS = {
    "solider_swin_tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "solider_swin_small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "solider_swin_base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
}
"""Channels of the first stage, blocks and heads of SOLIDER's Swin transformers."""

SWIN_REDUCTION = 32
"""Side of a position of a Swin transformer's last map in pixels."""

TRANSFORMERS = {
    "vit_small": TransformerPlan(384, 6),
    "vit_base": TransformerPlan(768, 12),
    "vit_small_ics": TransformerPlan(384, 6, "ics"),
    "vit_base_ics": TransformerPlan(768, 12, "ics"),
    "vit_base_jpm": TransformerPlan(768, 12, "jpm"),
    "vit_small_pass": TransformerPlan(384, 6, "pass"),
    "vit_base_pass": TransformerPlan(768, 12, "pass"),
    "clip_vit_base": TransformerPlan(768, 12, "clip"),
}
"""Vision transformers of published re-identification weights."""

CLIP = "clip_vit_base"
"""Backbone of the weights ``clip``."""

IBN_STRIDE = 16
"""Stride of the last map with instance norm in the IBN-a networks."""

OSNET_SIZE, OSNET_AIN_SIZE = 13, 29
"""Least size of images in pixels; instance norm on OSNet-AIN's last map needs two positions."""

PATCH = 16
"""Side of a transformer's patch in pixels."""

TIMM = "timm/"
"""Prefix of the names of timm's backbones."""

OWN = "own/"
"""Prefix of the name of a custom backbone; the rest is the name of its class."""

BACKBONES = (*RESNETS, *OSNETS, *MOBILE, *TRANSFORMERS, *SWINS)
"""Names of backbones, without those of timm."""

POOLINGS = ("avg", "gem")
STATISTICS = "bn_statistics"  # in ``freeze``: those of all batch norms

IMAGE_SIZE = (256, 128)
"""Published height and width of the images in pixels."""

PACKAGED_WEIGHTS = ("imagenet", "bundled", "clip")
"""Names of weights, as opposed to paths of files."""


def check_backbone(
    name: str,
    width: float = 1.0,
    bn_group_size: int = 64,
    image_size: tuple[int, int] | None = None,
) -> tuple[int, int]:
    """Check the arguments of ``build_backbone`` and return the size of the images.

    Raises:
        ValueError: The name is unknown, or the network does not support the width or size.
        UserError: The backbone needs timm, which is not installed.
    """
    checks.real("width", width, 1 / 64, 4.0)  # at least one channel in the first layer
    size = _check_sizes(bn_group_size, image_size)
    is_of_timm = isinstance(name, str) and name.startswith(TIMM)
    if not is_of_timm and name not in BACKBONES:
        near = difflib.get_close_matches(str(name), BACKBONES, n=3, cutoff=0.0)
        raise ValueError(
            f"backbone {name!r} is unknown; the nearest are {', '.join(near)}, and {TIMM}NAME is "
            "a network of timm"
        )
    if width != 1.0 and not (name in OSNETS or (name in RESNETS and RESNETS[name].basic)):
        raise ValueError(f"width must be 1 for {name}, got {width}")
    if (is_of_timm or name in (*TRANSFORMERS, *SWINS)) and find_spec("timm") is None:
        raise missing_timm(name)
    if name in RESNETS and RESNETS[name].ibn and max(size) <= IBN_STRIDE:
        raise ValueError(
            f"image_size must be above {IBN_STRIDE} x {IBN_STRIDE} for {name}, got "
            f"{size[0]} x {size[1]}: instance norm needs more than one pixel"
        )
    if name in OSNETS:
        _check_osnet(name, size)
    if name in TRANSFORMERS:
        check_multiple(size, PATCH)
    if name in SWINS:
        check_multiple(size, SWIN_REDUCTION)
    return size


def _check_osnet(name: str, size: tuple[int, int]) -> None:
    """Check that the last map has a pixel, and more than one for instance norm on it."""
    most = OSNET_AIN_SIZE if name == "osnet_ain" else OSNET_SIZE
    if min(size) < OSNET_SIZE or max(size) < most:
        raise ValueError(
            f"image_size must be {most} x {OSNET_SIZE} or more for {name}, got {size[0]} x "
            f"{size[1]}"
        )


def _check_sizes(bn_group_size: int, image_size: tuple[int, int] | None) -> tuple[int, int]:
    """Check the group size and return the checked image size."""
    checks.integer("bn_group_size", bn_group_size, 1)
    height, across = IMAGE_SIZE if image_size is None else image_size
    return checks.integer("image_size", height, 1), checks.integer("image_size", across, 1)


def check_multiple(size: tuple[int, int], side: int) -> None:
    """Check that the size of images is a multiple of a transformer's patches.

    Raises:
        ValueError: It is not.
    """
    if size[0] % side or size[1] % side:
        raise ValueError(f"image_size must be multiples of {side}, got {size[0]} x {size[1]}")


def check_embedder(
    backbone: object = "resnet50",
    width: float = 1.0,
    pooling: str = "avg",
    weights: str | None = "imagenet",
    bn_group_size: int = 64,
    image_size: tuple[int, int] | None = None,
    dialect: str = "auto",
    layout: Mapping[str, Any] | None = None,
    embedding_dim: int | None = None,
    freeze: Sequence[str] = (),
) -> tuple[int, int]:
    """Check the arguments of ``build_embedder`` and return the size of the images.

    Args:
        backbone: Name, module, or settings of a module.
        width: As in ``build_embedder``.
        pooling: As in ``build_embedder``.
        weights: As in ``build_embedder``.
        bn_group_size: As in ``build_embedder``.
        image_size: As in ``build_embedder``.
        dialect: As in ``build_embedder``.
        layout: As in ``build_embedder``.
        embedding_dim: As in ``build_embedder``.
        freeze: As in ``build_embedder``.

    Raises:
        ValueError: A name is unknown or a number out of range.
        UserError: The file of weights does not exist, or timm is not installed.
    """
    checks.choice("pooling", pooling, POOLINGS)
    check_dialect(dialect)
    if embedding_dim is not None:
        checks.integer("embedding_dim", embedding_dim, 0)
    lacking = Layout.of(layout).unsupported(_options(backbone))
    if lacking.options():
        raise ValueError(f"layout: {backbone} has no option {', '.join(lacking.options())}")
    if isinstance(freeze, str) or not all(isinstance(part, str) for part in freeze):
        raise ValueError(f"freeze must be a list of names of parts, got {freeze!r}")
    if STATISTICS in freeze and weights is None and isinstance(backbone, str):
        raise ValueError(f"freeze: {STATISTICS} are of weights, and weights is None; choose some")
    if isinstance(backbone, str):
        size = check_backbone(backbone, width, bn_group_size, image_size)
        check_pooling(pooling, ends_in_map=backbone not in TRANSFORMERS)
    else:
        size = _check_sizes(bn_group_size, image_size)
        if width != 1:
            raise ValueError(f"width must be 1 for a custom backbone, got {width!r}")
        if weights in PACKAGED_WEIGHTS:
            raise ValueError(
                f"weights must be a file for a custom backbone, or None, got {weights!r}"
            )
    check_weights(backbone, weights)
    return size


def _options(backbone: object) -> tuple[str, ...]:
    """Return the names of the options of ``Layout`` that a backbone has."""
    if not isinstance(backbone, str):
        return ()
    if backbone in TRANSFORMERS:
        return {"ics": (), "clip": OF_CLIP}.get(TRANSFORMERS[backbone].kind, OF_TRANSFORMERS)
    return OF_MAPS if backbone.startswith(TIMM) else OF_RESNETS if backbone in RESNETS else ()


def check_weights(backbone: object, weights: str | None) -> None:
    """Check that weights exist, as far as that can be checked without a download.

    Raises:
        UserError: The file does not exist, or no weights of that name for the backbone.
    """
    if weights is not None and weights not in PACKAGED_WEIGHTS:
        check_file(Path(str(weights)).expanduser())
    if weights == "clip" and backbone != CLIP:
        raise UserError(f"model.weights=clip: they are for model.backbone={CLIP}, not {backbone}")
    if weights == "imagenet" and isinstance(backbone, str) and backbone in (*TRANSFORMERS, *SWINS):
        other = "clip or a file" if backbone == CLIP else "a file"
        raise UserError(f"model.weights=imagenet: there are none for {backbone}; pass {other}")


def check_pooling(pooling: str, ends_in_map: bool) -> None:
    """Check that a backbone has the feature map that ``pooling`` needs.

    Raises:
        ValueError: The backbone returns a vector.
    """
    if pooling != "avg" and not ends_in_map:
        raise ValueError(
            f"pooling must be avg for a backbone that returns a vector, got {pooling!r}"
        )


def missing_timm(name: str) -> UserError:
    """Return the error for a backbone that needs timm."""
    return UserError(f'model.backbone={name} needs timm: pip install "dccc-lightning[timm]"')
