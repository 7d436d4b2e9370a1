"""What every backbone is to the embedder: a network that ends in a map of known depth."""

from torch import nn

from dccc_lightning.models.position_grid import PositionGrid


class Trunk(nn.Module):
    """A network without its classifier: (B, 3, H, W) normalised images to (B, D, h, w).

    Attributes:
        out_channels: D.
        ends_in_map: Whether the positions of the result are places in the image, to be pooled. If
            not, the network has made one vector of the image itself, and h = w = 1.
        positions: The grid of its position embeddings, if it has any that can be resized.
    """

    out_channels: int
    ends_in_map: bool = True
    positions: PositionGrid | None = None
