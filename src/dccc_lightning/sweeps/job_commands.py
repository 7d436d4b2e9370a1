"""One job of a sweep as a command of its own: what it is called with, and how it ended."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dccc_lightning.common.overrides import path_argument
from dccc_lightning.errors import UserError

PYTHON = (sys.executable, "-m", "dccc_lightning")


class Job(NamedTuple):
    """A job: its number, arguments, where it writes and prints, its ``trainer``, and flags."""

    number: int
    arguments: tuple[str, ...]
    folder: Path
    log: Path
    trainer: Mapping[str, Any]
    flags: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """Return the command line that starts the job, or goes on with it where it has begun."""
        begins = self._place()
        if self._saved.exists():  # its arguments again: they tell whose code it is
            begins = path_argument("resume", self.folder.absolute())
        return [*PYTHON, *self.flags, *self.arguments, begins]

    def repeatable_command(self) -> list[str]:
        """Return a command line that does either, whenever it is called; a queue repeats it."""
        place = path_argument("output", self.folder.absolute())
        begun = [*PYTHON, *self.flags, *self.arguments]
        return [*begun, place, "ckpt_path=last", self._place()]

    def is_finished(self) -> bool:
        """Tell whether there is nothing left to do."""
        return (self.folder / "results.json").exists() and not self._error.exists()

    def forget_failure(self) -> None:
        """Remove the reason of an earlier failure: the job gets another chance."""
        self._error.unlink(missing_ok=True)

    def note_failure(self, reason: str) -> None:
        """Leave the reason in the job's folder."""
        self._saved.parent.mkdir(parents=True, exist_ok=True)
        if not self._saved.exists():  # a run that never began removes its folder; reports want it
            self._saved.write_text(yaml.safe_dump(list(self.arguments)))
        self._error.write_text(f"{reason}\n")

    def last_words(self, other_logs: Iterable[Path] = ()) -> str | None:
        """Return the error, or the last line, that the job has printed; its own log counts most."""
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
        """Return the argument that names the folder, and that tells of a launcher."""
        return path_argument("hydra.run.dir", self.folder.absolute())


def start(job: Job, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a job; what it prints goes to its log, which is locked for as long as it runs.

    Raises:
        UserError: A process of the job, from an earlier sweep, still runs.
    """
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the job inherits it
        except BlockingIOError:
            raise UserError(
                f"job {job.number + 1} still runs (it writes {job.log}); wait, or end it"
            ) from None
        except OSError:  # a file system without locks
            pass
        log.truncate(0)
        job.forget_failure()
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
    killed = f"killed by signal {-code}" if code < 0 else None
    reason = killed or job.last_words() or f"ended with exit code {code}"
    job.note_failure(reason)
    return reason
