"""DCMIP, several proxies a cluster (Zou et al., ICCV 2023): discrepant and multi-instance proxies.

A cluster has two centroids that move by different rules, and K embeddings of its images by the
teacher. There is no code of its authors; two public implementations agree with the paper's figure
in parts, and docs/proxies.md has the differences.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.common import collectives, contrast_ranges
from dccc_lightning.common.tensors import as_tensor
from dccc_lightning.memory import ClusterMemory, Loss


class ProxyMemory(ClusterMemory):
    """Memory with two discrepant centroids and K instance proxies for each cluster.

    ``centroids`` move by the rule ``update``, ``means`` by the rule ``mean``; both begin an epoch
    as the mean of the cluster. With any loss of logits L, the discrepant proxies give

    ``(L(means) + max(L(centroids) - margin, 0)) / 2``

    and, from epoch ``instances_from``, the instance proxies add the mean over images i of

    ``-log(exp(p_i) / (exp(p_i) + sum_j exp(n_ij)))``

    with p_i the least cosine / temperature of i to the teacher's embeddings of its cluster in the
    batch, and n_ij those to the most similar instance proxies of other clusters. After a step, the
    proxies of the batch's clusters are replaced by the teacher's embeddings in the batch.

    Args:
        feature_dim: D, the size of the embeddings.
        momentum: mu in [0, 1], the share of the old centroid.
        temperature: Divisor of the cosines, above 0.
        update: Update rule of ``centroids``, see ``ClusterMemory``; ``hard`` on Market-1501.
        tau_w: Temperature of the weights of ``update="dycl"``.
        margin: Loss of ``centroids`` without effect.
        instances: K, the number of instance proxies of a cluster.
        negatives: Number of the most similar proxies of other clusters, at most all of them.
        instances_from: First epoch with instance proxies.
        seed: Seed of the images that are the instance proxies at the start of an epoch.

    Attributes:
        means: (C, D) buffer.
        instances: (C, K, D) buffer; empty before ``instances_from``.
    """

    means: Tensor
    instances: Tensor

    uses_teacher = True

    def __init__(
        self,
        feature_dim: int,
        momentum: float = 0.1,
        temperature: float = 0.05,
        update: str = "instance",
        tau_w: float = 0.09,
        margin: float = 0.2,
        instances: int = 16,
        negatives: int = 256,
        instances_from: int = 20,
        seed: int = 0,
    ) -> None:
        contrast_ranges.proxy_memory(
            momentum, temperature, update, tau_w, margin, instances, negatives, instances_from, seed
        )
        super().__init__(feature_dim, momentum, temperature, update, tau_w)
        self.margin, self.negatives = float(margin), int(negatives)
        self.instances_from, self.seed = int(instances_from), int(seed)
        self.register_buffer("means", torch.empty(0, self.feature_dim))
        self.register_buffer("instances", torch.empty(0, int(instances), self.feature_dim))

    def rebuilds_with_teacher(self, epoch: int) -> bool:
        """Return True if ``rebuild`` draws instance proxies in an epoch."""
        return epoch >= self.instances_from

    def rebuild(
        self,
        features: Tensor | NDArray[Any],
        labels: Tensor | NDArray[Any],
        teacher: Tensor | NDArray[Any] | None = None,
        epoch: int = 0,
    ) -> None:
        """Set both centroids of each cluster to its mean, and draw its instance proxies.

        Args:
            features: (N, D) L2-normalised embeddings.
            labels: (N,) integers, -1 for outliers (ignored); each of 0 to C - 1 must occur.
            teacher: (N, D) embeddings by the teacher, from epoch ``instances_from``.
            epoch: From 0.

        Raises:
            ValueError: Shapes do not match, a label of 0 to C - 1 is missing, a feature of a
                cluster is NaN or infinite, or the teacher's embeddings are missing.
        """
        taught = _given(teacher) if self.rebuilds_with_teacher(epoch) else None
        super().rebuild(features, labels)
        self.means = self.centroids.clone()
        self.instances = self.instances.new_empty((0, *self.instances.shape[1:]))
        if taught is None:
            return
        drawn = self._draw(as_tensor(labels).cpu().numpy(), epoch)
        chosen = taught[torch.from_numpy(drawn).to(taught.device)].to(self.centroids)
        self.instances = F.normalize(chosen, dim=2)

    def _draw(self, labels: NDArray[Any], epoch: int) -> NDArray[np.int64]:
        """Draw K images (C, K) of each cluster with replacement."""
        clusters = self.num_clusters
        order = np.argsort(labels, kind="stable")
        first = np.searchsorted(labels[order], np.arange(clusters))
        size = np.bincount(labels[labels >= 0])
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch])))
        places = rng.integers(0, size[:, None], size=(clusters, self.instances.shape[1]))
        drawn: NDArray[np.int64] = order[first[:, None] + places]
        return drawn

    def contrast(
        self, loss: Loss, student: Tensor, teacher: Tensor | None, labels: Tensor
    ) -> Tensor:
        """Return the loss of this process's part of a batch over all proxies.

        Args:
            loss: Loss of logits, see ``losses.ContrastiveLoss``.
            student: (B, D) embeddings of any length.
            teacher: (B, D) embeddings by the teacher.
            labels: (B,) integers in [0, C).

        Raises:
            ValueError: The teacher's embeddings are missing.
        """
        teacher = _given(teacher)
        self._require_clusters()
        moved, mean = (
            loss(self._logits(student, proxies), self._logits(teacher, proxies), labels)
            for proxies in (self.centroids, self.means)
        )
        discrepant = (mean + F.relu(moved - self.margin)) / 2
        if len(self.instances) == 0:
            return discrepant
        taught = collectives.gather_parts(teacher.detach()[None])
        everyone = collectives.gather_parts(labels[None])
        return discrepant + self._instance_loss(student, taught, labels, everyone)

    def _instance_loss(
        self, student: Tensor, taught: Tensor, labels: Tensor, everyone: Tensor
    ) -> Tensor:
        """Return the loss of instance proxies; ``taught`` and ``everyone`` are the global batch."""
        same = labels[:, None] == everyone
        with torch.autocast(student.device.type, enabled=False):
            positives = self._logits(student, F.normalize(taught.to(self.means), dim=1))
            positive = torch.where(same, positives, torch.inf).amin(dim=1, keepdim=True)
            clusters, count, _ = self.instances.shape
            cosines = self._logits(student, self.instances.flatten(0, 1))
            own = F.one_hot(labels, clusters).bool().repeat_interleave(count, dim=1)
            others = torch.where(own, -torch.inf, cosines)
            negatives = others.topk(min(self.negatives, (clusters - 1) * count), dim=1).values
            logits = torch.cat([positive, negatives], dim=1)
            return F.cross_entropy(logits, torch.zeros_like(labels))

    @torch.no_grad()
    def update(self, x: Tensor, labels: Tensor, teacher: Tensor | None = None) -> None:
        """Update the centroids and replace the instance proxies of the batch's clusters.

        A cluster with fewer than K images in the batch repeats them; of more, the first K count.

        Args:
            x: (B, D) student embeddings of any length.
            labels: (B,) integers in [0, C).
            teacher: (B, D) embeddings by the teacher.

        Raises:
            ValueError: Lengths differ, a label is out of range (checked on the CPU only), or the
                teacher's embeddings are missing.
            RuntimeError: ``rebuild`` has not been called.
        """
        if teacher is None or teacher.shape != x.shape:
            found = None if teacher is None else tuple(teacher.shape)
            raise ValueError(f"teacher must be {tuple(x.shape)} as x, got {found}")
        super().update(x, labels)
        if len(self.instances) == 0 or len(labels) == 0:
            return
        labels = labels.long()
        count = self.instances.shape[1]
        slots = torch.arange(count, device=labels.device)
        order = labels.argsort(stable=True)
        first = (labels[:, None] > labels).sum(dim=1)
        size = (labels[:, None] == labels).sum(dim=1)
        rows = order[first[:, None] + slots % size[:, None]]  # (B, K), equal for a cluster's rows
        taught = F.normalize(teacher.to(self.instances), dim=1)[rows]
        self.instances = self.instances.index_copy(0, labels, taught)

    def _update(self, features: Tensor, labels: Tensor) -> None:
        super()._update(features, labels)
        self.means = self._moved(self.means, features, labels, "mean")

    def extra_repr(self) -> str:
        """Return the settings for the module's ``repr``."""
        return (
            f"{super().extra_repr()}, margin={self.margin}, instances={self.instances.shape[1]}, "
            f"negatives={self.negatives}, instances_from={self.instances_from}, seed={self.seed}"
        )


def _given(teacher: Tensor | NDArray[Any] | None) -> Tensor:
    if teacher is None:
        raise ValueError("teacher must be given: instance proxies are its embeddings, got None")
    return as_tensor(teacher)
