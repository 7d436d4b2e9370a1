"""Batch norm in groups of consecutive images, independent of the number of processes.

The published runs of DCCC normalised 256 images in four groups of 64, one per GPU of a
DataParallel job. The group size changes the result considerably, so it is a setting and refers to
the global batch.
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dccc_lightning.common import checks


class GroupedBatchNorm(_BatchNorm):
    """``BatchNorm1d`` and ``BatchNorm2d`` with statistics of ``group_size`` consecutive images.

    In train mode, the global batch is split into groups (the last may be smaller) that are
    normalised separately. Running statistics are computed from group 0 only. In eval mode this is
    ordinary batch norm. Parameters and buffers have torch's names.

    In distributed training, processes hold consecutive blocks of equal length, in rank order. If a
    block consists of whole groups, nothing is communicated and only rank 0 updates running
    statistics, see ``broadcast_running_statistics``. Otherwise the processes all-reduce the moments
    of their groups in forward and backward, and all update running statistics. With a mean loss per
    process and gradients averaged over processes, as in DDP, parameters get the gradient of the
    global batch on one process.

    Args:
        num_features: C.
        group_size: Number of images per group.
        eps: Value added to the variance.
        momentum: Weight of new statistics in the running ones; None for the cumulative average.

    Attributes:
        follows: True if batches update the running statistics; see ``follow_statistics``.
        stays: True if train mode uses the running statistics too; see ``freeze_statistics``.
    """

    def __init__(
        self,
        num_features: int,
        group_size: int = 64,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
    ) -> None:
        super().__init__(num_features, eps, momentum)
        self.group_size = checks.integer("group_size", group_size, 1)
        self.follows = True
        self.stays = False

    def train(self, mode: bool = True) -> Self:
        """Set train mode, unless the statistics stay as they are."""
        return super().train(mode and not self.stays)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C) or (B, C, H, W).

        Raises:
            ValueError: The input is not 2D or 4D, or, in train mode, a group has a single value per
                channel.
        """
        self._check_input_dim(input)
        if not self.training:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(int(self.follows))
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        if _world_size() > 1 and len(input) % self.group_size != 0:
            return self._normalise_across_processes(input, share)
        keeps_statistics = self.follows and (_world_size() == 1 or dist.get_rank() == 0)
        whole = len(input) <= self.group_size  # without split, whose backward copies the gradient
        normalised = [
            F.batch_norm(
                group,
                self.running_mean if keeps_statistics and number == 0 else None,
                self.running_var if keeps_statistics and number == 0 else None,
                self.weight,
                self.bias,
                training=True,
                momentum=share,
                eps=self.eps,
            )
            for number, group in enumerate(
                [input] if whole else torch.split(input, self.group_size)
            )
        ]
        return normalised[0] if len(normalised) == 1 else torch.cat(normalised)

    def extra_repr(self) -> str:
        """Return the settings for the module's ``repr``."""
        return (
            f"{self.num_features}, group_size={self.group_size}, eps={self.eps}, "
            f"momentum={self.momentum}"
        )

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 4):
            raise ValueError(f"expected 2D or 4D input (got {input.dim()}D input)")

    def _normalise_across_processes(self, input: Tensor, share: float) -> Tensor:
        layout = _Layout(len(input), self.group_size)
        values = input[0, 0].numel()
        smallest = min(layout.sizes) * values
        if smallest == 1:
            raise ValueError(
                "Expected more than 1 value per channel when training, got a group of 1 image "
                f"from input size {tuple(input.shape)}"
            )
        output, mean, variance = _SharedMoments.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, layout, self.eps
        )
        assert isinstance(output, Tensor)
        if not self.follows:
            return output
        assert self.running_mean is not None
        assert self.running_var is not None
        count = layout.sizes[0] * values
        with torch.no_grad():
            self.running_mean.lerp_(mean[0].to(self.running_mean.dtype), share)
            unbiased = variance[0] * (count / (count - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)
        return output


def follow_statistics(module: nn.Module, follows: bool) -> None:
    """Enable or disable updates of running statistics in every ``GroupedBatchNorm`` of a module.

    With gradient accumulation, only the first part of a global batch contains group 0.
    """
    for layer in module.modules():
        if isinstance(layer, GroupedBatchNorm):
            layer.follows = follows


def freeze_statistics(module: nn.Module) -> None:
    """Normalise by the running statistics, as they are, in train mode too; weights are trained."""
    for layer in module.modules():
        if isinstance(layer, GroupedBatchNorm):
            layer.stays = True
            layer.eval()


def running_statistics(module: nn.Module) -> list[Tensor]:
    """Return the running means and variances of every ``GroupedBatchNorm`` in a module."""
    return [
        buffer
        for layer in module.modules()
        if isinstance(layer, GroupedBatchNorm)
        for buffer in (layer.running_mean, layer.running_var)
        if buffer is not None
    ]


def broadcast_running_statistics(module: nn.Module) -> None:
    """Copy rank 0's running statistics to all processes.

    Call it on all processes before the statistics are used or saved. In a single process it does
    nothing.
    """
    statistics = running_statistics(module)
    if _world_size() == 1 or not statistics:
        return
    packed = torch.cat(statistics)  # one broadcast instead of hundreds
    dist.broadcast(packed, src=0)
    parts = torch.split(packed, [len(buffer) for buffer in statistics])
    for buffer, received in zip(statistics, parts, strict=True):
        buffer.copy_(received)


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Layout:
    """Layout of the global batch's groups on this process.

    Attributes:
        sizes: Number of images of each group, over all processes.
        local: (group, number of images) of each run in this process's block, in order.
    """

    def __init__(self, images: int, group_size: int) -> None:
        begin, total = dist.get_rank() * images, dist.get_world_size() * images
        self.sizes = [min(group_size, total - at) for at in range(0, total, group_size)]
        self.local: list[tuple[int, int]] = []
        position = begin
        while position < begin + images:
            group = position // group_size
            stop = min((group + 1) * group_size, begin + images)
            self.local.append((group, stop - position))
            position = stop

    def global_sums(self, *per_image: Tensor) -> Tensor:
        """Return the sums (K, groups, C) over all processes of K tensors (images, C)."""
        stacked = torch.stack(per_image)
        sums = stacked.new_zeros(len(per_image), len(self.sizes), stacked.shape[2])
        lengths = [length for _, length in self.local]
        for (group, _), part in zip(self.local, torch.split(stacked, lengths, dim=1), strict=True):
            sums[:, group] = part.sum(dim=1)
        dist.all_reduce(sums)
        return sums

    def per_image(self, per_group: Tensor, dimensions: int) -> Tensor:
        """Return (groups, C) as (images, C, 1, ...), each image with the row of its group."""
        rows = [per_group[group].expand(length, -1) for group, length in self.local]
        return torch.cat(rows).reshape(-1, per_group.shape[1], *[1] * (dimensions - 2))

    def counts(self, like: Tensor) -> Tensor:
        """Return the number of values per channel in each group, (groups, 1)."""
        sizes = torch.tensor(self.sizes, dtype=torch.float32).to(like.device, non_blocking=True)
        return sizes[:, None] * like[0, 0].numel()


class _SharedMoments(torch.autograd.Function):
    """Batch norm of groups that span processes, with all-reduced moments.

    The mean and the centred squares are computed in two passes for accuracy. The backward pass is
    written by hand, since autograd would keep several copies of the activations.
    """

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor,
        layout: _Layout,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype = torch.promote_types(input.dtype, torch.float32)
        counts = layout.counts(input).to(dtype)
        mean = layout.global_sums(_over_positions(input, dtype))[0] / counts
        centred = input - layout.per_image(mean, input.dim())
        variance = layout.global_sums(_over_positions(centred.square(), dtype))[0] / counts
        inverse_deviation = (variance + eps).rsqrt()
        scale = layout.per_image(inverse_deviation * weight, input.dim())
        output = centred.mul_(scale).add_(_per_channel(bias, input.dim())).to(input.dtype)
        ctx.save_for_backward(input, weight, mean, inverse_deviation, counts)
        ctx.layout = layout
        ctx.mark_non_differentiable(mean, variance)
        return output, mean, variance

    @staticmethod
    def backward(
        ctx: Any, grad_output: Tensor, *_: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        input, weight, mean, inverse_deviation, counts = ctx.saved_tensors
        layout: _Layout = ctx.layout
        dimensions, dtype = input.dim(), mean.dtype
        normalised = (input - layout.per_image(mean, dimensions)).mul_(
            layout.per_image(inverse_deviation, dimensions)
        )
        to_bias = _over_positions(grad_output, dtype)
        to_weight = _over_positions(grad_output * normalised, dtype)
        grad_input = None
        if ctx.needs_input_grad[0]:
            # The losses of all processes depend on the group's moments: sum their gradients.
            mean_grad, mean_product = layout.global_sums(to_bias, to_weight) / counts
            grad_input = (
                normalised.mul_(layout.per_image(-mean_product, dimensions))
                .add_(grad_output)
                .sub_(layout.per_image(mean_grad, dimensions))
                .mul_(layout.per_image(inverse_deviation * weight, dimensions))
                .to(input.dtype)
            )
        grad_weight = to_weight.sum(dim=0).to(weight.dtype) if ctx.needs_input_grad[1] else None
        grad_bias = to_bias.sum(dim=0).to(weight.dtype) if ctx.needs_input_grad[2] else None
        return grad_input, grad_weight, grad_bias, None, None


def _over_positions(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum over height and width in ``dtype``, (images, C)."""
    spatial: Sequence[int] = range(2, values.dim())
    return values.sum(dim=tuple(spatial), dtype=dtype) if spatial else values.to(dtype)


def _per_channel(values: Tensor, dimensions: int) -> Tensor:
    return values.reshape(1, -1, *[1] * (dimensions - 2))
