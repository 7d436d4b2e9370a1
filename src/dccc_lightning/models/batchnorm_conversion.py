"""Conversion of batch norm layers to ``GroupedBatchNorm``, keeping weights and names."""

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dccc_lightning.models.batchnorm import GroupedBatchNorm

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)


class ActivatedBatchNorm(GroupedBatchNorm):
    """Grouped batch norm, dropout and activation, with the names of timm's ``BatchNormAct2d``."""

    def __init__(
        self,
        num_features: int,
        group_size: int,
        eps: float,
        momentum: float | None,
        drop: nn.Module,
        act: nn.Module,
    ) -> None:
        super().__init__(num_features, group_size, eps, momentum)
        self.drop = drop
        self.act = act

    def forward(self, input: Tensor) -> Tensor:
        """Normalise and activate (B, C) or (B, C, H, W)."""
        output: Tensor = self.act(self.drop(super().forward(input)))
        return output


def group_batch_norms(network: nn.Module, group_size: int) -> None:
    """Replace every batch norm in a network by ``GroupedBatchNorm``, in place.

    Weights, statistics, names, ``eps`` and ``momentum`` are kept. Instance, group and layer norm
    are not replaced, since they normalise each image separately.

    Args:
        network: Network whose batch norms have images along the first dimension.
        group_size: Number of images of the global batch that share statistics.

    Raises:
        ValueError: A batch norm has no exact equivalent.
    """
    for name, child in list(network.named_children()):
        if isinstance(child, _BatchNorm) and not isinstance(child, GroupedBatchNorm):
            setattr(network, name, _grouped(child, group_size))
        else:
            group_batch_norms(child, group_size)


def _grouped(layer: Any, group_size: int) -> GroupedBatchNorm:
    kind = type(layer).__name__
    if not (layer.affine and layer.track_running_stats):
        raise ValueError(f"a {kind} without weights or running statistics cannot work in groups")
    settings = layer.num_features, group_size, layer.eps, layer.momentum
    if type(layer) in _PLAIN:
        grouped = GroupedBatchNorm(*settings)
    elif isinstance(getattr(layer, "act", None), nn.Module) and hasattr(layer, "drop"):
        grouped = ActivatedBatchNorm(*settings, drop=layer.drop, act=layer.act)
    else:
        raise ValueError(f"a {kind} has no equivalent with groups")
    grouped.weight, grouped.bias = layer.weight, layer.bias
    for name, buffer in layer.named_buffers(recurse=False):
        setattr(grouped, name, buffer)
    return grouped.train(layer.training)
