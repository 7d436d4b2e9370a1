"""Vision transformers of this package by name."""

from collections.abc import Callable
from functools import partial

from dccc_lightning.models.catalog import TRANSFORMERS
from dccc_lightning.models.clip_transformer import ClipTransformer
from dccc_lightning.models.part_transformers import JigsawTransformer, PartTokenTransformer
from dccc_lightning.models.vit import ConvStemTransformer, VisionTransformer


def build_vit(name: str, image_size: tuple[int, int], group_size: int) -> VisionTransformer:
    """Build one of ``TRANSFORMERS`` with random weights."""
    plan = TRANSFORMERS[name]
    kinds: dict[str, Callable[..., VisionTransformer]] = {
        "plain": VisionTransformer,
        "ics": partial(ConvStemTransformer, group_size=group_size),
        "clip": ClipTransformer,
        "jpm": JigsawTransformer,
        "pass": PartTokenTransformer,
    }
    return kinds[plan.kind](image_size, embed_dim=plan.dim, num_heads=plan.heads)
