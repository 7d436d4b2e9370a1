"""Comparison of a run's settings with the preset of its dataset or experiment."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dccc_lightning.config.compositions import composed

log = logging.getLogger(__name__)

_CHOICES = ("task", "dataset", "experiment")
PLACES = ("output", "resume", "ckpt_path", "trust", "checkpoint.requeue", "callbacks.pruning")
"""Settings of where and how a run is started, which do not define the run; with nested ones."""

ABSENT = "absent"


_MACHINE = (
    "dataset.root", "dataset.cache", "dataset.on_error", "trainer.accelerator", "trainer.devices",
    "trainer.num_nodes", "trainer.strategy", "trainer.accumulate_grad_batches",
    "trainer.deterministic", "trainer.enable_progress_bar", "trainer.profiler",
)  # fmt: skip
"""Settings of the machine and of folders."""

_METHOD = (
    "seed", "epochs", "iterations", "recipe", "dataset", "image", "batch", "augmentation", "model",
    "scheduler", "clustering", "memory", "loss", "teacher", "optimizer", "evaluate", "trainer",
    "callbacks.recluster",
)  # fmt: skip
"""Settings that determine the result of a run, with nested ones, except those of the machine."""


def is_place(name: str) -> bool:
    """Return True if a setting is one of ``PLACES`` or nested in one."""
    return _is_below(name.lstrip("+~"), PLACES)


def is_machine(name: str) -> bool:
    """Return True if a setting is of the machine or of folders."""
    return _is_below(name, _MACHINE)


def differences(
    settings: Mapping[str, Any], overrides: Sequence[str]
) -> list[tuple[str, str, str]]:
    """Return the settings that differ from the preset of dataset and experiment.

    Args:
        settings: Resolved settings of the run.
        overrides: Overrides of the run.

    Returns:
        Name, preset's value and run's value (``absent`` if missing) of each setting that differs,
        in the order of the settings, without those interpolated from another setting. Empty outside
        a run of the command line, or if the preset does not exist any more.
    """
    if not GlobalHydra.instance().is_initialized():
        return []
    choices = [given for given in overrides if given.partition("=")[0] in _CHOICES]
    try:
        preset = OmegaConf.to_container(composed(choices), resolve=True)
        unresolved = OmegaConf.to_container(composed(overrides))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("no differences from the preset in the report: %s", reason)
        return []
    ours, theirs, written = flat(settings), flat(preset), flat(unresolved)
    repeating = tuple(f"{name}." for name, value in written.items() if value.startswith("${"))
    return [
        (name, theirs.get(name, ABSENT), ours.get(name, ABSENT))
        for name in [*ours, *(name for name in theirs if name not in ours)]
        if ours.get(name) != theirs.get(name)
        and not is_place(name)
        and not f"{name}.".startswith(repeating)
    ]


def is_published(settings: Mapping[str, Any]) -> bool:
    """Return True if all settings that determine the result equal the dataset's preset.

    Args:
        settings: Resolved settings of the run. Outside a run of the command line, returns False.
    """
    if not GlobalHydra.instance().is_initialized():
        return False
    try:
        preset = composed([f"dataset={settings['dataset']['name']}"])
    except HydraException:  # no preset for this dataset
        return False
    ours, theirs = flat(settings), flat(OmegaConf.to_container(preset, resolve=True))
    return all(
        ours.get(name) == theirs.get(name)
        for name in {*ours, *theirs}
        if _is_below(name, _METHOD) and not is_machine(name)
    )


def _is_below(name: str, places: Sequence[str]) -> bool:
    return any(f"{name}.".startswith(f"{place}.") for place in places)


def flat(node: object, prefix: str = "") -> dict[str, str]:
    """Return settings as text by dotted name.

    >>> flat({"seed": 1, "image": {"height": 64, "width": None}})
    {'seed': '1', 'image.height': '64', 'image.width': 'null'}
    """
    if not isinstance(node, Mapping):
        return {prefix[:-1]: "null" if node is None else str(node)}
    leaves: dict[str, str] = {}
    for name, value in node.items():
        leaves |= flat(value, f"{prefix}{name}.")
    return leaves
