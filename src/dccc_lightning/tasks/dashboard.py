"""``task=dashboard``: a Weights & Biases workspace of the project and a report of its sweeps."""

from pathlib import Path
from typing import Any

import wandb

from dccc_lightning.common import checks
from dccc_lightning.common.console import CONSOLE
from dccc_lightning.common.files import write_json
from dccc_lightning.config.instantiate import Settings, checked, first_line
from dccc_lightning.errors import UserError
from dccc_lightning.metrics.protocols import PROTOCOLS
from dccc_lightning.reports.wandb_workspace import (
    require_workspaces,
    specification,
    sweep_report,
    workspace,
)


def dashboard(settings: Settings, output: Path) -> dict[str, Any]:
    """Create the workspace and the report and save them in the project.

    Args:
        settings: Composed configuration; only ``dashboard`` is used.
        output: Folder to write workspace.json, sweep_report.json and results.json to.

    Returns:
        The content of results.json: the addresses of both, None if not uploaded.

    Raises:
        UserError: The ``dashboard`` extra is not installed, or W&B reports an error.
    """
    require_workspaces()
    chosen = settings["dashboard"]
    protocol = checked(
        "settings",
        lambda: checks.choice("dashboard.protocol", chosen["protocol"], tuple(PROTOCOLS)),
    )
    try:
        entity = chosen["entity"] or ""
        if chosen["upload"]:
            entity = entity or wandb.Api().default_entity or ""
        views = {  # the report first, since it creates a new project
            "sweep_report": sweep_report(entity, chosen["project"], protocol, chosen["group"]),
            "workspace": workspace(entity, chosen["project"], protocol),
        }
        for name, view in views.items():
            write_json(output / f"{name}.json", specification(view))
        addresses = {
            name: view.save().url if chosen["upload"] else None for name, view in views.items()
        }
    except UserError:
        raise
    except Exception as error:  # wandb_workspaces raises the class Exception
        raise UserError(
            f"task=dashboard: {first_line(error)}; wandb login, or dashboard.upload=false"
        ) from error
    for name, address in addresses.items():
        CONSOLE.print(f"{name}: {address or output / f'{name}.json'}")
    write_json(output / "results.json", addresses)
    return addresses
