"""Sweeps: Optuna as Hydra's sweeper, and a launcher that runs several jobs at once."""

import sys
from pathlib import Path
from types import ModuleType

from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from dccc_lightning.sweeping.local_launcher import LocalLauncher
from dccc_lightning.sweeping.optuna_sweeper import OptunaSweeper
from dccc_lightning.sweeping.study import STUDY_FILE

__all__ = ["LocalLauncher", "OptunaSweeper", "continues_study", "register"]


def register() -> None:
    """Make the plugins known to Hydra.

    It scans installed ``hydra_plugins`` packages, which an editable install does not offer it, and
    takes no sweeper of another name. So the classes bear such a name, which is made to exist here.
    """
    plugins = Plugins.instance()  # has imported the packages of that name, if there are some
    namespace = sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))
    vars(namespace)["dccc_lightning"] = sys.modules[__name__]
    for plugin in (LocalLauncher, OptunaSweeper):
        plugins.register(plugin)


def continues_study(config: DictConfig) -> bool:
    """Tell whether a sweep goes on with the study in its folder, which then may hold something."""
    is_search = str(config.hydra.sweeper._target_).endswith(f".{OptunaSweeper.__name__}")
    return is_search and (Path(config.hydra.sweep.dir) / STUDY_FILE).is_file()
