"""Position embeddings of transformers, and their interpolation to images of another size."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class PositionGrid:
    """Grid of a transformer's position embeddings.

    Attributes:
        height: Number of patches from top to bottom.
        width: Number of patches from left to right.
        prefix: Number of tokens before the patches with position embeddings, such as the class
            token.
    """

    height: int
    width: int
    prefix: int

    @property
    def count(self) -> int:
        """Number of position embeddings."""
        return self.prefix + self.height * self.width


def grid_of(
    embedding: Tensor, prefix: int, image_size: tuple[int, int] | None = None
) -> tuple[int, int] | None:
    """Return the rows and columns of patches that position embeddings (1, prefix + n, D) are for.

    Args:
        embedding: Position embeddings of a file.
        prefix: Number of tokens before the patches.
        image_size: Height and width of the images that the file was trained on, if it says so.
            Else images are taken to be as high as wide, or two or three times as high: n = h w with
            h = w, h = 2 w or h = 3 w, which no n fits twice.

    Returns:
        None if n is the product of no such h and w.
    """
    if embedding.dim() != 3 or len(embedding) != 1 or embedding.shape[1] <= prefix:
        return None
    count = embedding.shape[1] - prefix
    ratios = (1.0, 2.0, 3.0) if image_size is None else (image_size[0] / image_size[1],)
    for ratio in ratios:
        width = round((count / ratio) ** 0.5)
        height = round(ratio * width)
        if height * width == count:
            return height, width
    return None


def resize_positions(
    embedding: Tensor,
    grid: PositionGrid,
    image_size: tuple[int, int] | None = None,
    offset: float = 0.0,
) -> Tensor | None:
    """Interpolate position embeddings bicubically to another grid, keeping the prefix.

    Args:
        embedding: (1, prefix + n, D), see ``grid_of``.
        grid: Target grid.
        image_size: Height and width of the images that ``embedding`` is for, if known.
        offset: Patches by which DINO and DINOv2 enlarge the grid that they scale to, without
            antialiasing; 0 for timm's interpolation, with antialiasing.

    Returns:
        (1, prefix + height * width, D), or None if the grid of ``embedding`` is unknown.
    """
    old = grid_of(embedding, grid.prefix, image_size)
    if old is None:
        return None
    size = [grid.height, grid.width]
    if offset:
        maps = embedding[:, grid.prefix :].float().reshape(1, *old, -1).permute(0, 3, 1, 2)
        scale = [(new + offset) / side for new, side in zip(size, old, strict=True)]
        maps = F.interpolate(maps, scale_factor=scale, mode="bicubic")
        patches = maps.flatten(2).transpose(1, 2)
        return torch.cat((embedding[:, : grid.prefix].float(), patches), dim=1)
    from timm.layers.pos_embed import resample_abs_pos_embed  # noqa: PLC0415  an extra

    resized: Tensor = resample_abs_pos_embed(embedding.float(), size, list(old), grid.prefix)
    return resized
