"""Size of the images that weights are for, as far as their file or family states it."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from torch import Tensor

from dccc_lightning.errors import UserError
from dccc_lightning.models.catalog import TIMM
from dccc_lightning.models.dialects.clip_reid import OPENAI_CLIP
from dccc_lightning.models.dialects.reading import Reading, read_dialect
from dccc_lightning.models.position_grid import grid_of
from dccc_lightning.models.state_files import StateFile, read_state
from dccc_lightning.models.timm_trunk import timm_image_size

BUNDLED = "resnet10_synthetic.pt"
BUNDLED_SIZE = (64, 32)


def bundled_file() -> Path:
    """Return the file of the weights of this package."""
    return Path(str(resources.files("dccc_lightning") / "weights" / BUNDLED))


def stated_size(weights: str | None, backbone: object, dialect: str) -> tuple[int, int] | None:
    """Return height and width of the images of weights; None if nothing states them.

    Args:
        weights: Value of ``model.weights``.
        backbone: Value of ``model.backbone``.
        dialect: Value of ``model.dialect``.
    """
    name = backbone if isinstance(backbone, str) else ""
    try:
        if weights is None:
            return None
        if weights == "imagenet":
            return timm_image_size(name) if name.startswith(TIMM) else None
        if weights == "clip":
            return OPENAI_CLIP.image_size
        if weights == "bundled":
            return BUNDLED_SIZE
        file = read_state(Path(weights).expanduser())
        return size_of(read_dialect(file, dialect), file, name)
    except UserError:  # which loading raises again, with the setting
        return None


def size_of(reading: Reading, file: StateFile, backbone: str) -> tuple[int, int] | None:
    """Return the size in a description, of the family, by the positions, or of timm's weights."""
    if size := file.image_size or reading.image_size or _by_positions(reading.tensors):
        return size
    return timm_image_size(backbone) if reading.of_backbone and backbone.startswith(TIMM) else None


def _by_positions(tensors: Mapping[str, Tensor]) -> tuple[int, int] | None:
    """Return the size that the patches of a transformer fill, if they do not overlap.

    >>> import torch
    >>> sizes = {"pos_embed": (1, 129, 8), "patch_embed.proj.weight": (8, 3, 16, 16)}
    >>> _by_positions({name: torch.zeros(shape) for name, shape in sizes.items()})
    (256, 128)
    """

    def held(name: str) -> Tensor | None:
        return next((v for n, v in tensors.items() if n == name or n.endswith(f".{name}")), None)

    positions, patches, tokens = map(held, ("pos_embed", "patch_embed.proj.weight", "reg_token"))
    if positions is None or patches is None or patches.dim() != 4:
        return None
    side = patches.shape[-1] * (1 if held("patch_embed.conv.0.weight") is None else 2)
    registers = 0 if tokens is None else tokens.shape[1]
    for prefix in dict.fromkeys((1 + registers, 0 if registers else 1)):
        if grid := grid_of(positions, prefix):
            return grid[0] * side, grid[1] * side
    return None
