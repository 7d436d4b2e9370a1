"""report.html of a run, from what lies in its folder."""

import json
import os
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig

from dccc_lightning import metrics_table
from dccc_lightning.construction import Settings
from dccc_lightning.presets import PLACES, differences
from dccc_lightning.reports.html import Report, write_report
from dccc_lightning.reports.panel import read_panels


def write_run_report(settings: Settings, output: Path, results: Mapping[str, Any]) -> None:
    """Write report.html beside what it is made from: tables, panels/, eps_curves.jsonl.

    Args:
        settings: Of the run.
        output: Its folder.
        results: What results.json holds.
    """
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    repeated = [given for given in overrides if given.partition("=")[0] not in PLACES]
    curves = output / "eps_curves.jsonl"
    report = Report(
        title=settings["dataset"]["name"],
        results=results,
        rows=metrics_table.read_rows(output / "metrics.csv"),
        timings=metrics_table.read_rows(output / "timings.csv"),
        choices=[json.loads(x) for x in curves.read_text().splitlines()] if curves.exists() else [],
        panels=read_panels(output / "panels"),
        command=shlex.join(["python", "-m", "dccc_lightning", *repeated]),
        differences=differences(settings, overrides),
        environment=environment(),
        notice=settings["notice"],
    )
    write_report(output / "report.html", report)


def environment() -> dict[str, str]:
    """Return what a run's speed depends on."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "system": platform.platform(),
        "processor": f"{platform.processor() or platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores",
        "GPUs": ", ".join(gpus) or "none",
    }
