"""``python -m dccc_lightning`` with marked phases: as a program, or forked from a warm process.

    torchrun ... -m torture_rank ARGUMENTS         # with TORTURE_MARKS=FILE

A fork saves the seconds of imports; what is run is the same. A second rank, which Lightning starts
with Popen, is a fork as well: made before the first rank has run anything, and a child of it.
"""

import atexit
import ctypes
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

from pytorch_lightning.strategies.launchers import subprocess_script
from torture_marks import Marks

from dccc_lightning.training import callbacks

PACKAGE = "dccc_lightning"
LATER = (
    "faiss", "matplotlib.pyplot", "sklearn.manifold", "dccc_lightning.cli.command",
    "dccc_lightning.tasks.early_checks", "dccc_lightning.config.build",
)  # fmt: skip
"""Imported by a run when it needs them, beside its callbacks."""

SUBREAPER, DIES_WITH_PARENT = 36, 1  # PR_SET_CHILD_SUBREAPER and PR_SET_PDEATHSIG of prctl


def warm_up() -> None:
    """Import what a run imports; no thread may run yet, for a fork would lose it."""
    for module in pkgutil.iter_modules(callbacks.__path__, f"{callbacks.__name__}."):
        if "wandb" not in module.name:
            import_module(module.name)
    for name in LATER:
        import_module(name)
    assert threading.active_count() == 1
    ctypes.CDLL(None).prctl(SUBREAPER, 1)  # orphans of a killed rank become ours, to be reaped


def fork(arguments: Sequence[str], folder: Path, marks: Marks, output: Path) -> int:
    """Start the command in ``folder`` as the leader of a group of processes; return its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)  # where the script is killed
        os.chdir(folder)
        _redirect(output)
        _fork_second_ranks(marks)
        code = run(arguments, marks)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def run(arguments: Sequence[str], marks: Marks) -> int:
    """Run the command in this process, and what Python runs at its end."""
    rank = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))
    marks.install(rank, os.getpid())
    sys.argv = [PACKAGE, *arguments]
    code = 0
    try:
        runpy.run_module(PACKAGE, run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except Exception:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


def _redirect(output: Path) -> None:
    with output.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


def _fork_second_ranks(marks: Marks) -> None:
    """Let Popen of Lightning's launcher hand its command to a process that was forked here."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(sender)
        with open(receiver) as pipe:  # noqa: PTH123
            request = pipe.read()
        if not request:  # the first rank has ended without a second one
            os._exit(0)
        command, environment, folder = json.loads(request)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        os._exit(run(command[command.index("-m") + 2 :], marks))
    os.close(receiver)

    def popen(command: list[str], env: dict[str, str], cwd: str) -> "ForkedProcess":
        with open(sender, "w") as pipe:  # noqa: PTH123
            pipe.write(json.dumps([command, env, cwd]))
        return ForkedProcess(pid)

    vars(subprocess_script)["subprocess"] = SimpleNamespace(Popen=popen)


class ForkedProcess:
    """What Lightning and this package use of Popen, for a child that was forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        until = time.monotonic() + (1e9 if timeout is None else timeout)
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(0.01)
        return self.returncode or 0

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], Marks(Path(os.environ["TORTURE_MARKS"]))))
