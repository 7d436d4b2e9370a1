"""Mean teacher: an exponential moving average of the student's parameters."""

import copy
from typing import Any

import torch
from torch import nn

from dccc_lightning.common import ranges


class MeanTeacher(nn.Module):
    """Exponential moving average of a student network, without gradients.

    Only parameters are averaged, not buffers: the teacher stays in train mode, and its batch norm
    uses the statistics of its batches (arXiv 2303.06810).

    Args:
        student: Network to copy with its current weights.
        start: First step of the warm-up, after which the teacher equals the student.
        cap: Maximum decay in [0, 1], used before ``start`` and after the warm-up.

    Attributes:
        network: Averaged network.
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
        """Return the weight of the old parameters in the update after step ``step`` (from 0).

        It is ``cap`` before ``start``, then ``min(1 - 1 / (step - start + 1), cap)``, which starts
        at 0.
        """
        if step < self.start:
            return self.cap
        return min(1 - 1 / (step - self.start + 1), self.cap)

    @torch.no_grad()
    def update(self, student: nn.Module, step: int) -> None:
        """Average the parameters with the student's after its optimiser step ``step``.

        Raises:
            ValueError: The parameters of ``student`` do not match.
        """
        ours: list[torch.Tensor] = list(self.network.parameters())
        theirs: list[torch.Tensor] = list(student.parameters())
        if [p.shape for p in ours] != [p.shape for p in theirs]:
            raise ValueError("student must have the same parameters as the teacher's network")
        torch._foreach_lerp_(ours, theirs, 1 - self.decay(step))
