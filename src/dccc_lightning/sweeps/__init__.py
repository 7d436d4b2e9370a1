"""Sweeps: Optuna as Hydra's sweeper, and launchers that run several jobs at once."""

import sys
from pathlib import Path
from types import ModuleType

import yaml
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from dccc_lightning.sweeps.local_launcher import LocalLauncher
from dccc_lightning.sweeps.optuna_sweeper import OptunaSweeper
from dccc_lightning.sweeps.serial_launcher import SerialLauncher
from dccc_lightning.sweeps.slurm_launcher import SlurmLauncher
from dccc_lightning.sweeps.study import STUDY_FILE

__all__ = [
    "SWEEP_FILE", "LocalLauncher", "OptunaSweeper", "SerialLauncher", "SlurmLauncher",
    "continues", "register",
]  # fmt: skip

SWEEP_FILE = "multirun.yaml"
"""In a sweep's folder: its configuration, as Hydra writes it."""


def register() -> None:
    """Make the plugins known to Hydra.

    It scans installed ``hydra_plugins`` packages, which an editable install does not offer it, and
    takes no sweeper of another name. So the classes bear such a name, which is made to exist here.
    """
    plugins = Plugins.instance()  # has imported the packages of that name, if there are some
    namespace = sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))
    vars(namespace)["dccc_lightning"] = sys.modules[__name__]
    for plugin in (LocalLauncher, OptunaSweeper, SerialLauncher, SlurmLauncher):
        plugins.register(plugin)


def continues(config: DictConfig) -> bool:
    """Tell whether a sweep goes on in its folder, which then may hold something.

    A search does with the study in it; another sweep, whose launcher leaves out what is finished,
    with the jobs of the same arguments.
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
    except (yaml.YAMLError, OSError):  # cut short, or not ours to read
        return False
    return all(
        OmegaConf.select(before, key) == OmegaConf.select(config, key)
        for key in ("hydra.overrides.task", "hydra.sweeper.params")
    )


def _is(settings: DictConfig, plugin: type) -> bool:
    return str(settings._target_).endswith(f".{plugin.__name__}")
