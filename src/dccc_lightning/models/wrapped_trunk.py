"""Trunks of networks without classifier, of timm or custom."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.batchnorm_conversion import group_batch_norms
from dccc_lightning.models.position_grid import PositionGrid
from dccc_lightning.models.trunk import Trunk


class WrappedTrunk(Trunk):
    """Trunk of a network that returns a map or a vector, whose names are under ``network.``.

    Args:
        network: Module that returns (B, D, h, w) or (B, D).
        out_channels: D.
        ends_in_map: True if it returns a map.
        positions: Grid of its position embeddings; None if it has none that can be resized.
    """

    def __init__(
        self,
        network: nn.Module,
        out_channels: int,
        ends_in_map: bool,
        positions: PositionGrid | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.out_channels = out_channels
        self.ends_in_map = ends_in_map
        self.positions = positions

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images to (B, D, h, w)."""
        output: Tensor = self.network(images)
        return output if self.ends_in_map else output[:, :, None, None]


def wrap_backbone(network: nn.Module, image_size: tuple[int, int], group_size: int) -> WrappedTrunk:
    """Copy a network into a trunk, with its weights, in train mode.

    Args:
        network: Module that maps normalised images (B, 3, H, W) to (B, D, h, w) or (B, D); it is
            not changed.
        image_size: Height and width of the images in pixels.
        group_size: Number of images of the global batch that share batch-norm statistics.

    Raises:
        ValueError: The network does not support the image size or grouped batch norm.
    """
    with fits_images(type(network).__name__, image_size):
        held = nn.Sequential(copy.deepcopy(network).train())
        group_batch_norms(held, group_size)
        return wrapped(held[0], image_size)


@contextmanager
def fits_images(name: str, image_size: tuple[int, int]) -> Iterator[None]:
    """Convert errors of a network on its first images to one line.

    Raises:
        ValueError: In place of any exception.
    """
    try:
        yield
    except Exception as error:  # exceptions differ by architecture
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"backbone {name} cannot be used on images of {image_size[0]} x {image_size[1]} here: "
            f"{reason}"
        ) from error


def wrapped(
    network: nn.Module, image_size: tuple[int, int], positions: PositionGrid | None = None
) -> WrappedTrunk:
    """Wrap a network after inferring its output by a forward pass of two images.

    Raises:
        ValueError: The network returns neither a map nor a vector, or its batch norms do not have
            one row per image.
    """
    device = next((value.device for value in network.parameters()), None)
    images = torch.zeros(2, 3, *image_size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)  # as ``Embedder`` passes them
    network.eval()
    with torch.no_grad():
        output = _run_grouped(network, images)
    if not isinstance(output, Tensor):
        raise ValueError(f"it must return a tensor, got {type(output).__name__}")
    if output.dim() not in (2, 4) or len(output) != len(images):
        raise ValueError(
            f"it must return (B, D, h, w) or (B, D), got {tuple(output.shape)} for B = 2"
        )
    return WrappedTrunk(network.train(), output.shape[1], output.dim() == 4, positions)


def _run_grouped(network: nn.Module, images: Tensor) -> object:
    """Run a network and check that its batch norms have one row per image."""

    def check(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) != len(images):
            raise ValueError("its batch norm counts tokens as images, which groups cannot")

    layers = [layer for layer in network.modules() if isinstance(layer, GroupedBatchNorm)]
    hooks = [layer.register_forward_pre_hook(check) for layer in layers]
    try:
        return network(images)
    finally:
        for hook in hooks:
            hook.remove()
