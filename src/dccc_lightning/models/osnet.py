"""OSNet: omni-scale blocks of four streams, and its variants with instance norm."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.catalog import OSNET_CHANNELS, OSNETS
from dccc_lightning.models.trunk import Trunk

STREAMS = 4
"""Streams of a block; stream t has t light convolutions, so that it sees 2 t + 1 pixels."""

_BOTTLENECK = 4
_GATE = 16

Norm = Callable[[int], nn.Module]


class NormedConvolution(nn.Module):
    """Convolution, norm and ReLU.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        norm: Builds the norm; None for none.
        kernel: Side of the kernel.
        stride: Stride.
        active: Apply a ReLU.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        norm: Norm | None,
        kernel: int = 1,
        stride: int = 1,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = norm(outputs) if norm else nn.Identity()
        self.relu = nn.ReLU(inplace=True) if active else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, D, h, w)."""
        output: Tensor = self.relu(self.bn(self.conv(maps)))
        return output


class LightConvolution(nn.Module):
    """Factorised 3 x 3 convolution: pointwise, then depthwise, norm and ReLU."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, groups=channels)
        self.bn = norm(channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return F.relu(self.bn(self.conv2(self.conv1(maps))), inplace=True)


class Stream(nn.Module):
    """Chain of light convolutions."""

    def __init__(self, channels: int, depth: int, norm: Norm) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(LightConvolution(channels, norm) for _ in range(depth)))

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        output: Tensor = self.layers(maps)
        return output


class ChannelGate(nn.Module):
    """Weights of the channels from their means; shared by the streams of a block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // _GATE, 1)
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Weight (B, C, H, W)."""
        means = F.adaptive_avg_pool2d(maps, 1)
        return maps * torch.sigmoid(self.fc2(F.relu(self.fc1(means))))


class OmniScaleBlock(nn.Module):
    """Residual block that adds gated streams of several receptive fields.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        norm: Builds batch norms.
        instance_norm: ``none``, ``inside`` the residual in place of its last batch norm (AIN), or
            ``after`` the sum (IBN).
    """

    def __init__(self, inputs: int, outputs: int, norm: Norm, instance_norm: str) -> None:
        super().__init__()
        middle = outputs // _BOTTLENECK
        self.conv1 = NormedConvolution(inputs, middle, norm)
        self.conv2 = nn.ModuleList(Stream(middle, depth + 1, norm) for depth in range(STREAMS))
        self.gate = ChannelGate(middle)
        last = None if instance_norm == "inside" else norm
        self.conv3 = NormedConvolution(middle, outputs, last, active=False)
        self.downsample: nn.Module = nn.Identity()
        if inputs != outputs:
            self.downsample = NormedConvolution(inputs, outputs, norm, active=False)
        self.instance_norm = instance_norm
        if instance_norm != "none":
            self.IN = nn.InstanceNorm2d(outputs, affine=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, D, H, W)."""
        reduced = self.conv1(maps)
        first, *others = (self.gate(stream(reduced)) for stream in self.conv2)
        for gated in others:
            first = first + gated
        residual = self.conv3(first)
        if self.instance_norm == "inside":
            residual = self.IN(residual)
        output = residual + self.downsample(maps)
        return F.relu(self.IN(output) if self.instance_norm == "after" else output, inplace=True)


class OSNetTrunk(Trunk):
    """OSNet without its embedding layer and classifier.

    Sources: Zhou et al., "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019;
    "Learning Generalisable Omni-Scale Representations for Person Re-Identification", TPAMI 2021,
    for instance norm. Parameters are named as in torchreid's OSNet-AIN; the dialect ``osnet``
    renames those of the others.

    Args:
        name: One of ``catalog.OSNETS``.
        width: Factor of the number of channels.
        group_size: Number of images of the global batch that share batch-norm statistics.
    """

    embedding_dim = 512

    def __init__(self, name: str, width: float, group_size: int) -> None:
        super().__init__()
        plan = OSNETS[name]
        norm: Norm = partial(GroupedBatchNorm, group_size=group_size)
        affine: Norm = partial(nn.InstanceNorm2d, affine=True)
        # A multiple of 4, so that the bottlenecks of all blocks are wide enough.
        stem, *stages = (max(round(size * width / 4), 1) * 4 for size in OSNET_CHANNELS)
        first = norm if name == "osnet" else affine
        self.conv1 = NormedConvolution(3, stem, first, kernel=7, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = stem
        for number, (size, blocks) in enumerate(zip(stages, plan, strict=True), start=2):
            pair = (
                OmniScaleBlock(inputs, size, norm, blocks[0]),
                OmniScaleBlock(size, size, norm, blocks[1]),
            )
            setattr(self, f"conv{number}", nn.Sequential(*pair))
            if number < 4:
                halving = NormedConvolution(size, size, norm), nn.AvgPool2d(2)
                setattr(self, f"pool{number}", nn.Sequential(*halving))
            inputs = size
        self.conv5 = NormedConvolution(inputs, inputs, norm)
        self.out_channels = inputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images to (B, D, H / 16, W / 16)."""
        maps = self.maxpool(self.conv1(images))
        for part in ("conv2", "pool2", "conv3", "pool3", "conv4", "conv5"):
            maps = self.get_submodule(part)(maps)
        output: Tensor = maps
        return output
