"""L_ss, the label smoothing soft contrastive loss (arXiv 2303.06810), and its two ablations.

Each is a cross entropy of the student's logits over the clusters; the targets differ.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from dccc_lightning.common import ranges


class ContrastiveLoss(nn.Module):
    """Cross entropy with the target ``(1 - share) onehot(y) + share softmax(teacher_logits)``.

    Computed in float32 (float64 for float64 logits), also under autocast.

    Args:
        teacher_share: Share of the teacher in the target, in [0, 1].
        uses_teacher: Require the teacher's logits.
    """

    def __init__(self, teacher_share: float, uses_teacher: bool) -> None:
        super().__init__()
        self._teacher_share = teacher_share
        self._uses_teacher = uses_teacher

    @property
    def uses_teacher(self) -> bool:
        """True if ``forward`` requires ``teacher_logits``."""
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
            ValueError: The teacher's logits are required, but missing or of another shape.
        """
        dtype = torch.promote_types(student_logits.dtype, torch.float32)
        log_probabilities = F.log_softmax(student_logits, dim=1, dtype=dtype)
        if not self.uses_teacher:
            return F.nll_loss(log_probabilities, labels)
        if teacher_logits is None:
            raise ValueError("teacher_logits must be given: this loss requires them, got None")
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
    ``(1 - epsilon) onehot(y) + epsilon softmax(teacher_logits)``. Cross entropy is linear in its
    target, so the sum is one cross entropy with the teacher's share ``lambda * epsilon``.

    Args:
        smoothing: epsilon in [0, 1], the teacher's share in the target of L_ss.
        weight: lambda in [0, 1]; with 0 the teacher is not used.

    >>> loss = SoftContrastiveLoss(smoothing=0.3)
    >>> round(loss(torch.tensor([[2.0, 0.0]]), torch.zeros(1, 2), torch.tensor([0])).item(), 4)
    0.4269
    """

    def __init__(self, smoothing: float, weight: float = 1.0) -> None:
        ranges.soft_contrastive(smoothing, weight)
        self.smoothing, self.weight = float(smoothing), float(weight)
        super().__init__(self.weight * self.smoothing, uses_teacher=self.weight > 0)

    def extra_repr(self) -> str:
        """Return the settings for the module's ``repr``."""
        return f"smoothing={self.smoothing}, weight={self.weight}"


class SoftOnlyLoss(ContrastiveLoss):
    """Ablation whose target is the teacher's prediction, without pseudo labels."""

    def __init__(self) -> None:
        super().__init__(1.0, uses_teacher=True)


class ClusterContrastLoss(ContrastiveLoss):
    """L_c, the cross entropy of the pseudo labels as in Cluster Contrast, without a teacher."""

    def __init__(self) -> None:
        super().__init__(0.0, uses_teacher=False)


class NeighborLoss(ContrastiveLoss, ABC):
    """Base of losses that use the neighbours of the images, by the distance that was clustered.

    ``Recluster`` calls ``set_neighbors`` in every epoch with new labels.

    Args:
        neighbors_within: Largest distance of the neighbours that ``set_neighbors`` receives.
        uses_teacher: Require the teacher's logits.
    """

    def __init__(self, neighbors_within: float, uses_teacher: bool) -> None:
        super().__init__(0.0, uses_teacher)
        self.neighbors_within = float(neighbors_within)

    @abstractmethod
    def set_neighbors(self, graph: csr_matrix, epoch: int) -> None:
        """Set the distances of an epoch.

        Args:
            graph: (N, N) distances of the training images, zeros and the diagonal stored; pairs
                without an entry are no neighbours.
            epoch: From 0.
        """

    @abstractmethod
    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        labels: Tensor,
        indices: Tensor | None = None,
    ) -> Tensor:
        """Return the mean loss of the batch.

        Args:
            student_logits: (B, C) cosine / temperature.
            teacher_logits: (B, C), or None without a teacher.
            labels: (B,) int64 pseudo labels in [0, C).
            indices: (B,) int64 positions of the images in the training split.
        """
