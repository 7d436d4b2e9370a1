"""Blocks and stages of ResNets, with torchvision's names; importing torchvision takes 150 MB."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
"""Function that returns a normalisation of a number of channels."""


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al., 2016).

    Args:
        inputs: Number of input channels.
        channels: Number of channels of both convolutions.
        norm: Function that returns the normalisation behind a convolution.
        stride: Stride of the first convolution.
        downsample: Shortcut; None for the identity.
    """

    expansion = 1

    def __init__(
        self,
        inputs: int,
        channels: int,
        norm: Norm,
        stride: int = 1,
        downsample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, channels, stride)
        self.bn1 = norm(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv3x3(channels, channels)
        self.bn2 = norm(channels)
        self.downsample = downsample

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, channels, H / stride, W / stride)."""
        out: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps)))))
        out += maps if self.downsample is None else self.downsample(maps)
        out = self.relu(out)
        return out


class Bottleneck(nn.Module):
    """Convolutions of 1 x 1, 3 x 3 and 1 x 1 beside a shortcut; the stride is in the second.

    Args:
        inputs: Number of input channels.
        channels: Number of output channels over ``expansion``.
        norm: Function that returns the normalisation behind a convolution.
        stride: Stride of the 3 x 3 convolution.
        downsample: Shortcut; None for the identity.
        groups: Groups of the 3 x 3 convolution.
        width_per_group: Channels per group of that convolution, in the stage with 64 channels.
    """

    expansion = 4

    def __init__(
        self,
        inputs: int,
        channels: int,
        norm: Norm,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        width_per_group: int = 64,
    ) -> None:
        super().__init__()
        width = int(channels * (width_per_group / 64)) * groups
        self.conv1 = _conv1x1(inputs, width)
        self.bn1 = norm(width)
        self.conv2 = _conv3x3(width, width, stride, groups)
        self.bn2 = norm(width)
        self.conv3 = _conv1x1(width, channels * self.expansion)
        self.bn3 = norm(channels * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, 4 * channels, H / stride, W / stride)."""
        out: Tensor = self.relu(self.bn1(self.conv1(maps)))
        out = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(out)))))
        out += maps if self.downsample is None else self.downsample(maps)
        out = self.relu(out)
        return out


Block = type[BasicBlock] | type[Bottleneck]


def build_stage(
    block: Block,
    inputs: int,
    channels: int,
    blocks: int,
    norm: Norm,
    stride: int,
    groups: int = 1,
    width_per_group: int = 64,
) -> nn.Sequential:
    """Build the blocks of a stage; the first has the stride and, if needed, a projection."""
    options: dict[str, Any] = {}
    if block is Bottleneck:
        options = {"groups": groups, "width_per_group": width_per_group}
    outputs, projection = channels * block.expansion, None
    if stride != 1 or inputs != outputs:
        projection = nn.Sequential(_conv1x1(inputs, outputs, stride), norm(outputs))
    first = block(inputs, channels, norm, stride, projection, **options)
    rest = (block(outputs, channels, norm, **options) for _ in range(1, blocks))
    return nn.Sequential(first, *rest)


def initialise(network: nn.Module) -> None:
    """Draw the weights of all convolutions as He et al. (2015) do."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _conv3x3(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, groups=groups, bias=False)


def _conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride, bias=False)
