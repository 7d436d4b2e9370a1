"""MobileNets, EfficientNets and RegNets of torchvision as trunks, without the last reduction."""

import torchvision
from torch import Tensor, nn

from dccc_lightning.models.batchnorm_conversion import group_batch_norms
from dccc_lightning.models.trunk import Trunk


class FeatureTrunk(Trunk):
    """Trunk of the ``features`` of a MobileNet or EfficientNet, with torchvision's names."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.features = network.get_submodule("features")
        self.out_channels = _head_inputs(network.get_submodule("classifier"))
        _strided(self.features)[-1].stride = (1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images to (B, D, H / 16, W / 16)."""
        maps: Tensor = self.features(images)
        return maps


class RegNetTrunk(Trunk):
    """Trunk of the stem and stages of a RegNet, with torchvision's names."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.stem = network.get_submodule("stem")
        self.trunk_output = network.get_submodule("trunk_output")
        self.out_channels = _head_inputs(network.get_submodule("fc"))
        for convolution in _strided(list(self.trunk_output.children())[-1]):
            convolution.stride = (1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images to (B, D, H / 16, W / 16)."""
        maps: Tensor = self.trunk_output(self.stem(images))
        return maps


def build_mobile(name: str, group_size: int) -> Trunk:
    """Build one of ``catalog.MOBILE`` with random weights.

    The last of the five reductions gets stride 1, as in the ResNets: 16 x 8 positions for a
    256 x 128 image instead of 8 x 4. Stochastic depth is disabled, as it would make student and
    teacher different networks at every step and resumed runs irreproducible.
    """
    options = {"stochastic_depth_prob": 0.0} if name.startswith("efficientnet_") else {}
    network = torchvision.models.get_model(name, weights=None, **options)
    trunk = RegNetTrunk(network) if name.startswith("regnet_") else FeatureTrunk(network)
    group_batch_norms(trunk, group_size)
    return trunk


def _strided(stage: nn.Module) -> list[nn.Conv2d]:
    return [m for m in stage.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]


def _head_inputs(head: nn.Module) -> int:
    return next(layer.in_features for layer in head.modules() if isinstance(layer, nn.Linear))
