"""Base class of backbones."""

from typing import ClassVar

from torch import nn

from dccc_lightning.models.layout import Layout
from dccc_lightning.models.position_grid import PositionGrid


class Trunk(nn.Module):
    """Network without classifier that maps normalised images (B, 3, H, W) to (B, D, h, w).

    Attributes:
        out_channels: D.
        ends_in_map: True if the output is a feature map to be pooled; False if the network pools,
            with h = w = 1.
        positions: Grid of its position embeddings; None if it has none that can be resized.
        embedding_dim: Size of the published embedding layer behind the pooling; 0 for none.
        options: Names of the options of ``Layout`` that ``arrange`` sets.
        parts: Sizes of the vectors that its output joins; empty if it is one vector.
    """

    out_channels: int
    ends_in_map: bool = True
    positions: PositionGrid | None = None
    embedding_dim: int = 0
    options: ClassVar[tuple[str, ...]] = ()
    parts: tuple[int, ...] = ()

    def arrange(self, layout: Layout) -> None:
        """Set the network's ``options``."""
