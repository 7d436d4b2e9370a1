"""Networks of timm, an optional dependency, as trunks."""

import difflib
import inspect
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from dccc_lightning.models.batchnorm_conversion import group_batch_norms
from dccc_lightning.models.catalog import TIMM, missing_timm
from dccc_lightning.models.layout import NORMALIZATIONS, OF_MAPS, Layout
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


class MapTrunk(WrappedTrunk):
    """Trunk of a network of timm that ends in a map, at 1 / 16 or timm's part of the image size.

    Args:
        trunk: The network with a last stride of 1.
        create: Builds the same network, with other weights, for a last stride.
    """

    options: ClassVar[tuple[str, ...]] = OF_MAPS

    def __init__(self, trunk: WrappedTrunk, create: Callable[[int], nn.Module]) -> None:
        super().__init__(trunk.network, trunk.out_channels, True, trunk.positions)
        self._create, self._last_stride = create, 1

    def arrange(self, layout: Layout) -> None:
        """Set the last stride: 2 for timm's default map, mostly at 1 / 32."""
        if layout.last_stride == self._last_stride:
            return
        network = self._create(layout.last_stride).train(self.network.training)
        network.load_state_dict(self.network.state_dict())
        self.network, self._last_stride = network, layout.last_stride


def build_timm(name: str, image_size: tuple[int, int], group_size: int) -> WrappedTrunk:
    """Build a network by timm's name, with random weights.

    Convolutional networks return their last map, at 1 / 16 of the image size if timm supports it
    (``output_stride=16``: the last stage has stride 1 and dilated convolutions); with a last stride
    of 2 in their layout, timm's default map. Networks on tokens
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
        network = _create(architecture, image_size, group_size, 1)
        trunk = _as_trunk(network, image_size)
        if not trunk.ends_in_map:
            return trunk
        return MapTrunk(trunk, partial(_create_map, architecture, image_size, group_size))


def _create(
    architecture: str, image_size: tuple[int, int], group_size: int, last_stride: int
) -> nn.Module:
    network = _of_timm(architecture, image_size, last_stride)
    _check_patches(network, image_size)
    group_batch_norms(network, group_size)
    return network


def _create_map(
    architecture: str, image_size: tuple[int, int], group_size: int, last_stride: int
) -> nn.Module:
    network = _create(architecture, image_size, group_size, last_stride)
    cast(Any, network).reset_classifier(0, global_pool="")
    return network


def _of_timm(architecture: str, image_size: tuple[int, int], last_stride: int) -> nn.Module:
    import timm  # noqa: PLC0415  # optional

    network: nn.Module = timm.create_model(architecture, num_classes=0)
    accepted = inspect.signature(type(network).__init__).parameters
    options: dict[str, Any] = {"img_size": image_size} if "img_size" in accepted else {}
    if _DINOV3 in architecture and options:  # not of its ConvNeXts, which end in a map
        options["global_pool"] = "token"
    if "output_stride" in accepted and last_stride == 1:
        try:
            dilated: nn.Module = timm.create_model(
                architecture, num_classes=0, output_stride=16, **options
            )
        except Exception:  # some accept the option with 32 only; exceptions differ
            pass
        else:
            return dilated
    if options:
        network = timm.create_model(architecture, num_classes=0, **options)
    return network


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
