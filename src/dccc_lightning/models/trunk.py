"""Base class of backbones."""

from torch import nn

from dccc_lightning.models.position_grid import PositionGrid


class Trunk(nn.Module):
    """Network without classifier that maps normalised images (B, 3, H, W) to (B, D, h, w).

    Attributes:
        out_channels: D.
        ends_in_map: True if the output is a feature map to be pooled; False if the network pools,
            with h = w = 1.
        positions: Grid of its position embeddings; None if it has none that can be resized.
        embedding_dim: Size of the published embedding layer behind the pooling; 0 for none.
    """

    out_channels: int
    ends_in_map: bool = True
    positions: PositionGrid | None = None
    embedding_dim: int = 0
