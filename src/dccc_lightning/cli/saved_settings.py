"""Settings saved in a run folder, from which the run is resumed."""

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
    """Set group choices and arguments of a resumed run in Hydra's configuration."""
    config = cast(DictConfig, HydraConfig.get())  # annotated as its schema's dataclass
    with read_write(config), open_dict(config):
        config.runtime.choices.update(own.choices)
        config.overrides.task = list(arguments)


def write_settings(
    output: Path, config: DictConfig, settings: Mapping[str, Any], own: OwnSettings | None
) -> None:
    """Write the settings of a run, and print changes of a resumed one.

    Values are written before the choices of groups, so that a concurrently started process that
    reads in between composes the groups itself or finds their values.

    Args:
        output: Run folder.
        config: Composed configuration.
        settings: The same, resolved.
        own: Settings of a resumed run; None for a new run, of which Hydra writes the other files.
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
