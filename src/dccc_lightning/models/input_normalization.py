"""Bring images normalised for ImageNet to the mean, std and colour order of a network."""

import torch
from torch import Tensor, nn

from dccc_lightning.models.layout import NORMALIZATIONS, PUBLISHED, Layout


class InputNormalization(nn.Module):
    """First layer of networks that were trained on images preprocessed in another way.

    Data are RGB, normalised with the ImageNet mean and std; the layer replaces all three, channel
    by channel. It has no state, so that checkpoints stay those of the network.

    Args:
        normalization: Name of ``NORMALIZATIONS``.
        colour: ``rgb``, or ``bgr`` to reverse the channels.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, normalization: str, colour: str = "rgb") -> None:
        super().__init__()
        mean, std = _statistics(PUBLISHED.normalization)
        new_mean, new_std = _statistics(normalization)
        self.reverses = colour == "bgr"
        if self.reverses:
            mean, std = mean.flip(0), std.flip(0)
        self.register_buffer("scale", std / new_std, persistent=False)
        self.register_buffer("shift", (mean - new_mean) / new_std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) of ImageNet's mean and std to those of the network."""
        if self.reverses:
            images = images.flip(1)
        return images * self.scale + self.shift


def input_layer(layout: Layout) -> nn.Module:
    """Return the first layer for a layout; the identity if its input is that of the method."""
    ours = PUBLISHED.normalization, PUBLISHED.colour
    if (layout.normalization, layout.colour) == ours:
        return nn.Identity()
    return InputNormalization(layout.normalization, layout.colour)


def _statistics(normalization: str) -> tuple[Tensor, Tensor]:
    """Return mean and std as (3, 1, 1)."""
    mean, std = (torch.tensor(row)[:, None, None] for row in NORMALIZATIONS[normalization])
    return mean, std
