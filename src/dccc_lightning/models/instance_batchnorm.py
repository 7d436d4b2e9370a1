"""Instance-batch normalisation (IBN)."""

import torch
from torch import Tensor, nn

from dccc_lightning.models.batchnorm import GroupedBatchNorm


class InstanceBatchNorm(nn.Module):
    """Instance norm on the first half of the channels and batch norm on the second.

    Source: Pan et al., "Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net",
    2018. The submodules are called ``IN`` and ``BN``, as in the published weights.

    Args:
        num_features: C, of which C // 2 have instance norm.
        group_size: Number of images of the global batch that share batch-norm statistics.
    """

    def __init__(self, num_features: int, group_size: int) -> None:
        super().__init__()
        half = num_features // 2
        self.IN = nn.InstanceNorm2d(half, affine=True)
        self.BN = GroupedBatchNorm(num_features - half, group_size)

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        by_image, by_batch = maps.tensor_split([self.IN.num_features], dim=1)
        by_batch = self.BN(by_batch)
        # Instance norm returns contiguous maps; concatenating two memory formats would copy twice.
        order = (
            torch.channels_last
            if by_batch.is_contiguous(memory_format=torch.channels_last)
            else torch.contiguous_format
        )
        by_image = self.IN(by_image).contiguous(memory_format=order)
        return torch.cat((by_image, by_batch), dim=1)
