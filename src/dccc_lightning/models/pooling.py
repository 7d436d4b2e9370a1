"""Pooling of feature maps to vectors: average and generalised mean."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dccc_lightning.common import checks
from dccc_lightning.models.catalog import POOLINGS


class GeneralizedMean(nn.Module):
    """Generalised-mean (GeM) pooling: (mean over positions of x^p)^(1/p), p learned.

    Source: Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018.

    >>> GeneralizedMean(p=3.0)(torch.ones(2, 4, 8, 4)).shape
    torch.Size([2, 4])
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(checks.real("p", p, 1.0)))
        self.eps = eps

    def forward(self, maps: Tensor) -> Tensor:
        """Pool (B, D, H, W) maps to (B, D)."""
        powered = maps.clamp(min=self.eps).pow(self.p)
        return F.adaptive_avg_pool2d(powered, 1).flatten(1).pow(1.0 / self.p)


class GlobalAverage(nn.Module):
    """Global average pooling: (B, D, H, W) to (B, D)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Pool (B, D, H, W) maps to (B, D)."""
        return F.adaptive_avg_pool2d(maps, 1).flatten(1)


def build_pooling(name: str) -> nn.Module:
    """Build the pooling ``avg`` (published) or ``gem``."""
    return (
        GeneralizedMean() if checks.choice("pooling", name, POOLINGS) == "gem" else GlobalAverage()
    )
