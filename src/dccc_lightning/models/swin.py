"""Swin transformers of SOLIDER, whose windows are padded before they are shifted.

Sources: tinyvision/SOLIDER-REID 8c08e1c, ``model/backbones/swin_transformer.py``; Liu et al., "Swin
Transformer", ICCV 2021; Chen et al., "Beyond Appearance", CVPR 2023. Parts have mmcv's names.
"""

from collections.abc import Sequence

import torch
from timm.layers.weight_init import trunc_normal_
from timm.models.swin_transformer import WindowAttention, window_partition, window_reverse
from torch import Tensor, nn
from torch.nn import functional as F

from dccc_lightning.models.catalog import SWIN_REDUCTION, SWINS, check_multiple
from dccc_lightning.models.trunk import Trunk

_WINDOW = 7
_FIRST = 4
_OTHER_REGION = -100.0


class SoliderSwin(Trunk):
    """Swin transformer that returns the map of its last stage, after a layer norm.

    The maps between the stages are scaled and shifted by channel, by SOLIDER's semantic embedding
    of one weight, which is constant.

    Args:
        image_size: Height and width of the images in pixels, multiples of 32.
        dim: Number of channels of the first stage, doubled by every other.
        depths: Number of blocks of each stage.
        heads: Number of heads of each stage.
    """

    def __init__(
        self, image_size: tuple[int, int], dim: int, depths: Sequence[int], heads: Sequence[int]
    ) -> None:
        super().__init__()
        check_multiple(image_size, SWIN_REDUCTION)
        projection = nn.Conv2d(3, dim, _FIRST, _FIRST)
        self.patch_embed = nn.ModuleDict({"projection": projection, "norm": nn.LayerNorm(dim)})
        stages = []
        for index, (depth, count) in enumerate(zip(depths, heads, strict=True)):
            size = tuple(side // (_FIRST * 2**index) for side in image_size)
            blocks = (
                SwinBlock(dim * 2**index, count, size, _WINDOW // 2 * (number % 2))
                for number in range(depth)
            )
            stage = nn.ModuleDict({"blocks": nn.Sequential(*blocks)})
            if index < len(depths) - 1:
                stage["downsample"] = PatchMerging(dim * 2**index)
                self.register_buffer(f"scale{index}", torch.ones(dim * 2 ** (index + 1)))
                self.register_buffer(f"shift{index}", torch.zeros(dim * 2 ** (index + 1)))
            stages.append(stage)
        self.stages = nn.ModuleList(stages)
        self.out_channels = dim * 2 ** (len(depths) - 1)
        self.norm3 = nn.LayerNorm(self.out_channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images to (B, D, H / 32, W / 32)."""
        maps = self.patch_embed["projection"](images).permute(0, 2, 3, 1)
        maps = self.patch_embed["norm"](maps)
        for index, stage in enumerate(self.stages):
            assert isinstance(stage, nn.ModuleDict)
            maps = stage["blocks"](maps)
            if "downsample" in stage:
                maps = stage["downsample"](maps)
                maps = maps * self.get_buffer(f"scale{index}") + self.get_buffer(f"shift{index}")
        normalised: Tensor = self.norm3(maps).permute(0, 3, 1, 2)
        return normalised


class SwinBlock(nn.Module):
    """Attention in windows of 7 x 7 positions, and a perceptron of two layers.

    Args:
        dim: D, the number of channels.
        heads: Number of heads.
        size: Height and width of the maps.
        shift: Number of positions by which the windows are shifted.
    """

    mask: Tensor | None

    def __init__(self, dim: int, heads: int, size: Sequence[int], shift: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = nn.ModuleDict({"w_msa": WindowAttention(dim, heads, window_size=_WINDOW)})
        wide = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU())
        self.ffn = nn.ModuleDict({"layers": nn.Sequential(wide, nn.Linear(4 * dim, dim))})
        self.shift = shift
        self.pad = [-side % _WINDOW for side in size]
        padded = [side + more for side, more in zip(size, self.pad, strict=True)]
        mask = _mask(padded, shift) if shift else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, H, W, D) to (B, H, W, D)."""
        maps = maps + self._attend(self.norm1(maps))
        changed: Tensor = maps + self.ffn["layers"](self.norm2(maps))
        return changed

    def _attend(self, maps: Tensor) -> Tensor:
        _, height, width, dim = maps.shape
        maps = F.pad(maps, (0, 0, 0, self.pad[1], 0, self.pad[0]))
        padded = maps.shape[1:3]
        maps = torch.roll(maps, (-self.shift, -self.shift), (1, 2))
        windows = window_partition(maps, (_WINDOW, _WINDOW)).reshape(-1, _WINDOW**2, dim)
        windows = self.attn["w_msa"](windows, self.mask)
        windows = windows.reshape(-1, _WINDOW, _WINDOW, dim)
        maps = window_reverse(windows, (_WINDOW, _WINDOW), *padded)
        return torch.roll(maps, (self.shift, self.shift), (1, 2))[:, :height, :width]


class PatchMerging(nn.Module):
    """Join 2 x 2 positions, channel by channel as in ``nn.Unfold``, and halve their channels.

    Args:
        dim: Number of channels.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, H, W, D) to (B, H / 2, W / 2, 2 D)."""
        batch, height, width, dim = maps.shape
        joined = maps.reshape(batch, height // 2, 2, width // 2, 2, dim).permute(0, 1, 3, 5, 2, 4)
        reduced: Tensor = self.reduction(self.norm(joined.flatten(3)))
        return reduced


def _mask(size: Sequence[int], shift: int) -> Tensor:
    """Return what is added to the attention of shifted windows, (windows, 49, 49)."""
    regions = torch.zeros(1, *size, 1)
    parts = (slice(0, -_WINDOW), slice(-_WINDOW, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((r, c) for r in parts for c in parts):
        regions[:, rows, columns] = number
    windows = window_partition(regions, (_WINDOW, _WINDOW)).reshape(-1, _WINDOW**2)
    return (windows[:, None] != windows[:, :, None]).float() * _OTHER_REGION


def build_swin(name: str, image_size: tuple[int, int]) -> SoliderSwin:
    """Build one of ``SWINS`` with random weights."""
    return SoliderSwin(image_size, *SWINS[name])
