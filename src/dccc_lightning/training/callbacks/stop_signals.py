"""Requests to stop that come as signals, agreed on by all processes."""

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
from dccc_lightning.common.ranks import STOP_SIGNALS


class StopSignals:
    """Note that a signal came; all processes learn of it after the same step.

    A step late, without waiting: each asks the others on the processor while the next step runs.

    Attributes:
        leave: Called at once with the number of the signal while nothing would be lost, in a single
            process; None while there is something to save.
    """

    def __init__(self) -> None:
        self.leave: Callable[[int], None] | None = None
        self._received = 0
        self._process = os.getpid()
        self._handlers: dict[signal.Signals, Any] = {}
        self._group: dist.ProcessGroup | None = None
        self._answer: tuple[Any, Tensor] | None = None

    def watch(self) -> None:
        """Begin to listen; on all processes."""
        if collectives.world()[1] > 1:
            self._group = dist.new_group(backend="gloo")
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._handlers[number] = signal.signal(number, self._receive)

    def unwatch(self) -> None:
        """Give the signals back to whom they belonged."""
        self.leave = None
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def requested(self) -> int:
        """Return the number of a signal that any process has received, else 0.

        All processes have to ask equally often; they get the same answer.
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
        if os.getpid() != self._process:  # a loader's worker: the first process asks it to end
            return
        self._received = number
        if self.leave is not None and self._group is None:
            self.leave(number)
