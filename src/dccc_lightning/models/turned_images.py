"""Embeddings of images with their quarter turns."""

from collections.abc import Callable

import torch
from torch import Tensor

from dccc_lightning.common.tensors import mean_of_turns


def embed_turns(network: Callable[[Tensor], Tensor], images: Tensor, aligned: bool) -> Tensor:
    """Embed images, or their turns one by one.

    Args:
        network: Function of images (B, 3, H, W) that returns unit embeddings (B, D).
        images: (B, 3, H, W), or (B, R, 3, H, W).
        aligned: Return the embeddings of the turns, (B, R, D), in place of their mean.

    Returns:
        (B, D) of length 1, or (B, R, D).
    """
    if images.ndim != 5:
        return network(images)
    turns = torch.stack([network(turn) for turn in images.unbind(1)], dim=1)
    return turns if aligned else mean_of_turns(turns)
