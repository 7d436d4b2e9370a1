"""Page of a run, report.html, from the files in its folder."""

import json
import os
import platform
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig

from dccc_lightning.common.allocator import release_freed_memory
from dccc_lightning.common.files import write_atomically
from dccc_lightning.common.overrides import config_dir_flags
from dccc_lightning.config.instantiate import Settings
from dccc_lightning.config.preset_diff import differences, is_place
from dccc_lightning.reports import metrics_table
from dccc_lightning.reports.cluster_page import cluster_page
from dccc_lightning.reports.cluster_table import cluster_sizes, read_cluster_table
from dccc_lightning.reports.code_version import code_version
from dccc_lightning.reports.map_frames import FOLDER
from dccc_lightning.reports.map_page import write_run_map
from dccc_lightning.reports.panels import read_panels
from dccc_lightning.reports.picture_failures import warn_on_failure
from dccc_lightning.reports.run_page import Report, write_report

MAP_PAGE = "map.html"


def write_run_report(
    settings: Settings, output: Path, results: Mapping[str, Any], done: int | None = None
) -> None:
    """Write report.html, clusters.html and map.html from the files of a run.

    Args:
        settings: Settings of the run.
        output: Run folder.
        results: Content of results.json.
        done: Number of completed epochs of a running training, which has report.html alone; None
            at its end.
    """
    release_freed_memory()  # blocks of the steps, of other sizes
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    curves = output / "eps_curves.jsonl"
    title = dataset_title(settings["dataset"])
    clusters = read_cluster_table(output / "clusters") if done is None else None
    if clusters is not None:
        page = cluster_page(clusters, f"{title}: clusters of {output.name}")
        write_atomically(output / "clusters.html", page.encode())
    has_map = False
    if done is None:
        with warn_on_failure("map.html"):
            total = None if clusters is None else clusters.num_rows
            name = f"{title}: map of {output.name}"
            has_map = write_run_map(output / MAP_PAGE, name, output / FOLDER, total) > 0
    report = Report(
        title=title,
        results=results,
        rows=metrics_table.read_rows(output / "metrics.csv"),
        timings=metrics_table.read_rows(output / "timings.csv"),
        choices=[json.loads(x) for x in curves.read_text().splitlines()] if curves.exists() else [],
        panels=read_panels(output / "panels"),
        command=command(overrides) if HydraConfig.initialized() else "",
        differences=differences(settings, overrides),
        environment=environment(),
        notice=settings["notice"],
        name=output.name,
        date=time.strftime("%Y-%m-%d"),
        all_clusters=[] if clusters is None else cluster_sizes(clusters),
        map_page=MAP_PAGE if has_map else "",
        progress="" if done is None else progress(done, settings["epochs"]),
    )
    write_report(output / "report.html", report)


def progress(done: int, epochs: int) -> str:
    """Return the remark at the top of the page of a running training."""
    return (
        f"Training: epoch {done} of {epochs} ended at {time.strftime('%H:%M')}. This page is "
        "rewritten after evaluated epochs; reload it."
    )


def dataset_title(dataset: Mapping[str, Any]) -> str:
    """Return the title of a dataset: its name, or for images of your own that of their folder.

    >>> dataset_title({"name": "folder", "root": "/data/zebras"})
    'zebras'
    """
    name: str = dataset["name"]
    return Path(dataset["root"]).absolute().name if name == "folder" else name


def command(overrides: Sequence[str]) -> str:
    """Return the command that repeats a run, including a job of a sweep.

    Args:
        overrides: Overrides of the run; those of its folder and its launcher are omitted.
    """
    own = config_dir_flags(HydraConfig.get().runtime.config_sources)
    words = ["python", "-m", "dccc_lightning", *own]
    words += [given for given in overrides if not is_place(given.partition("=")[0])]
    if any(given.startswith("sweep=") for given in overrides):
        words.append("hydra.run.dir=outputs/repeated")  # a sweep's settings for one run
    return shlex.join(words)


def environment() -> dict[str, str]:
    """Return code version, system, processor and GPUs as text."""
    code = code_version()
    commit = f", commit {code['commit'][:12]}" if code["commit"] else ""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "code": f"{code['version']}{commit}{', modified' if code['modified'] else ''}",
        "system": platform.platform(),
        "processor": f"{platform.processor() or platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores",
        "GPUs": ", ".join(gpus) or "none",
    }
