"""Non-local blocks, as AGW and FastReID add them to ResNets."""

from torch import Tensor, nn

from dccc_lightning.models.batchnorm import GroupedBatchNorm


class NonLocal(nn.Module):
    """Residual block in which each position sees all others.

    Sources: Wang et al., "Non-local Neural Networks", CVPR 2018; Ye et al., "Deep Learning for
    Person Re-identification: A Survey and Outlook", TPAMI 2021, whose embedding has one channel.
    With one channel, the product of the pairwise affinities and the values is that of a position's
    own value and a mean over all positions. The last norm starts at zero: a new block is the
    identity.

    Args:
        channels: Channels of the map.
        group_size: Number of images of the global batch that share batch-norm statistics.
    """

    def __init__(self, channels: int, group_size: int) -> None:
        super().__init__()
        self.g = nn.Conv2d(channels, 1, 1)
        self.theta = nn.Conv2d(channels, 1, 1)
        self.phi = nn.Conv2d(channels, 1, 1)
        norm = GroupedBatchNorm(channels, group_size)
        nn.init.zeros_(norm.weight)
        self.W = nn.Sequential(nn.Conv2d(1, channels, 1), norm)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        everywhere = (self.phi(maps) * self.g(maps)).mean((2, 3), keepdim=True)
        output: Tensor = maps + self.W(self.theta(maps) * everywhere)
        return output
