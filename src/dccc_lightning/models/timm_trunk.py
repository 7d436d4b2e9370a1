"""Networks of timm, an optional dependency, as trunks."""

import difflib
import inspect
import logging
from typing import Any

import torch
from torch import Tensor, nn

from dccc_lightning.models.batchnorm_conversion import group_batch_norms
from dccc_lightning.models.catalog import TIMM, missing_timm
from dccc_lightning.models.layout import NORMALIZATIONS
from dccc_lightning.models.position_grid import PositionGrid
from dccc_lightning.models.wrapped_trunk import WrappedTrunk, fits_images, wrapped

log = logging.getLogger(__name__)

_DINOV3 = "dinov3"


def import_timm(name: str) -> Any:
    """Return the package timm.

    Raises:
        UserError: Timm is not installed.
    """
    try:
        import timm  # noqa: PLC0415  # optional
    except ImportError as error:
        raise missing_timm(name) from error
    return timm


def build_timm(name: str, image_size: tuple[int, int], group_size: int) -> WrappedTrunk:
    """Build a network by timm's name, with random weights.

    Convolutional networks return their last map, at 1 / 16 of the image size if timm supports it
    (``output_stride=16``: the last stage has stride 1 and dilated convolutions). Networks on tokens
    return one vector by their pooling, a class token or a mean; DINOv3 its class token as its
    authors do, not timm's mean. Dropout and stochastic depth are off by timm's defaults.

    Args:
        name: ``timm/`` and a name of timm, such as ``timm/resnet50d``.
        image_size: Height and width of the images in pixels.
        group_size: Images of the global batch that share batch-norm statistics.

    Raises:
        UserError: Timm is not installed.
        ValueError: The network is unknown, or does not support the image size or grouped batch
            norm, or its patches do not fill the images.
    """
    timm = import_timm(name)
    architecture = name.removeprefix(TIMM)
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.0)
        raise ValueError(
            f"backbone {name!r} is unknown to timm {timm.__version__}; the nearest names are "
            f"{', '.join(TIMM + other for other in near)}"
        )
    with fits_images(name, image_size):
        network = _create(timm, architecture, image_size)
        _check_patches(network, image_size)
        group_batch_norms(network, group_size)
        return _as_trunk(network, image_size)


def _create(timm: Any, architecture: str, image_size: tuple[int, int]) -> nn.Module:
    network: nn.Module = timm.create_model(architecture, num_classes=0)
    accepted = inspect.signature(type(network).__init__).parameters
    options: dict[str, Any] = {"img_size": image_size} if "img_size" in accepted else {}
    if _DINOV3 in architecture:
        options["global_pool"] = "token"
    if "output_stride" in accepted:
        try:
            network = timm.create_model(architecture, num_classes=0, output_stride=16, **options)
        except Exception:  # some accept the option with 32 only; exceptions differ
            pass
        else:
            return network
    return timm.create_model(architecture, num_classes=0, **options) if options else network


def _check_patches(network: Any, image_size: tuple[int, int]) -> None:
    """Check that no rows or columns of the images are left out, as timm does silently.

    Raises:
        ValueError: The image size is not a multiple of the patches.
    """
    side = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    if side is None or not any(size % step for size, step in zip(image_size, side, strict=True)):
        return
    nearest = [max(step, size // step * step) for size, step in zip(image_size, side, strict=True)]
    raise ValueError(
        f"image_size must be multiples of {side[0]}, such as {nearest[0]} x {nearest[1]}"
    )


def timm_layout(name: str) -> dict[str, Any]:
    """Return the options of ``Layout`` for the weights that a name of timm stands for.

    Raises:
        ValueError: The weights are of a network with OpenAI's activation, which this one lacks.
    """
    settings = _pretrained_settings(name)
    is_quick = any("natively QuickGELU" in note for note in settings.notes or ())
    if is_quick and "quickgelu" not in name:
        quick = name.replace("_clip_", "_clip_quickgelu_")
        raise ValueError(f"{name} has another activation than its weights; choose {quick}")
    statistics = tuple(settings.mean), tuple(settings.std)
    for known, row in NORMALIZATIONS.items():
        if row == statistics:
            return {"normalization": known}
    log.warning(
        "%s was trained on images normalised by the mean %s and std %s, not %s as used here; "
        "embeddings are worse before training",
        name, *statistics, NORMALIZATIONS["imagenet"][0],
    )  # fmt: skip
    return {}


def timm_image_size(name: str) -> tuple[int, int]:
    """Return height and width of the images that the weights of a name were trained on."""
    _, height, width = _pretrained_settings(name).input_size
    return height, width


def _pretrained_settings(name: str) -> Any:
    import_timm(name)
    from timm import models  # noqa: PLC0415  # optional

    settings = models.get_pretrained_cfg(name.removeprefix(TIMM))
    return models.PretrainedCfg() if settings is None else settings


def _as_trunk(network: Any, image_size: tuple[int, int]) -> WrappedTrunk:
    """Wrap a network after inferring its output by a forward pass of two images."""
    images = torch.zeros(2, 3, *image_size)
    network.eval()
    with torch.no_grad():
        features = network.forward_features(images)
        # Only convolutional networks return maps with channels first.
        ends_in_map = features.dim() == 4 and features.shape[1] == network.num_features
        if ends_in_map:
            network.reset_classifier(0, global_pool="")
    trunk = wrapped(network.train(), image_size, _positions(network))
    if trunk.ends_in_map != ends_in_map:
        raise ValueError(f"its features have the shape {tuple(features.shape)}")
    return trunk


def _positions(network: Any) -> PositionGrid | None:
    embedding = getattr(network, "pos_embed", None)
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    if not isinstance(embedding, Tensor) or embedding.dim() != 3 or grid is None:
        return None
    return PositionGrid(grid[0], grid[1], prefix=embedding.shape[1] - grid[0] * grid[1])
