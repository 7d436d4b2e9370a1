"""Bring images normalised for ImageNet to the mean and std of 0.5."""

import torch
from torch import Tensor, nn

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class InputNormalization(nn.Module):
    """First layer of networks that were trained with mean and std 0.5.

    Data are normalised with the ImageNet mean and std; the layer replaces both, channel by
    channel. It has no state, so that checkpoints stay those of the network.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean = torch.tensor(_IMAGENET_MEAN)[:, None, None]
        std = torch.tensor(_IMAGENET_STD)[:, None, None]
        self.register_buffer("scale", std / 0.5, persistent=False)
        self.register_buffer("shift", (mean - 0.5) / 0.5, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) of ImageNet's mean and std to those of 0.5."""
        return images * self.scale + self.shift
