"""L_ss, the label smoothing soft contrastive loss, and its two ablations.

All are a cross entropy of the student's logits over the clusters; they differ in the target.
Source: arXiv 2303.06810, the loss L_ss.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dccc_lightning.common import ranges


class ContrastiveLoss(nn.Module):
    """Cross entropy with the target ``(1 - share) onehot(y) + share softmax(teacher_logits)``.

    Computed in float32 (float64 for float64 logits), under autocast too.

    Args:
        teacher_share: Share of the teacher in the target, in [0, 1].
        uses_teacher: Whether the teacher's logits are required.
    """

    def __init__(self, teacher_share: float, uses_teacher: bool) -> None:
        super().__init__()
        self._teacher_share = teacher_share
        self._uses_teacher = uses_teacher

    @property
    def uses_teacher(self) -> bool:
        """Whether a forward of the teacher is needed; without it its logits may be None."""
        return self._uses_teacher

    def forward(
        self, student_logits: Tensor, teacher_logits: Tensor | None, labels: Tensor
    ) -> Tensor:
        """Return the mean loss of the batch.

        Args:
            student_logits: (B, C) cosine / temperature.
            teacher_logits: (B, C), receives no gradient; ignored unless ``uses_teacher``.
            labels: (B,) int64 pseudo labels in [0, C).

        Raises:
            ValueError: The teacher's logits are needed, but missing or of another shape.
        """
        dtype = torch.promote_types(student_logits.dtype, torch.float32)
        log_probabilities = F.log_softmax(student_logits, dim=1, dtype=dtype)
        if not self.uses_teacher:
            return F.nll_loss(log_probabilities, labels)
        if teacher_logits is None:
            raise ValueError("teacher_logits must be given: the loss depends on them, got None")
        if teacher_logits.shape != student_logits.shape:
            raise ValueError(
                f"teacher_logits must be {tuple(student_logits.shape)} as student_logits, "
                f"got {tuple(teacher_logits.shape)}"
            )
        target = F.softmax(teacher_logits.detach(), dim=1, dtype=dtype)
        soft = -(target * log_probabilities).sum(dim=1).mean()
        if self._teacher_share == 1:
            return soft
        hard = F.nll_loss(log_probabilities, labels)
        return (1 - self._teacher_share) * hard + self._teacher_share * soft


class SoftContrastiveLoss(ContrastiveLoss):
    """``(1 - lambda) L_c + lambda L_ss``, the loss of DCCC.

    L_c is the cross entropy of the pseudo labels, L_ss that of the target
    ``(1 - epsilon) onehot(y) + epsilon softmax(teacher_logits)``. A cross entropy is linear in its
    target, so both together are one with the teacher's share ``lambda * epsilon``.

    Args:
        smoothing: epsilon in [0, 1], the teacher's share in the target of L_ss.
        weight: lambda in [0, 1]. At 0 the teacher is not looked at.

    >>> loss = SoftContrastiveLoss(smoothing=0.3)
    >>> round(loss(torch.tensor([[2.0, 0.0]]), torch.zeros(1, 2), torch.tensor([0])).item(), 4)
    0.4269
    """

    def __init__(self, smoothing: float, weight: float = 1.0) -> None:
        ranges.soft_contrastive(smoothing, weight)
        self.smoothing, self.weight = float(smoothing), float(weight)
        super().__init__(self.weight * self.smoothing, uses_teacher=self.weight > 0)

    def extra_repr(self) -> str:
        """Show the settings where torch prints the module."""
        return f"smoothing={self.smoothing}, weight={self.weight}"


class SoftOnlyLoss(ContrastiveLoss):
    """The ablation whose target is the teacher's prediction alone; pseudo labels play no part."""

    def __init__(self) -> None:
        super().__init__(1.0, uses_teacher=True)


class ClusterContrastLoss(ContrastiveLoss):
    """L_c alone: the cross entropy of the pseudo labels, as in Cluster Contrast. No teacher."""

    def __init__(self) -> None:
        super().__init__(0.0, uses_teacher=False)
