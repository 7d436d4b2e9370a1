"""One job of a sweep as a command of its own: what it is called with, and how it ended."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml


class Job(NamedTuple):
    """A job: its number, its arguments, and where it writes."""

    number: int
    arguments: tuple[str, ...]
    folder: Path
    log: Path

    def command(self) -> list[str]:
        """Return the command line; a run of its own, so that it can be resumed as one."""
        folder = str(self.folder.absolute()).replace("'", r"\'")
        last = f"hydra.run.dir='{folder}'"
        return [sys.executable, "-m", "dccc_lightning", *self.arguments, last]


def start(job: Job, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a job; what it prints goes to its log."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("wb") as log:
        return subprocess.Popen(
            job.command(),
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def failure(job: Job, code: int) -> str | None:
    """Return what went wrong in one line, and leave it in the job's folder; None: nothing did."""
    if code == 0:
        return None
    lines = [line for line in job.log.read_text(errors="replace").splitlines() if line.strip()]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    reason = (told or lines or [f"ended with exit code {code}"])[-1].strip()
    if code < 0:
        reason = f"killed by signal {-code}"
    saved = job.folder / ".hydra" / "overrides.yaml"
    saved.parent.mkdir(parents=True, exist_ok=True)
    if not saved.exists():  # a run that never began removes its folder; the report wants to know it
        saved.write_text(yaml.safe_dump(list(job.arguments)))
    (job.folder / "error.txt").write_text(f"{reason}\n")
    return reason


def varying(jobs: Sequence[Sequence[str]], arguments: Sequence[str]) -> str:
    """Return those of a job's arguments that not all jobs have, as one line."""
    shared = set.intersection(*(set(job) for job in jobs)) if len(jobs) > 1 else set()
    return " ".join(a for a in arguments if a not in shared and not a.startswith("+callbacks."))
