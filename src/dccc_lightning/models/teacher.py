"""The mean teacher: an exponential moving average of the student's parameters."""

import copy
from typing import Any

import torch
from torch import nn

from dccc_lightning.common import ranges


class MeanTeacher(nn.Module):
    """A copy of the student that follows it slowly and never receives a gradient.

    Parameters alone are averaged. The buffers are the teacher's own: in train mode, the mode the
    method uses, its batch norm takes the statistics of its own batches (arXiv 2303.06810).

    Args:
        student: Copied deeply, with its present weights.
        start: First step of the warm-up; the teacher is a full copy of the student after it.
        cap: Largest decay, in [0, 1]; it rules before ``start`` and after the warm-up.

    Attributes:
        network: The averaged network.
    """

    def __init__(self, student: nn.Module, start: int = 99, cap: float = 0.999) -> None:
        super().__init__()
        ranges.teacher(start, cap)
        self.start, self.cap = int(start), float(cap)
        self.network = copy.deepcopy(student).requires_grad_(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the averaged network."""
        return self.network(*args, **kwargs)

    def decay(self, step: int) -> float:
        """Return the share of the old teacher after optimiser step ``step``, counted from 0.

        ``cap`` before ``start``; from there ``min(1 - 1 / (step - start + 1), cap)``, which begins
        at 0.
        """
        if step < self.start:
            return self.cap
        return min(1 - 1 / (step - self.start + 1), self.cap)

    @torch.no_grad()
    def update(self, student: nn.Module, step: int) -> None:
        """Move the parameters towards ``student``, after its optimiser step ``step``.

        Raises:
            ValueError: ``student`` has other parameters than the network it was copied from.
        """
        ours: list[torch.Tensor] = list(self.network.parameters())
        theirs: list[torch.Tensor] = list(student.parameters())
        if [p.shape for p in ours] != [p.shape for p in theirs]:
            raise ValueError("student must have the parameters of the network the teacher copied")
        torch._foreach_lerp_(ours, theirs, 1 - self.decay(step))
