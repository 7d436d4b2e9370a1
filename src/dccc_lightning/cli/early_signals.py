"""Handlers of stop signals for a command until its run installs others.

This module has no slow imports, so that the handlers are installed immediately.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from dccc_lightning.common.ranks import is_first_process, requeue_job, stop_signals

_REQUEUE = "checkpoint.requeue"


class Stopped(SystemExit):
    """Exit with code 128 + signal.

    Attributes:
        continues: Argument that resumes the run; empty if it has not started.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)
        self.continues = ""


class _Requeue:
    """State of the setting ``checkpoint.requeue``, if known from other sources than arguments."""

    wanted = False


def set_requeue(wanted: bool) -> None:
    """Set ``checkpoint.requeue`` from a resumed run or the composed configuration."""
    _Requeue.wanted = wanted


def restore_handlers() -> None:
    """Restore the default handlers, since jobs continue after the launcher's process ends."""
    if threading.current_thread() is threading.main_thread():
        for number in stop_signals():
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def handling_stop_signals(arguments: Sequence[str]) -> Iterator[None]:
    """Exit with a line on a stop signal; SIGUSR1 also requeues a SLURM job.

    Args:
        arguments: Arguments of the command line.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process, _Requeue.wanted = os.getpid(), False

    def receive(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            raise Stopped(number)
        signal.signal(number, signal.SIG_DFL)  # a forked worker has nothing to clean up
        os.kill(os.getpid(), number)

    earlier = {number: signal.signal(number, receive) for number in stop_signals()}
    try:
        yield
    except Stopped as stop:
        if not is_first_process():
            raise SystemExit(0) from None  # with another code, Lightning would kill rank 0
        what = f"{stop.continues} continues" if stop.continues else "the run had not started"
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
