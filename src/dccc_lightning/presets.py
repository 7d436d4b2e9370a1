"""What a run's settings are beside those of its preset: the dataset's, or the experiment's."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

log = logging.getLogger(__name__)

_CHOICES = ("task", "dataset", "experiment")
PLACES = ("output", "resume", "ckpt_path", "trust", "checkpoint.requeue", "callbacks.pruning")
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
        command line, where there is nothing to compose from, or if the preset has gone since.
    """
    if not GlobalHydra.instance().is_initialized():
        return []
    choices = [given for given in overrides if given.partition("=")[0] in _CHOICES]
    try:
        preset = OmegaConf.to_container(compose("train", choices), resolve=True)
        composed = OmegaConf.to_container(compose("train", list(overrides)))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("no differences from the preset in the report: %s", reason)
        return []
    ours, theirs, unresolved = flat(settings), flat(preset), flat(composed)
    repeating = tuple(f"{name}." for name, value in unresolved.items() if value.startswith("${"))
    return [
        (name, theirs.get(name, ABSENT), ours.get(name, ABSENT))
        for name in [*ours, *(name for name in theirs if name not in ours)]
        if ours.get(name) != theirs.get(name)
        and not is_place(name)
        and not f"{name}.".startswith(repeating)
    ]


def flat(node: object, prefix: str = "") -> dict[str, str]:
    """Return settings as text, by their dotted names.

    >>> flat({"seed": 1, "image": {"height": 64, "width": None}})
    {'seed': '1', 'image.height': '64', 'image.width': 'null'}
    """
    if not isinstance(node, Mapping):
        return {prefix[:-1]: "null" if node is None else str(node)}
    leaves: dict[str, str] = {}
    for name, value in node.items():
        leaves |= flat(value, f"{prefix}{name}.")
    return leaves
