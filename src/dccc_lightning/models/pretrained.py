"""Download of weights by the name of the backbone, by torchvision, torch hub or timm."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from dccc_lightning.errors import UserError
from dccc_lightning.models.catalog import CLIP, TIMM
from dccc_lightning.models.timm_trunk import import_timm

IBN_NET = {
    "resnet50_ibn_a": "resnet50_ibn_a-d9d0bb7b.pth",
    "resnet101_ibn_a": "resnet101_ibn_a-59ea0ac6.pth",
}
"""Files of release v1.0 of XingangPan/IBN-Net, named as in its ``ibnnet/resnet_ibn.py`` (commit
d167338); the eight digits are the prefix of their SHA-256. Not tested with the real files."""

_IBN_NET_URL = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0/"
_CLIP_OF_TIMM = "vit_base_patch16_clip_quickgelu_224.openai"


def imagenet_state(backbone: str) -> Mapping[str, Tensor]:
    """Return the ImageNet weights of a backbone, from the cache or downloaded.

    Raises:
        UserError: No weights exist for the backbone, or the download fails.
    """
    if backbone.startswith(TIMM):
        return _download(backbone, backbone, lambda: _timm_state(backbone))
    if backbone in IBN_NET:
        file = IBN_NET[backbone]
        return _download(
            backbone,
            file,
            lambda: torch.hub.load_state_dict_from_url(
                _IBN_NET_URL + file, map_location="cpu", check_hash=True, weights_only=True
            ),
        )
    from torchvision.models import get_model_weights  # noqa: PLC0415  slower to import than torch

    try:
        weights = get_model_weights(backbone)["IMAGENET1K_V1"]
    except (ValueError, KeyError):
        raise UserError(
            f"model.weights=imagenet: torchvision has no ImageNet weights for {backbone}; "
            "pass a file or model.weights=null"
        ) from None
    file = weights.url.rsplit("/", 1)[-1]
    return _download(backbone, file, lambda: weights.get_state_dict(progress=True, check_hash=True))


def clip_state() -> Mapping[str, Tensor]:
    """Return OpenAI's weights of CLIP's image encoder ViT-B/16 and its projection, from timm.

    Not tested with the real file.

    Raises:
        UserError: The download fails.
    """

    def download() -> Mapping[str, Tensor]:
        network = import_timm(CLIP).create_model(_CLIP_OF_TIMM, pretrained=True)
        state: dict[str, Tensor] = network.state_dict()
        state["projection.weight"] = state.pop("head.weight")
        del state["head.bias"]  # zeros: OpenAI's projection has none
        return state

    return _download(CLIP, _CLIP_OF_TIMM, download, "clip")


def _download(
    backbone: str, file: str, get: Callable[[], Mapping[str, Tensor]], weights: str = "imagenet"
) -> Mapping[str, Tensor]:
    try:
        return get()
    except UserError:
        raise
    except Exception as error:  # no network, an incomplete download, a damaged cached file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"model.weights={weights}: the weights of {backbone} could not be downloaded "
            f"({reason}); download {file} on another machine and pass model.weights=PATH"
        ) from error


def _timm_state(backbone: str) -> Mapping[str, Tensor]:
    network: Any = import_timm(backbone).create_model(
        backbone.removeprefix(TIMM), pretrained=True, num_classes=0
    )
    state: Mapping[str, Tensor] = network.state_dict()
    return state
