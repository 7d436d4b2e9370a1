"""Find the backbone of a file by its names and shapes."""

import re
from collections.abc import Mapping

from torch import Tensor

from dccc_lightning.models.catalog import OSNET_CHANNELS, RESNETS, ResNetPlan

_STEM = 64
_BLOCK = re.compile(r"(?:.*\.)?(layer[1-4]\.\d+\..+)")
_OSNET = re.compile(r"(?:.*[a-z_]\.)?(conv1\.conv\.weight|conv2\.0\.(?:IN|conv3\.bn)\.weight)$")


def backbone_settings(tensors: Mapping[str, Tensor]) -> str:
    """Return the settings that choose a file's backbone; empty if it is none of this package's.

    Args:
        tensors: By this package's names, with any prefix.

    >>> import torch
    >>> names = ["conv1.conv.weight", "conv2.0.IN.weight", "conv2.0.conv3.bn.weight"]
    >>> backbone_settings({name: torch.zeros(32) for name in names})
    'model.backbone=osnet_ibn model.width=0.5'
    """
    blocks = {m[1]: v.shape for name, v in tensors.items() if (m := _BLOCK.match(name))}
    stem = {m[1]: v.shape for name, v in tensors.items() if (m := _OSNET.match(name))}
    if "layer1.0.conv2.weight" in blocks:
        return _resnet(blocks)
    if "conv1.conv.weight" not in stem:
        return ""
    kind = "osnet"
    if "conv2.0.IN.weight" in stem:
        kind = "osnet_ibn" if "conv2.0.conv3.bn.weight" in stem else "osnet_ain"
    return named(kind, stem["conv1.conv.weight"][0] / OSNET_CHANNELS[0])


def _resnet(blocks: Mapping[str, tuple[int, ...]]) -> str:
    layers = tuple(
        len({name.split(".")[1] for name in blocks if name.startswith(f"layer{stage}.")})
        for stage in range(1, 5)
    )
    shape = blocks["layer1.0.conv2.weight"]
    basic = "layer1.0.conv3.weight" not in blocks
    ibn = "layer1.0.bn1.IN.weight" in blocks
    for name, plan in RESNETS.items():
        if (plan.layers, plan.basic, plan.ibn) != (layers, basic, ibn):
            continue
        if basic:
            return named(name, shape[0] / _STEM)
        if tuple(shape[:2]) == (_middle(plan), _middle(plan) // plan.groups):
            return named(name, 1.0)
    return ""


def _middle(plan: ResNetPlan) -> int:
    return plan.width_per_group * plan.groups


def named(name: str, width: float) -> str:
    """Return the settings of a backbone."""
    return f"model.backbone={name}" + (f" model.width={width:.6g}" if width != 1 else "")
