"""Stop requests by signals, synchronised over all processes."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dccc_lightning.common import collectives
from dccc_lightning.common.ranks import stop_signals


class StopSignals:
    """Handler of stop signals whose result is the same on all processes after a step.

    Processes exchange signals on the CPU while the next step runs, so the result is one step late.

    Attributes:
        leave: Function called immediately with the signal's number in a single process while
            nothing is unsaved; otherwise None.
    """

    def __init__(self) -> None:
        self.leave: Callable[[int], None] | None = None
        self._received = 0
        self._process = os.getpid()
        self._handlers: dict[signal.Signals, Any] = {}
        self._group: dist.ProcessGroup | None = None
        self._answer: tuple[Any, Tensor] | None = None

    def watch(self) -> None:
        """Install the signal handlers; call it on all processes."""
        if collectives.world()[1] > 1:
            self._group = dist.new_group(backend="gloo")
        if threading.current_thread() is threading.main_thread():
            for number in stop_signals():
                self._handlers[number] = signal.signal(number, self._receive)

    def unwatch(self) -> None:
        """Restore the previous signal handlers."""
        self.leave = None
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def requested(self) -> int:
        """Return the number of a signal received by any process, else 0.

        All processes must call it equally often and get the same result.
        """
        if self._group is None:
            return self._received
        known = 0
        if self._answer is not None:
            work, flag = self._answer
            work.wait()
            known = int(flag)
        flag = torch.tensor(self._received)
        work = dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._group, async_op=True)
        self._answer = work, flag
        return known

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a loader worker, which the main process terminates
            return
        self._received = number
        if self.leave is not None and self._group is None:
            self.leave(number)
