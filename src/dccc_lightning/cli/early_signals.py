"""Signals that ask a command to stop before a run has its own way of obeying them.

Nothing here imports anything that takes time: a scheduler may want its machine back at once.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from dccc_lightning.common.ranks import STOP_SIGNALS, is_first_process, requeue_job

_REQUEUE = "checkpoint.requeue"


class Stopped(SystemExit):
    """A request to stop, as the exit code 128 + signal.

    Attributes:
        continues: The argument that goes on with the run; empty if it had not begun.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)
        self.continues = ""


class _Requeue:
    """The setting, as far as it is known yet beside the arguments."""

    wanted = False


def set_requeue(wanted: bool) -> None:
    """Take the setting of a run that goes on, or of the configuration that was composed."""
    _Requeue.wanted = wanted


def give_back() -> None:
    """Let signals end this process as they do others: the jobs that it has started go on."""
    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def obeyed(arguments: Sequence[str]) -> Iterator[None]:
    """Obey SIGTERM and SIGUSR1: leave at once, with a line; SIGUSR1 requeues a job of SLURM.

    Args:
        arguments: Of the command line.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process, _Requeue.wanted = os.getpid(), False

    def receive(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            raise Stopped(number)
        signal.signal(number, signal.SIG_DFL)  # a forked worker has nothing to tidy up
        os.kill(os.getpid(), number)

    earlier = {number: signal.signal(number, receive) for number in STOP_SIGNALS}
    try:
        yield
    except Stopped as stop:
        if not is_first_process():
            raise SystemExit(0) from None  # quietly, or the first one would be killed
        what = f"{stop.continues} continues" if stop.continues else "the run had not begun"
        print(f"stopped by {stop.signal.name}; {what}", file=sys.stderr, flush=True)
        if stop.signal == signal.SIGUSR1 and _wants_requeue(arguments):
            requeue_job()
        raise SystemExit(stop.code) from None
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _wants_requeue(arguments: Sequence[str]) -> bool:
    given = [a.partition("=")[2] for a in arguments if a.partition("=")[0] == _REQUEUE]
    return given[-1] == "true" if given else _Requeue.wanted
