"""Networks of timm, an optional dependency, as trunks."""

import difflib
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from dccc_lightning.models.batchnorm_conversion import group_batch_norms
from dccc_lightning.models.catalog import TIMM, missing_timm
from dccc_lightning.models.position_grid import PositionGrid
from dccc_lightning.models.wrapped_trunk import WrappedTrunk, fits_images, wrapped


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
    return one vector by their pooling, a class token or a mean. Dropout and stochastic depth are
    off by timm's defaults.

    Args:
        name: ``timm/`` and a name of timm, such as ``timm/resnet50d``.
        image_size: Height and width of the images in pixels.
        group_size: Images of the global batch that share batch-norm statistics.

    Raises:
        UserError: Timm is not installed.
        ValueError: The network is unknown, or does not support the image size or grouped batch
            norm.
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
        group_batch_norms(network, group_size)
        return _as_trunk(network, image_size)


def _create(timm: Any, architecture: str, image_size: tuple[int, int]) -> nn.Module:
    network: nn.Module = timm.create_model(architecture, num_classes=0)
    accepted = inspect.signature(type(network).__init__).parameters
    options: dict[str, Any] = {"img_size": image_size} if "img_size" in accepted else {}
    if "output_stride" in accepted:
        try:
            network = timm.create_model(architecture, num_classes=0, output_stride=16, **options)
        except Exception:  # some accept the option with 32 only; exceptions differ
            pass
        else:
            return network
    return timm.create_model(architecture, num_classes=0, **options) if options else network


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
