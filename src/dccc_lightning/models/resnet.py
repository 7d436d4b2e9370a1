"""ResNets as trunks: no classifier, last stride 1, grouped batch norm."""

from functools import partial
from typing import Any

from torch import Tensor, nn

from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.catalog import RESNETS
from dccc_lightning.models.instance_batchnorm import InstanceBatchNorm
from dccc_lightning.models.layout import OF_RESNETS, PUBLISHED, Layout
from dccc_lightning.models.non_local import NonLocal
from dccc_lightning.models.residual_blocks import (
    BasicBlock,
    Block,
    Bottleneck,
    Norm,
    build_stage,
    initialise,
)
from dccc_lightning.models.trunk import Trunk

_STEM_POOLS: dict[str, dict[str, Any]] = {
    "padded": {"kernel_size": 3, "stride": 2, "padding": 1},
    "ceil": {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    "2x2": {"kernel_size": 2, "stride": 2},
}

_CLASSES = 1000
"""Classes of ImageNet, of torchvision's classifiers."""


class ResNetTrunk(Trunk):
    """ResNet without classifier, which returns its last feature map.

    Parameters have torchvision's names, so its weights load unchanged; random weights are those of
    torchvision's network under the same seed. The last stage has stride 1: 16 x 8 positions for a
    256 x 128 image. ``arrange`` builds the variants of other repositories.

    The variant IBN-a has instance norm on half of the channels of the first normalisation of each
    block in the first three stages (Pan et al., 2018). Its parameters are named as in the IBN-Net
    repository, ``layer1.0.bn1.IN.weight`` and ``layer1.0.bn1.BN.weight``; not tested with the real
    file.

    Args:
        block: ``BasicBlock`` or ``Bottleneck``.
        layers: Number of blocks in each of the four stages.
        width: Factor of the number of channels of every layer (basic blocks only, unless 1).
        group_size: Number of images of the global batch that share batch-norm statistics.
        groups: Groups of the middle convolution of a bottleneck.
        width_per_group: Channels per group of that convolution, in the stage with 64 channels.
        ibn: Build the variant IBN-a.
    """

    options = OF_RESNETS
    conv1: nn.Module
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module
    layer1: Any
    layer2: Any
    layer3: Any
    layer4: Any

    def __init__(
        self,
        block: Block,
        layers: tuple[int, int, int, int],
        width: float,
        group_size: int,
        groups: int = 1,
        width_per_group: int = 64,
        ibn: bool = False,
    ) -> None:
        super().__init__()
        norm: Norm = partial(GroupedBatchNorm, group_size=group_size)
        self._build(block, layers, 1.0, norm, groups, width_per_group)
        nn.Linear(512 * block.expansion, _CLASSES)  # draws as many numbers as torchvision's network
        initialise(self)
        if width != 1.0:
            self._build(block, layers, width, norm, groups, width_per_group)
            initialise(self)
        if ibn:
            for first in (b for stage in (self.layer1, self.layer2, self.layer3) for b in stage):
                first.bn1 = InstanceBatchNorm(first.bn1.num_features, group_size)
        self._group_size = group_size
        self.arrange(PUBLISHED)
        self.out_channels = round(512 * width) * block.expansion

    def arrange(self, layout: Layout) -> None:
        """Set pooling and ReLU of the stem, stride of the last stage and non-local blocks.

        Raises:
            ValueError: A stage has fewer blocks than non-local blocks.
        """
        for stage, count in enumerate(layout.non_local, start=1):
            self._set_non_local(stage, count)
        self.maxpool = nn.MaxPool2d(**_STEM_POOLS[layout.stem_pool])
        self.relu = nn.ReLU(inplace=True) if layout.stem_relu else nn.Identity()
        last, stride = self.layer4[0], (layout.last_stride, layout.last_stride)
        (last.conv1 if isinstance(last, BasicBlock) else last.conv2).stride = stride
        last.downsample[0].stride = stride

    def _set_non_local(self, stage: int, count: int) -> None:
        name, blocks = f"NL_{stage}", getattr(self, f"layer{stage}")
        if count > len(blocks):
            raise ValueError(
                f"stage {stage} has {len(blocks)} blocks, too few for {count} non-local blocks"
            )
        if count == len(getattr(self, name, ())):
            return
        last = list(blocks[-1].modules())
        channels = [m.num_features for m in last if isinstance(m, GroupedBatchNorm)][-1]
        if count:
            added = (NonLocal(channels, self._group_size) for _ in range(count))
            setattr(self, name, nn.ModuleList(added))
        else:
            delattr(self, name)

    def _build(
        self,
        block: Block,
        layers: tuple[int, int, int, int],
        width: float,
        norm: Norm,
        groups: int,
        width_per_group: int,
    ) -> None:
        inputs = round(64 * width)
        self.conv1 = nn.Conv2d(3, inputs, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = norm(inputs)
        self.relu, self.maxpool = nn.ReLU(), nn.MaxPool2d(2)  # set by arrange
        for stage, blocks in enumerate(layers):
            channels, stride = round(64 * 2**stage * width), 1 if stage == 0 else 2
            built = build_stage(
                block, inputs, channels, blocks, norm, stride, groups, width_per_group
            )
            setattr(self, f"layer{stage + 1}", built)
            inputs = channels * block.expansion

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images to (B, D, H / 16, W / 16)."""
        maps: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage in range(1, 5):
            blocks, non_local = getattr(self, f"layer{stage}"), getattr(self, f"NL_{stage}", None)
            maps = blocks(maps) if non_local is None else _interleaved(blocks, non_local, maps)
        return maps


def _interleaved(blocks: nn.Sequential, non_local: nn.ModuleList, maps: Tensor) -> Tensor:
    for number, block in enumerate(blocks, start=len(non_local) - len(blocks)):
        maps = block(maps)
        if number >= 0:
            maps = non_local[number](maps)
    return maps


def build_resnet(name: str, width: float, group_size: int) -> ResNetTrunk:
    """Build one of ``catalog.RESNETS`` with random weights."""
    plan = RESNETS[name]
    block = BasicBlock if plan.basic else Bottleneck
    return ResNetTrunk(
        block, plan.layers, width, group_size, plan.groups, plan.width_per_group, plan.ibn
    )
