"""Position embeddings of transformers, and their interpolation to images of another size."""

from dataclasses import dataclass

from torch import Tensor


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


def resize_positions(embedding: Tensor, grid: PositionGrid) -> Tensor | None:
    """Interpolate position embeddings bicubically to another grid, keeping the prefix.

    Args:
        embedding: (1, prefix + n, D) for an image as high as wide, or two or three times as high:
            n = h w with h = w, h = 2 w or h = 3 w, which no n fits twice.
        grid: Target grid.

    Returns:
        (1, prefix + height * width, D), or None if n is the product of no such h and w.
    """
    if embedding.dim() != 3 or len(embedding) != 1 or embedding.shape[1] <= grid.prefix:
        return None
    count = embedding.shape[1] - grid.prefix
    sides = [(ratio, round((count / ratio) ** 0.5)) for ratio in (1, 2, 3)]
    for ratio, side in sides:
        if ratio * side**2 == count:
            from timm.layers.pos_embed import resample_abs_pos_embed  # noqa: PLC0415  an extra

            size, old = [grid.height, grid.width], [ratio * side, side]
            resized: Tensor = resample_abs_pos_embed(embedding.float(), size, old, grid.prefix)
            return resized
    return None
