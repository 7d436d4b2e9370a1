"""What a run's settings are beside those of its preset: the dataset's, or the experiment's."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

_CHOICES = ("task", "dataset", "experiment")
PLACES = ("output", "resume", "ckpt_path")
"""Settings that say where, not what."""


def differences(
    settings: Mapping[str, Any], overrides: Sequence[str]
) -> list[tuple[str, str, str]]:
    """Return the settings that are not what the choice of dataset and experiment alone gives.

    Args:
        settings: Of the run, resolved.
        overrides: Its arguments.

    Returns:
        Name, the preset's value (empty: it has none) and the run's, in the order of the settings;
        nothing outside a run of the command line, where there is nothing to compose from.
    """
    if not GlobalHydra.instance().is_initialized():
        return []
    choices = [given for given in overrides if given.partition("=")[0] in _CHOICES]
    preset = OmegaConf.to_container(compose("train", choices), resolve=True)
    assert isinstance(preset, dict)
    ours, theirs = _flat(settings), _flat(preset)
    return [
        (name, theirs.get(name, ""), ours.get(name, ""))
        for name in [*ours, *(name for name in theirs if name not in ours)]
        if ours.get(name) != theirs.get(name) and name.partition(".")[0] not in PLACES
    ]


def _flat(node: object, prefix: str = "") -> dict[str, str]:
    if not isinstance(node, Mapping) or not node:
        return {prefix[:-1]: "null" if node is None else str(node)}
    leaves: dict[str, str] = {}
    for name, value in node.items():
        leaves |= _flat(value, f"{prefix}{name}.")
    return leaves
