"""Exclude parts of a network from training, by name."""

import difflib
from collections.abc import Sequence

from torch import nn

from dccc_lightning.models.batchnorm import freeze_statistics
from dccc_lightning.models.catalog import STATISTICS
from dccc_lightning.models.naming import own_name


def freeze_parts(network: nn.Module, names: Sequence[str]) -> None:
    """Stop the training of parts of a network; their batch norms still use batch statistics.

    Args:
        network: Embedder.
        names: Modules or parameters, such as ``backbone.layer1``; ``backbone.`` may be left out.
            ``bn_statistics`` keeps the running statistics of all batch norms, see
            ``freeze_statistics``.

    Raises:
        ValueError: A name is unknown, or nothing is left to train.

    >>> network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    >>> freeze_parts(network, ["0", "1.bias"])
    >>> [name for name, value in network.named_parameters() if value.requires_grad]
    ['1.weight']
    """
    parameters = dict(network.named_parameters())
    parts = {
        ".".join(name.split(".")[:depth])
        for name in parameters
        for depth in range(1, name.count(".") + 2)
    }
    if STATISTICS in names:
        freeze_statistics(network)
    for given in set(names) - {STATISTICS}:
        part = own_name(given, parts)
        if part is None:
            short = {name.removeprefix("backbone.").removeprefix("network.") for name in parts}
            near = difflib.get_close_matches(given, sorted({*short, STATISTICS}), n=3, cutoff=0.0)
            raise ValueError(
                f"freeze: the network has no part {given!r}; the nearest are {', '.join(near)}"
            )
        for name, value in parameters.items():
            if name == part or name.startswith(f"{part}."):
                value.requires_grad_(False)
    if names and not any(value.requires_grad for value in parameters.values()):
        raise ValueError("freeze: nothing is left to train")
