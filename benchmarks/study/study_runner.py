"""Make the runs that are missing in a folder, each a fork of a process that has imported it all."""

import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from study_plan import Job, composed, plan

from dccc_lightning import cli

RESULTS = "results.json"
"""Written as a whole at the end of a run: where it is, the run is finished."""

COMMIT = "commit.txt"


def run(folder: Path, at_once: int) -> int:
    """Make the runs that are missing; return how many failed.

    What was cut short is made anew, and so is what failed before.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    import_targets(OmegaConf.to_container(composed("study")))
    commit()  # of what has been imported; the tree may change while the runs are made
    failed, running = 0, dict[BaseProcess, Job]()
    with alone(folder):
        missing = [job for job in plan() if not (folder / job.name / RESULTS).exists()]
        print(f"{len(missing)} of {len(plan())} runs are missing", flush=True)
        try:
            while missing or running:
                while missing and len(running) < at_once:
                    job = missing.pop(0)
                    running[start(job, folder)] = job
                wait([process.sentinel for process in running])
                for process in [process for process in running if process.exitcode is not None]:
                    ended = ending(folder, running.pop(process), process.exitcode)
                    failed += process.exitcode != 0
                    print(f"{ended}; {len(missing) + len(running)} left", flush=True)
        finally:
            for process in running:
                process.terminate()
    return failed


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until nobody works in this folder; a run that has outlived its script holds it too."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def import_targets(settings: Any) -> None:
    """Import the modules that settings name, so that the runs need not."""
    if isinstance(settings, dict):
        target = str(settings.get("_target_", ""))
        if target.startswith("dccc_lightning."):
            import_module(target.rpartition(".")[0])
        for value in settings.values():
            import_targets(value)


def start(job: Job, folder: Path) -> BaseProcess:
    """Begin a run anew."""
    shutil.rmtree(folder / job.name, ignore_errors=True)
    process = multiprocessing.get_context("fork").Process(target=execute, args=(job, folder))
    process.start()
    return process


def execute(job: Job, folder: Path) -> None:
    """Be the command line of a run; what it prints goes to its log."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with log_of(folder, job).open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.argv = ["dccc_lightning", *job.arguments(folder)]
    cli.main()
    (folder / job.name / COMMIT).write_text(commit())


def log_of(folder: Path, job: Job) -> Path:
    """Return where a run prints to."""
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    return logs / f"{job.name}.txt"


def ending(folder: Path, job: Job, code: int | None) -> str:
    """Say in a line how a run ended."""
    if code == 0:
        results = json.loads((folder / job.name / RESULTS).read_text())
        return f"{job.name}: mAP {results['student']['mAP']:.1f}, {results['seconds']:.0f} s"
    lines = [x for x in log_of(folder, job).read_text(errors="replace").splitlines() if x.strip()]
    return f"{job.name}: FAILED, exit code {code}, {lines[-1] if lines else 'nothing said'}"


@cache
def commit() -> str:
    """Return the version of this code, by git, when it was first asked."""
    version = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--", "src", "conf", "benchmarks")
    return f"{version}-dirty" if changed else version or "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parents[2]), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def commit_of(folder: Path, job: Job) -> str:
    """Return the version that made a run; unknown where the script was killed just before."""
    path = folder / job.name / COMMIT
    return path.read_text() if path.exists() else "unknown"
