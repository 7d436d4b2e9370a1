"""Retrieval scores as a torchmetrics metric.

The metric gathers embeddings from all processes, removes duplicates and restores the order;
``protocol_scores`` computes.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from dccc_lightning.common import checks
from dccc_lightning.common.tensors import as_tensor
from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.metrics.protocol_scores import evaluate_protocol
from dccc_lightning.metrics.protocols import LABELS, PROTOCOLS
from dccc_lightning.metrics.reranking import CameraRerank, Rerank
from dccc_lightning.metrics.retrieval_scores import AVERAGE_PRECISIONS
from dccc_lightning.neighbors.collapse import sampled, warn_of_collapse
from dccc_lightning.neighbors.embeddings import Features, compared_tensor

log = logging.getLogger(__name__)


class ReIDRetrieval(Metric):
    """mAP, mINP and CMC over all images since the last reset, by the Market-1501 protocol.

    Shards of processes may differ in size and be empty. With indices the result does not depend on
    the sharding or the order of the batches, and images repeated by padding count once.

    Args:
        ap: ``"non_interpolated"``, ``"oxford"`` or ``"both"``; see ``evaluate_retrieval``.
        ranks: Ranks of the CMC curve to report.
        rerank: Rank by k-reciprocal re-ranking with these settings; None ranks by cosine.
        camera_center: Center the embeddings by camera first, see ``evaluate_retrieval``.
        protocol: Another of ``metrics.protocols.PROTOCOLS``.

    Attributes:
        warn: Log a warning with the mean cosine if the model has collapsed.
        collapsed: True if the last ``compute`` has logged it.

    >>> metric = ReIDRetrieval(ranks=(1,))
    >>> metric.update(
    ...     torch.eye(3)[[0, 0, 1]],
    ...     identities=torch.tensor([7, 7, 8]),
    ...     cameras=torch.tensor([1, 2, 2]),
    ...     is_query=torch.tensor([True, False, False]),
    ... )
    >>> {name: value.item() for name, value in metric.compute().items()}
    {'mAP': 1.0, 'mINP': 1.0, 'rank1': 1.0}
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    features: list[Tensor]
    identities: list[Tensor]
    cameras: list[Tensor]
    is_query: list[Tensor]
    indices: list[Tensor]
    labels: list[Tensor]

    def __init__(
        self,
        ap: str = "non_interpolated",
        ranks: Sequence[int] = (1, 5, 10),
        rerank: Rerank | CameraRerank | None = None,
        camera_center: bool = False,
        protocol: str = "market1501",
    ) -> None:
        super().__init__()
        self.ap = checks.choice("ap", ap, AVERAGE_PRECISIONS)
        self.ranks = tuple(checks.integer("ranks", rank, 1) for rank in ranks)
        self.rerank = rerank
        self.camera_center = checks.boolean("camera_center", camera_center)
        self.protocol = checks.choice("protocol", protocol, tuple(PROTOCOLS))
        self.warn = True
        self.collapsed = False
        for state in ("features", "identities", "cameras", "is_query", "indices", "labels"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(
        self,
        features: Features,
        identities: Tensor,
        cameras: Tensor,
        is_query: Tensor,
        indices: Tensor | None = None,
        labels: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Add a batch of images.

        Args:
            features: (B, D), or (B, R, D) as in ``evaluate_protocol``; normalised inside; kept in
                float32.
            identities: (B,) integers, -1 = unknown.
            cameras: (B,) integers, -1 = unknown.
            is_query: (B,) booleans; the others are gallery images.
            indices: (B,) non-negative positions in the split, numbered for queries and gallery
                together or separately; they order ties and identify duplicates. Without them the
                images of a process stay in the order of arrival. Pass them in every update or none.
            labels: (B,) integers by name, any of session, tracklet, clothes and modality, -1 =
                unknown.

        Raises:
            ValueError: Shapes do not fit.
        """
        features = compared_tensor(features).to(self.device).float()
        if features.ndim not in (2, 3):
            raise ValueError(f"features must be (B, D) or (B, R, D), got {tuple(features.shape)}")
        if indices is None:
            indices = torch.full((len(features),), -1)
        columns = {
            "identities": as_tensor(identities, device=self.device).long(),
            "cameras": as_tensor(cameras, device=self.device).long(),
            "is_query": as_tensor(is_query, device=self.device).bool(),
            "indices": as_tensor(indices, device=self.device).long(),
        }
        for name, column in columns.items():
            if column.shape != features.shape[:1]:
                raise ValueError(
                    f"{name} must be ({len(features)},), one per feature, got {tuple(column.shape)}"
                )
        given = {
            name: as_tensor(values, device=self.device) for name, values in (labels or {}).items()
        }
        for name, column in given.items():
            if name not in LABELS or column.shape != features.shape[:1]:
                raise ValueError(
                    f"labels must be ({len(features)},), one per feature, of {', '.join(LABELS)}, "
                    f"got {tuple(column.shape)} of {name}"
                )
        unknown = columns["indices"].new_full((len(features),), UNKNOWN)
        others = [given.get(name, unknown).long() for name in LABELS]
        self.features.append(features)
        self.labels.append(torch.stack(others, dim=1))
        for name, column in columns.items():
            getattr(self, name).append(column)

    def compute(self) -> dict[str, Tensor]:
        """Return ``mAP``, ``mINP`` and ``rank<k>`` as fractions, 0-d float64 tensors.

        Raises:
            ValueError: No query, no gallery or no query with a match; indices for some images only;
                or no known camera to center by.
        """
        if len(self.features) == 0:
            raise ValueError("no images: update was not called since the last reset")
        features, identities, cameras = (
            dim_zero_cat(state) for state in (self.features, self.identities, self.cameras)
        )
        is_query, indices = dim_zero_cat(self.is_query), dim_zero_cat(self.indices)
        others = dict(zip(LABELS, dim_zero_cat(self.labels).unbind(dim=1), strict=True))
        known = {name: values for name, values in others.items() if (values != UNKNOWN).any()}
        if (indices < 0).any() and (indices >= 0).any():
            raise ValueError("indices must be non-negative, and given in every update or in none")
        query, gallery = _distinct(indices, is_query), _distinct(indices, ~is_query)
        sample = F.normalize(sampled(features[gallery].reshape(-1, features.shape[-1])), dim=1)
        self.collapsed = self.warn and warn_of_collapse(sample, "gallery images", log)
        return evaluate_protocol(
            self.protocol,
            features,
            {"identity": identities, "camera": cameras, **known},
            query,
            gallery,
            ap=self.ap,
            ranks=self.ranks,
            rerank=self.rerank,
            camera_center=self.camera_center,
            warn=False,
        )

    def gathered(self) -> tuple[Tensor, Tensor]:
        """Return the embeddings of queries and gallery of all processes, in order of their indices.

        Every process must call it; one without images has none to add.
        """
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            features, is_query = dim_zero_cat(self.features), dim_zero_cat(self.is_query)
            indices = dim_zero_cat(self.indices)
            return features[_distinct(indices, is_query)], features[_distinct(indices, ~is_query)]

    def _sync_dist(
        self,
        dist_sync_fn: Callable[..., Any] = gather_all_tensors,
        process_group: Any | None = None,
    ) -> None:
        """Gather the images of all processes; a process without images adds states of length 0.

        torchmetrics would add a float vector for every state, which fits no matrix.
        """
        shape = self.features[0].shape[1:] if self.features else ()
        sizes = [0] * (2 - len(shape)) + list(shape)
        group = process_group or self.process_group
        gathered = dist_sync_fn(torch.tensor(sizes, device=self.device), group=group)
        if not self.features:
            largest = torch.stack(list(gathered)).amax(dim=0).tolist()
            self.features = [torch.zeros(0, *largest[largest[0] == 0 :], device=self.device)]
            for name in ("identities", "cameras", "indices"):
                setattr(self, name, [torch.zeros(0, dtype=torch.long, device=self.device)])
            self.is_query = [torch.zeros(0, dtype=torch.bool, device=self.device)]
            self.labels = [torch.zeros(0, len(LABELS), dtype=torch.long, device=self.device)]
        super()._sync_dist(dist_sync_fn, process_group)


def _distinct(indices: Tensor, chosen: Tensor) -> Tensor:
    """Return the positions of the chosen images, ordered by index, each index once."""
    positions = chosen.nonzero()[:, 0]
    ordered, order = indices[positions].sort(stable=True)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[1:] = (ordered[1:] != ordered[:-1]) | (ordered[1:] < 0)
    return positions[order[new]]
