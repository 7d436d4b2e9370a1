"""NCPLR, pseudo labels smoothed over neighbours (Cheng et al., arXiv 2211.16847).

The label of an image is mixed with the predictions of its neighbours in the batch, by the distance
that was clustered. Predictions are those of the memory's logits; the authors learn a linear
classifier beside the memory, whose rows begin every epoch as the centroids.
"""

import math

import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from torch import Tensor

from dccc_lightning.common import collectives, contrast_ranges
from dccc_lightning.common.tensors import resize_to_checkpoint
from dccc_lightning.losses import NeighborLoss

_SHARPNESS = 5.0
"""Exponent of the ramp, as published (Laine and Aila, arXiv 1610.02242)."""


class NeighborSmoothedLoss(NeighborLoss):
    """``L_c + weight L_n + ramp consistency L_k``, the loss of NCPLR.

    The neighbours of an image are the images of the batch nearer than ``within``, itself included;
    of an image that is drawn repeatedly, the last view counts. Their mean prediction e averages
    student and teacher, with weights ``softmax(-d / temperature)`` of the distances d.

    - L_c is the cross entropy of the pseudo labels.
    - L_n is that of the target ``(1 - smoothing) onehot(y) + smoothing e``, without gradient.
    - L_k is ``KL(m, teacher)`` with the plain mean m of the neighbours' predictions by the student,
      which receive the gradient.

    The ramp is ``exp(-5 (1 - t / ramp_epochs)^2)`` in epoch t from 1, and 1 afterwards. In
    distributed training, neighbours are those of the global batch.

    Args:
        within: Largest Jaccard distance of a neighbour, excluded.
        smoothing: Share of the neighbours in the target of L_n.
        temperature: Temperature of the weights.
        favour: ``near`` for the weights of the paper; ``far`` for those of its code, whose exponent
            has the other sign.
        weight: Weight of L_n.
        consistency: Weight of L_k at the end of the ramp.
        ramp_epochs: Length of the ramp.
    """

    keys: Tensor
    distances: Tensor
    images: Tensor
    ramp: Tensor

    def __init__(
        self,
        within: float = 0.2,
        smoothing: float = 0.9,
        temperature: float = 0.05,
        favour: str = "near",
        weight: float = 1.0,
        consistency: float = 1.0,
        ramp_epochs: int = 50,
    ) -> None:
        contrast_ranges.neighbor_smoothed(
            within, smoothing, temperature, favour, weight, consistency, ramp_epochs
        )
        super().__init__(within, uses_teacher=True)
        self.smoothing, self.temperature = float(smoothing), float(temperature)
        self.favour, self.weight, self.consistency = favour, float(weight), float(consistency)
        self.ramp_epochs = int(ramp_epochs)
        # Pairs of neighbours, row * N + column, ascending; their distances; N.
        self.register_buffer("keys", torch.empty(0, dtype=torch.int64))
        self.register_buffer("distances", torch.empty(0))
        self.register_buffer("images", torch.zeros((), dtype=torch.int64))
        self.register_buffer("ramp", torch.zeros(()))
        self.register_load_state_dict_pre_hook(  # type: ignore[no-untyped-call]
            resize_to_checkpoint
        )

    def set_neighbors(self, graph: csr_matrix, epoch: int) -> None:
        """Set the distances and the ramp of an epoch; see ``NeighborLoss``."""
        pairs = graph.sorted_indices().tocoo()
        near = pairs.data < self.neighbors_within
        rows, columns = (torch.from_numpy(side[near]).long() for side in (pairs.row, pairs.col))
        device = self.keys.device
        self.keys = (rows * graph.shape[0] + columns).to(device)
        self.distances = torch.from_numpy(pairs.data[near]).float().to(device)
        self.images = self.images.new_tensor(graph.shape[0])
        done = min((epoch + 1) / self.ramp_epochs, 1.0) if self.ramp_epochs else 1.0
        self.ramp = self.ramp.new_tensor(math.exp(-_SHARPNESS * (1 - done) ** 2))

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        labels: Tensor,
        indices: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of this process's part of the batch.

        Args:
            student_logits: (B, C) cosine / temperature.
            teacher_logits: (B, C), receives no gradient.
            labels: (B,) int64 pseudo labels in [0, C).
            indices: (B,) int64 positions of the images in the training split.

        Raises:
            ValueError: The teacher's logits or the indices are missing.
            RuntimeError: ``set_neighbors`` has not been called.
        """
        if teacher_logits is None or indices is None:
            raise ValueError("teacher_logits and indices must be given: NCPLR requires them")
        if len(self.keys) == 0:
            raise RuntimeError("no neighbours yet: call set_neighbors first")
        with torch.autocast(student_logits.device.type, enabled=False):
            return self._loss(student_logits, teacher_logits, labels, indices)

    def _loss(
        self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, indices: Tensor
    ) -> Tensor:
        dtype = torch.promote_types(student_logits.dtype, torch.float32)
        log_p = F.log_softmax(student_logits, dim=1, dtype=dtype)
        log_q = F.log_softmax(teacher_logits.detach(), dim=1, dtype=dtype)
        rank, processes = collectives.world()
        mine = slice(rank * len(labels), (rank + 1) * len(labels))
        images, everyone, taught = (_gathered(part) for part in (indices, log_p.exp(), log_q))
        distances = self._distances(images).to(dtype)

        sign = -1 if self.favour == "near" else 1
        scores = torch.where(distances.isfinite(), sign * distances / self.temperature, -torch.inf)
        mixed = scores[mine].softmax(dim=1) @ (everyone.detach() + taught.exp()) / 2
        hard = F.nll_loss(log_p, labels)
        soft = -(mixed * log_p).sum(dim=1).mean()
        loss = hard + self.weight * ((1 - self.smoothing) * hard + self.smoothing * soft)
        if self.consistency == 0:
            return loss
        near = distances.isfinite().to(dtype)
        mean = (near / near.sum(dim=1, keepdim=True)) @ everyone
        log_mean = mean.clamp_min(torch.finfo(dtype).tiny).log()
        divergence = (mean * (log_mean - taught)).sum(dim=1)
        # A neighbour's prediction has a gradient only on its own process. There the divergences of
        # all images are summed, so that the mean of the gradients over processes is that of one.
        whole = divergence.mean() * processes
        value = divergence[mine].mean().detach()
        return loss + self.consistency * self.ramp * (value + whole - whole.detach())

    def _distances(self, images: Tensor) -> Tensor:
        """Return the distances (B, B) of the batch; infinite where there is no neighbour."""
        wanted = images[:, None] * self.images + images
        place = torch.searchsorted(self.keys, wanted).clamp_max(len(self.keys) - 1)
        repeated = (images[:, None] == images).triu(diagonal=1).any(dim=1)
        found = (self.keys[place] == wanted) & ~repeated
        return torch.where(found, self.distances[place], torch.inf)

    def extra_repr(self) -> str:
        """Return the settings for the module's ``repr``."""
        return (
            f"within={self.neighbors_within}, smoothing={self.smoothing}, "
            f"temperature={self.temperature}, favour={self.favour!r}, weight={self.weight}, "
            f"consistency={self.consistency}, ramp_epochs={self.ramp_epochs}"
        )


def _gathered(part: Tensor) -> Tensor:
    """Return the rows of all processes; those of this one keep their gradient."""
    rank, processes = collectives.world()
    if processes == 1:
        return part
    rows = collectives.gather_parts(part.detach()[None])
    return torch.cat([rows[: rank * len(part)], part, rows[(rank + 1) * len(part) :]])
