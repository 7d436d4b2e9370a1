"""Cluster memory: one centroid per cluster and the rules that update it during an epoch.

DyCL (arXiv 2303.06810) gives less similar members of a cluster more weight; the three other rules
are its ablations. Updates use a (B, B) mask of equal labels instead of a Python loop over clusters
and do not synchronise with the device; only ``instance``, sequential by definition, loops over the
members and synchronises once.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dccc_lightning.common import checks, ranges
from dccc_lightning.common.tensors import as_tensor, resize_to_checkpoint

Loss = Callable[[Tensor, Tensor | None, Tensor], Tensor]
"""Function of student logits, teacher logits and labels."""


class ClusterMemory(nn.Module):
    """L2-normalised cluster centroids with logits and a momentum update.

    For a cluster y with normalised batch features f_1..f_m, in batch order:

    - ``dycl``: ``c_y <- normalise(mu c_y + (1 - mu) sum_i w_i f_i)`` with
      ``w = softmax(-cos(f_i, c_y) / tau_w)``;
    - ``mean``: the same with w = 1 / m, the limit of ``dycl`` for a large ``tau_w``;
    - ``hard``: all weight on the least similar member (the first of equals), the limit for a small
      ``tau_w``;
    - ``instance``: ``c_y <- normalise(mu c_y + (1 - mu) f_i)`` for each member in turn, the rule of
      Cluster Contrast.

    Computed in float32 (float64 after ``.double()``), also under autocast.

    Args:
        feature_dim: D, the size of the embeddings.
        momentum: mu in [0, 1], the share of the old centroid.
        temperature: Divisor of the cosines in ``logits``, above 0.
        update: Update rule, one of the four above.
        tau_w: Temperature of the DyCL weights, above 0.

    Attributes:
        centroids: (C, D) buffer; C is 0 before the first ``rebuild``. Updates replace the tensor
            instead of modifying it, so that a backward pass through earlier logits stays valid.

    >>> memory = ClusterMemory(2, momentum=0.5, update="mean")
    >>> memory.rebuild(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 1, -1]))
    >>> memory.update(torch.tensor([[0.0, 3.0]]), torch.tensor([0]))
    >>> memory.centroids
    tensor([[0.7071, 0.7071],
            [0.0000, 1.0000]])
    """

    centroids: Tensor

    uses_teacher = False
    """True if ``contrast`` and ``update`` require the teacher's embeddings."""

    def __init__(
        self,
        feature_dim: int,
        momentum: float = 0.1,
        temperature: float = 0.05,
        update: str = "dycl",
        tau_w: float = 0.09,
    ) -> None:
        super().__init__()
        self.feature_dim = checks.integer("feature_dim", feature_dim, 1)
        ranges.memory(momentum, temperature, update, tau_w)
        self.momentum, self.temperature = float(momentum), float(temperature)
        self.rule, self.tau_w = update, float(tau_w)
        self.register_buffer("centroids", torch.empty(0, self.feature_dim))
        self.register_load_state_dict_pre_hook(  # type: ignore[no-untyped-call]
            resize_to_checkpoint
        )

    @property
    def num_clusters(self) -> int:
        """C, the number of clusters of the current epoch."""
        return self.centroids.shape[0]

    def rebuilds_with_teacher(self, epoch: int) -> bool:
        """Return True if ``rebuild`` requires the teacher's embeddings."""
        return False

    @torch.no_grad()
    def rebuild(
        self,
        features: Tensor | NDArray[Any],
        labels: Tensor | NDArray[Any],
        teacher: Tensor | NDArray[Any] | None = None,
        epoch: int = 0,
    ) -> None:
        """Set each centroid to the normalised mean of its cluster's features.

        Features are summed on the CPU in the order of the images, so that all processes compute
        identical bits.

        Args:
            features: (N, D) L2-normalised embeddings.
            labels: (N,) integers, -1 for outliers (ignored); each of 0 to C - 1 must occur.
            teacher: (N, D) embeddings by the teacher, where ``rebuilds_with_teacher``.
            epoch: From 0, for memories that change with it.

        Raises:
            ValueError: Shapes do not match, a label of 0 to C - 1 is missing, or a feature of a
                cluster is NaN or infinite.
        """
        features = as_tensor(features).cpu()
        labels = as_tensor(labels).cpu().long()
        if features.ndim != 2 or features.shape[1] != self.feature_dim:
            raise ValueError(
                f"features must be (N, {self.feature_dim}), got {tuple(features.shape)}"
            )
        if labels.shape != features.shape[:1]:
            raise ValueError(
                f"labels must be ({len(features)},), one per feature, got {tuple(labels.shape)}"
            )
        if labels.numel() == 0 or labels.max() < 0:
            raise ValueError("labels must contain at least one cluster, got only outliers")
        if labels.min() < -1:
            raise ValueError(f"labels must be -1 or a cluster, got {labels.min().item()}")
        # Row 0 of counts and sums is for the outliers, which avoids a copy of the features.
        counts = torch.bincount(labels + 1)
        if (counts[1:] == 0).any():
            missing = int((counts[1:] == 0).nonzero()[0])
            raise ValueError(
                f"labels must number the clusters without gaps: {missing} of 0..{len(counts) - 2} "
                "has no member"
            )
        dtype = _compute_dtype(self.centroids)
        sums = torch.zeros(len(counts), self.feature_dim, dtype=dtype)
        sums.index_add_(0, labels + 1, features.to(dtype))
        if not sums[1:].isfinite().all():
            bad = (labels >= 0) & ~features.isfinite().all(dim=1)
            checks.finite_rows("features", bad.nonzero()[:, 0].tolist())
        means = sums[1:] / counts[1:, None]
        self.centroids = F.normalize(means, dim=1).to(self.centroids.device)

    def logits(self, x: Tensor) -> Tensor:
        """Return cos(x, centroid) / temperature, differentiable in ``x``.

        Args:
            x: (B, D) embeddings of any length.

        Returns:
            (B, C).

        Raises:
            RuntimeError: ``rebuild`` has not been called.
        """
        self._require_clusters()
        return self._logits(x, self.centroids)

    def _logits(self, x: Tensor, proxies: Tensor) -> Tensor:
        """Return cos(x, proxy) / temperature (B, M) for unit ``proxies`` (M, D)."""
        with torch.autocast(x.device.type, enabled=False):
            dtype = _compute_dtype(proxies)
            return F.linear(_unit(x, dtype), proxies.to(dtype)) / self.temperature

    def contrast(
        self, loss: Loss, student: Tensor, teacher: Tensor | None, labels: Tensor
    ) -> Tensor:
        """Return the loss of this process's part of a batch.

        Args:
            loss: Loss of logits, see ``losses.ContrastiveLoss``.
            student: (B, D) embeddings of any length.
            teacher: (B, D) embeddings by the teacher, or None without one.
            labels: (B,) integers in [0, C).
        """
        return loss(self.logits(student), None if teacher is None else self.logits(teacher), labels)

    @torch.no_grad()
    def update(self, x: Tensor, labels: Tensor) -> None:
        """Update the centroids of the batch's clusters, after the losses of the step.

        In distributed training, every process passes the gathered global batch.

        Args:
            x: (B, D) student embeddings of any length.
            labels: (B,) integers in [0, C).

        Raises:
            ValueError: Lengths differ, or a label is out of range (checked on the CPU only, since
                a check on a GPU would synchronise).
            RuntimeError: ``rebuild`` has not been called.
        """
        self._require_clusters()
        if labels.ndim != 1 or x.ndim != 2 or len(x) != len(labels):
            raise ValueError(
                f"x and labels must be (B, D) and (B,), got {tuple(x.shape)}, {tuple(labels.shape)}"
            )
        if len(labels) == 0:
            return
        labels = labels.long()
        if labels.device.type == "cpu" and not 0 <= labels.min() <= labels.max() < len(
            self.centroids
        ):
            raise ValueError(
                f"labels must be in [0, {len(self.centroids)}), "
                f"got {labels.min().item()} to {labels.max().item()}"
            )
        with torch.autocast(x.device.type, enabled=False):
            features = _unit(x, _compute_dtype(self.centroids))
            self._update(features, labels)

    def extra_repr(self) -> str:
        """Return the settings for the module's ``repr``."""
        return (
            f"feature_dim={self.feature_dim}, momentum={self.momentum}, "
            f"temperature={self.temperature}, update={self.rule!r}, tau_w={self.tau_w}"
        )

    def _require_clusters(self) -> None:
        if len(self.centroids) == 0:
            raise RuntimeError("the memory has no clusters yet: call rebuild first")

    def _blend(self, old: Tensor, new: Tensor) -> Tensor:
        return F.normalize(self.momentum * old + (1 - self.momentum) * new, dim=1)

    def _update(self, features: Tensor, labels: Tensor) -> None:
        """Update the buffers with unit ``features`` (B, D) and valid ``labels``."""
        self.centroids = self._moved(self.centroids, features, labels, self.rule)

    def _moved(self, centroids: Tensor, features: Tensor, labels: Tensor, rule: str) -> Tensor:
        """Return ``centroids`` (C, D) after the update by ``rule``."""
        centroids = centroids.to(features.dtype)
        if rule == "instance":
            return self._updated_by_instances(centroids, features, labels)
        return self._updated_by_clusters(centroids, features, labels, rule)

    def _updated_by_clusters(
        self, centroids: Tensor, features: Tensor, labels: Tensor, rule: str
    ) -> Tensor:
        slots = torch.arange(len(labels), device=labels.device)
        same = labels[:, None] == labels  # (B, B)
        first = torch.where(same, slots, len(labels)).amin(dim=1)
        cosines = (features * centroids[labels]).sum(dim=1)
        leaders = _leaders(first)
        members = same[leaders]
        if rule == "hard":
            new = features[torch.where(members, cosines, torch.inf).argmin(dim=1)]
        else:
            scores = -cosines / self.tau_w if rule == "dycl" else torch.zeros_like(cosines)
            new = torch.where(members, scores, -torch.inf).softmax(dim=1) @ features
        clusters = labels[leaders]
        moved = self._blend(centroids[clusters], new)
        # All rows of a cluster hold its new centroid, up to rounding. Each copies the first row,
        # so that repeated writes carry the same bits in any order.
        speakers = torch.searchsorted(leaders, first[leaders])
        return centroids.index_copy(0, clusters, moved[speakers])

    def _updated_by_instances(self, centroids: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        # The k-th members of all clusters are independent: one pass per k. Reading the number of
        # passes synchronises with the device once.
        occurrence = (labels[:, None] == labels).tril(diagonal=-1).sum(dim=1)
        sizes = torch.bincount(occurrence.cpu()).tolist()
        centroids = centroids.clone()
        for slots in torch.split(occurrence.argsort(stable=True), sizes):
            clusters = labels[slots]
            centroids[clusters] = self._blend(centroids[clusters], features[slots])
        return centroids


def _leaders(first: Tensor) -> Tensor:
    """Return the batch rows, ascending, for which a new centroid is computed.

    On the CPU, one row per cluster. On a GPU, all rows: computing a cluster's centroid repeatedly
    is faster than synchronising to learn the number of clusters.

    Args:
        first: (B,) index of the first row of the same cluster.
    """
    if first.device.type == "cpu":
        leaders: Tensor = torch.unique(first)
    else:
        leaders = torch.arange(len(first), device=first.device)
    return leaders


def _compute_dtype(centroids: Tensor) -> torch.dtype:
    return torch.promote_types(centroids.dtype, torch.float32)


def _unit(x: Tensor, dtype: torch.dtype) -> Tensor:
    return F.normalize(x.to(dtype), dim=1)
