"""Construction of Lightning loggers."""

import logging
import shlex
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from pytorch_lightning.utilities import rank_zero_only

from dccc_lightning.common.console import CONSOLE
from dccc_lightning.common.files import write_atomically
from dccc_lightning.config.instantiate import Settings, construct, first_line
from dccc_lightning.config.mlflow_store import build_mlflow_logger
from dccc_lightning.errors import UserError

log = logging.getLogger(__name__)

RUN_ID = "wandb_run.txt"
"""File in the run folder with the id of its W&B run."""


def build_logger(entry: Settings, output: Path) -> Any:
    """Build a logger; a resumed run continues its run in W&B or MLflow.

    If W&B cannot be reached, the run is logged offline. Jobs of a sweep are grouped by the sweep,
    unless the settings name another group.

    Raises:
        UserError: W&B reports an error, usually a missing login, or MLflow does.
    """
    kind = str(entry["_target_"])
    if kind.endswith("MLFlowLogger"):
        return build_mlflow_logger(entry, output, _sweep(output))
    if not kind.endswith("WandbLogger"):
        return construct("logger", entry)
    import wandb  # noqa: PLC0415  no run without W&B imports it
    from wandb.sdk.lib.runid import generate_id  # noqa: PLC0415

    if wandb.run is not None:  # of a job of this sweep that failed before training
        wandb.finish(exit_code=1)
    record = output / RUN_ID
    run_id = record.read_text().strip() if record.exists() else generate_id()
    given = {name: value for name, value in entry.items() if value is not None}
    arguments = {"id": run_id} | _sweep(output) | given
    logger = construct("logger", arguments)
    try:
        _ = logger.experiment
    except wandb.errors.Error as error:
        # Otherwise W&B's service keeps the id: "run ID ... is in use".
        wandb.teardown()
        is_refused = isinstance(error, wandb.errors.AuthenticationError)
        if is_refused or not isinstance(error, wandb.errors.CommError):
            raise UserError(
                f"logger=wandb: {first_line(error)}; wandb login, or logger.wandb.mode=offline"
            ) from error
        log.warning(
            "W&B cannot be reached (%s): this run is logged offline; wandb sync uploads it later",
            first_line(error),
        )
        logger = construct("logger", arguments | {"mode": "offline"})
        _ = logger.experiment
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        _announce(logger.experiment)
        if not record.exists():
            write_atomically(record, f"{run_id}\n".encode())
    return logger


def _announce(run: Any) -> None:
    """Print the address of a run; W&B's output is disabled."""
    folder = Path(run.dir).parent
    place = f"offline in {folder}; wandb sync {shlex.quote(str(folder))} uploads it"
    if not run.offline and run.url:  # asked offline, W&B warns that there is no address
        place = run.url
    CONSOLE.print(f"W&B: {place}", style="dim")


def _sweep(output: Path) -> dict[str, Any]:
    """Return group, name and tags of a job of a sweep; empty for a single run."""
    if not (output.parent / "multirun.yaml").exists():
        return {}
    group = output.resolve().parent.name
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    tags = [choices["sweep"]] if choices.get("sweep") else []
    return {"group": group, "name": f"{group}/{output.name}", "tags": ["sweep", *tags]}
