"""Sweeps: an Optuna sweeper and launchers for Hydra."""

import sys
from pathlib import Path
from types import ModuleType

import yaml
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from dccc_lightning.reports.sweep_jobs import SWEEP_FILE
from dccc_lightning.sweeps.local_launcher import LocalLauncher
from dccc_lightning.sweeps.optuna_sweeper import OptunaSweeper
from dccc_lightning.sweeps.serial_launcher import SerialLauncher
from dccc_lightning.sweeps.slurm_launcher import SlurmLauncher
from dccc_lightning.sweeps.study import STUDY_FILE

__all__ = [
    "SWEEP_FILE", "LocalLauncher", "OptunaSweeper", "SerialLauncher", "SlurmLauncher",
    "continues", "register",
]  # fmt: skip


def register() -> None:
    """Register the plugins with Hydra.

    Hydra finds plugins by scanning packages under ``hydra_plugins``, which fails for editable
    installs, and accepts only classes of such modules. The module that the classes name is created
    here.
    """
    plugins = Plugins.instance()  # imports existing packages of that name
    namespace = sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))
    vars(namespace)["dccc_lightning"] = sys.modules[__name__]
    for plugin in (LocalLauncher, OptunaSweeper, SerialLauncher, SlurmLauncher):
        plugins.register(plugin)


def continues(config: DictConfig) -> bool:
    """Return True if a sweep may resume in its folder.

    A study resumes with any arguments; a sweep whose launcher skips finished jobs, with the same
    arguments.
    """
    folder = Path(config.hydra.sweep.dir)
    if _is(config.hydra.sweeper, OptunaSweeper):
        return (folder / STUDY_FILE).is_file()
    if not (_is(config.hydra.launcher, LocalLauncher) or _is(config.hydra.launcher, SlurmLauncher)):
        return False
    saved = folder / SWEEP_FILE
    if not saved.is_file():
        return False
    try:
        before = OmegaConf.create(yaml.safe_load(saved.read_bytes()))
    except (yaml.YAMLError, OSError):  # truncated, or not readable
        return False
    return all(
        OmegaConf.select(before, key) == OmegaConf.select(config, key)
        for key in ("hydra.overrides.task", "hydra.sweeper.params")
    )


def _is(settings: DictConfig, plugin: type) -> bool:
    return str(settings._target_).endswith(f".{plugin.__name__}")
