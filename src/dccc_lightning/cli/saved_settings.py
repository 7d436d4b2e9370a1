"""What a run's folder keeps of its settings, from which it goes on."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from dccc_lightning.cli.own_settings import OwnSettings
from dccc_lightning.cli.run_folder import RUN_MARKER
from dccc_lightning.common.console import CONSOLE
from dccc_lightning.common.files import write_atomically

log = logging.getLogger(__name__)


def take_over(own: OwnSettings, arguments: Sequence[str]) -> None:
    """Let Hydra know what a run that goes on was composed by: choices of groups, and arguments."""
    config = cast(DictConfig, HydraConfig.get())  # typed as the dataclass that it is checked by
    with read_write(config), open_dict(config):
        config.runtime.choices.update(own.choices)
        config.overrides.task = list(arguments)


def write_settings(
    output: Path, config: DictConfig, settings: Mapping[str, Any], own: OwnSettings | None
) -> None:
    """Write the settings of a run; say what has changed for one that goes on.

    The values come first, the choices of groups after them: a process that starts beside this one
    and reads in between makes a choice itself, or finds its values written.

    Args:
        output: The run's folder.
        config: As composed.
        settings: The same, resolved.
        own: Those that the run goes on with; None for a new one, of which Hydra writes the rest.
    """
    write_atomically(output / "config.yaml", OmegaConf.to_yaml(dict(settings)).encode())
    if own is None:
        return
    if changes := own.changes(config, settings):
        line = f"changed: {', '.join(changes)}"
        log.info(line)
        CONSOLE.print(line, soft_wrap=True)
    hydra = HydraConfig.get()
    for name, content in {
        "config": config, "hydra": {"hydra": hydra}, "overrides": hydra.overrides.task,
    }.items():  # fmt: skip
        text = OmegaConf.to_yaml(content)
        write_atomically(output / RUN_MARKER / f"{name}.yaml", text.encode())
