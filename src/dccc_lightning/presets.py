"""What a run's settings are beside those of its preset: the dataset's, or the experiment's."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

_CHOICES = ("task", "dataset", "experiment")
PLACES = ("output", "resume", "ckpt_path", "checkpoint.requeue", "callbacks.pruning")
"""Settings that say where, or by whom a run was started, not what it is; with all below them."""

ABSENT = "absent"


def is_place(name: str) -> bool:
    """Tell whether a setting is one of ``PLACES`` or below one."""
    return any(f"{name.lstrip('+~')}.".startswith(f"{place}.") for place in PLACES)


def differences(
    settings: Mapping[str, Any], overrides: Sequence[str]
) -> list[tuple[str, str, str]]:
    """Return the settings that are not what the choice of dataset and experiment alone gives.

    Args:
        settings: Of the run, resolved.
        overrides: Its arguments.

    Returns:
        Name, the preset's value and the run's, ``absent`` where it has none, in the order of the
        settings; those that only repeat another setting are left out. Nothing outside a run of the
        command line, where there is nothing to compose from.
    """
    if not GlobalHydra.instance().is_initialized():
        return []
    choices = [given for given in overrides if given.partition("=")[0] in _CHOICES]
    preset = OmegaConf.to_container(compose("train", choices), resolve=True)
    assert isinstance(preset, dict)
    ours, theirs = _flat(settings), _flat(preset)
    unresolved = _flat(OmegaConf.to_container(compose("train", list(overrides))))
    repeating = tuple(f"{name}." for name, value in unresolved.items() if value.startswith("${"))
    return [
        (name, theirs.get(name, ABSENT), ours.get(name, ABSENT))
        for name in [*ours, *(name for name in theirs if name not in ours)]
        if ours.get(name) != theirs.get(name)
        and not is_place(name)
        and not f"{name}.".startswith(repeating)
    ]


def _flat(node: object, prefix: str = "") -> dict[str, str]:
    if not isinstance(node, Mapping):
        return {prefix[:-1]: "null" if node is None else str(node)}
    leaves: dict[str, str] = {}
    for name, value in node.items():
        leaves |= _flat(value, f"{prefix}{name}.")
    return leaves
