"""Loggers beside metrics.csv."""

import logging
from pathlib import Path
from typing import Any

import wandb
from wandb.sdk.lib.runid import generate_id

from dccc_lightning.construction import Settings, construct, first_line
from dccc_lightning.errors import UserError
from dccc_lightning.files import write_atomically

log = logging.getLogger(__name__)

RUN_ID = "wandb_run.txt"
"""File of the run's folder with the name of its W&B run."""


def build_logger(entry: Settings, output: Path) -> Any:
    """Build a logger; W&B goes on with the run that a resumed folder began.

    Without a network W&B writes offline: losing a run for its dashboard would be worse.

    Raises:
        UserError: W&B refuses, most often for want of an account.
    """
    if not str(entry["_target_"]).endswith("WandbLogger"):
        return construct("logger", entry)
    record = output / RUN_ID
    run_id = record.read_text().strip() if record.exists() else generate_id()
    own = {"id": run_id} | ({} if entry.get("mode") == "offline" else {"resume": "allow"})
    logger = construct("logger", own | dict(entry))
    try:
        _ = logger.experiment
    except wandb.errors.AuthenticationError as error:
        raise _refused(error) from error
    except wandb.errors.CommError as error:
        log.warning(
            "W&B cannot be reached (%s): this run is logged offline; wandb sync sends it later",
            first_line(error),
        )
        logger = construct("logger", {"id": run_id} | dict(entry) | {"mode": "offline"})
        _ = logger.experiment
    except wandb.errors.Error as error:
        raise _refused(error) from error
    if not record.exists():
        write_atomically(record, f"{run_id}\n".encode())
    return logger


def _refused(error: Exception) -> UserError:
    return UserError(
        f"logger=wandb: {first_line(error)}; wandb login, or logger.wandb.mode=offline"
    )
