"""Commands of the jobs of a sweep, and their outcomes."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dccc_lightning.common.files import write_atomically
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.errors import UserError

PYTHON = (sys.executable, "-m", "dccc_lightning")


class Job(NamedTuple):
    """A job: number, arguments, folder, log, ``trainer`` settings and flags."""

    number: int
    arguments: tuple[str, ...]
    folder: Path
    log: Path
    trainer: Mapping[str, Any]
    flags: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """Return the command that starts the job, or resumes it."""
        begins = self._place()
        if self._saved.exists():  # repeated arguments show that the user trusts their code
            begins = path_argument("resume", self.folder.absolute())
        return [*PYTHON, *self.flags, *self.arguments, begins]

    def repeatable_command(self) -> list[str]:
        """Return a command that starts or resumes the job when run, for queues that repeat it."""
        place = path_argument("output", self.folder.absolute())
        begun = [*PYTHON, *self.flags, *self.arguments]
        return [*begun, place, "ckpt_path=last", self._place()]

    def is_finished(self) -> bool:
        """Return True if the job has completed."""
        return (self.folder / "results.json").exists() and not self._error.exists()

    def clear_failure(self) -> None:
        """Remove the error of an earlier failure, before the job is run again."""
        self._error.unlink(missing_ok=True)

    def write_failure(self, reason: str) -> None:
        """Write the error to the job's folder."""
        if not self._saved.exists():  # removed by a run that did not start; reports need it
            write_atomically(self._saved, yaml.safe_dump(list(self.arguments)).encode())
        write_atomically(self._error, f"{reason}\n".encode())

    def error_line(self, other_logs: Iterable[Path] = ()) -> str | None:
        """Return the job's error, else the last line of its log or of ``other_logs``."""
        logs = [log for log in (*other_logs, self.log) if log.exists()]
        texts = [log.read_text(errors="replace") for log in logs]
        lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
        told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return next(reversed(told or lines), None)

    @property
    def _saved(self) -> Path:
        return self.folder / ".hydra" / "overrides.yaml"

    @property
    def _error(self) -> Path:
        return self.folder / "error.txt"

    def _place(self) -> str:
        """Return the argument of the job's folder, which also marks it as a launcher's job."""
        return path_argument("hydra.run.dir", self.folder.absolute())


def start(job: Job, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a job, with its output in its log, which is locked while it runs.

    Raises:
        UserError: The job is still running from an earlier sweep.
    """
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the job inherits it
        except BlockingIOError:
            raise UserError(
                f"job {job.number + 1} is still running (log: {job.log}); wait, or end it"
            ) from None
        except OSError:  # file system without locks
            pass
        log.truncate(0)
        job.clear_failure()
        return subprocess.Popen(
            job.command(),
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def failure(job: Job, code: int) -> str | None:
    """Return a one-line error for a job's exit code, after writing it to its folder, or None."""
    if code == 0:
        return None
    killed = f"killed by signal {-code}" if code < 0 else None
    reason = killed or job.error_line() or f"ended with exit code {code}"
    job.write_failure(reason)
    return reason
