"""Range checks of the arguments of losses and memories beyond DCCC, without importing torch."""

from dccc_lightning.common import checks, ranges

FAVOURED = ("near", "far")
"""Neighbours with the higher weights in ``NeighborSmoothedLoss``."""


def neighbor_smoothed(
    within: float = 0.2,
    smoothing: float = 0.9,
    temperature: float = 0.05,
    favour: str = "near",
    weight: float = 1.0,
    consistency: float = 1.0,
    ramp_epochs: int = 50,
) -> None:
    """Check ``NeighborSmoothedLoss``."""
    checks.real("within", within, 0, 1, open_low=True, open_high=True)
    checks.real("smoothing", smoothing, 0, 1)
    checks.real("temperature", temperature, 0, open_low=True)
    checks.choice("favour", favour, FAVOURED)
    checks.real("weight", weight, 0)
    checks.real("consistency", consistency, 0)
    checks.integer("ramp_epochs", ramp_epochs, low=0)


def proxy_memory(
    momentum: float = 0.1,
    temperature: float = 0.05,
    update: str = "instance",
    tau_w: float = 0.09,
    margin: float = 0.2,
    instances: int = 16,
    negatives: int = 256,
    instances_from: int = 20,
    seed: int = 0,
) -> None:
    """Check ``ProxyMemory``."""
    ranges.memory(momentum, temperature, update, tau_w)
    checks.real("margin", margin, 0)
    checks.integer("instances", instances, low=1)
    checks.integer("negatives", negatives, low=1)
    checks.integer("instances_from", instances_from, low=0)
    checks.integer("seed", seed, 0, 2**32 - 1)
