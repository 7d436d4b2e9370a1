"""ResNets of torchvision as trunks: no classifier, last stride 1, batch norm in groups."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from dccc_lightning import checks
from dccc_lightning.models.batchnorm import GroupedBatchNorm

_STAGES: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet10": (BasicBlock, [1, 1, 1, 1]),
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
}
BACKBONES = tuple(_STAGES)


class ResNetTrunk(ResNet):  # type: ignore[misc]  # torchvision ships no types
    """A ResNet that ends with its last feature map.

    The parameter names are torchvision's, so its weights load unchanged. The last stage keeps the
    resolution (stride 1): 16 x 8 positions for a 256 x 128 image (METHOD, network).

    Args:
        block: torchvision's ``BasicBlock`` or ``Bottleneck``.
        layers: Blocks in each of the four stages.
        width: Multiplies the number of channels of every layer (basic blocks only, unless 1).
        norm_layer: Makes a normalisation layer from a number of channels.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: list[int],
        width: float,
        norm_layer: Callable[[int], nn.Module],
    ) -> None:
        super().__init__(block, layers, norm_layer=norm_layer)
        del self.fc, self.avgpool
        if width != 1.0:
            self._narrow(block, layers, width)
        first = self.layer4[0]
        (first.conv1 if block is BasicBlock else first.conv2).stride = (1, 1)
        first.downsample[0].stride = (1, 1)
        self.out_channels: int = round(512 * width) * block.expansion

    def _narrow(
        self, block: type[BasicBlock | Bottleneck], layers: list[int], width: float
    ) -> None:
        channels = [round(c * width) for c in (64, 128, 256, 512)]
        self.inplanes = channels[0]
        self.conv1 = nn.Conv2d(3, channels[0], kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = self._norm_layer(channels[0])
        for stage, (size, blocks) in enumerate(zip(channels, layers, strict=True), start=1):
            stride = 1 if stage == 1 else 2
            setattr(self, f"layer{stage}", self._make_layer(block, size, blocks, stride=stride))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images to (B, D, H / 16, W / 16)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return maps


def build_backbone(name: str, width: float = 1.0, bn_group_size: int = 64) -> ResNetTrunk:
    """Build a trunk by name, with random weights.

    Args:
        name: One of ``BACKBONES``; resnet10 has one basic block a stage.
        width: Factor on the number of channels, only for networks of basic blocks.
        bn_group_size: Images of the global batch that share batch-norm statistics.

    Raises:
        ValueError: An unknown name or a width that the network cannot have.
    """
    block, layers = _STAGES[checks.choice("backbone", name, BACKBONES)]
    checks.real("width", width, 1 / 64, 4.0)  # one of the 64 channels of the first layer remains
    if width != 1.0 and block is Bottleneck:
        raise ValueError(f"width must be 1 for {name}, got {width}")
    return ResNetTrunk(block, layers, width, partial(GroupedBatchNorm, group_size=bn_group_size))
