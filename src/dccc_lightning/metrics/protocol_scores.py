"""Retrieval scores under a protocol: drawn galleries, pooled tracklets, leave-one-out."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.common import checks
from dccc_lightning.common.tensors import as_tensor
from dccc_lightning.metrics.mean_interval import mean_interval
from dccc_lightning.metrics.protocol_arrangement import arrange
from dccc_lightning.metrics.protocols import PROTOCOLS
from dccc_lightning.metrics.reranking import CameraRerank, Rerank
from dccc_lightning.metrics.retrieval_scores import (
    AVERAGE_PRECISIONS,
    Measures,
    labelled,
    measure,
)
from dccc_lightning.neighbors.collapse import sampled, warn_of_collapse
from dccc_lightning.neighbors.embeddings import Features, compared_tensor

log = logging.getLogger(__name__)

DEVIATION = "_std"
"""Suffix of the standard deviation of a score over draws (n - 1)."""

RESAMPLES = 1000
"""Resamples of an interval by bootstrap."""


def evaluate_protocol(
    protocol: str,
    features: Features,
    labels: Mapping[str, Tensor | NDArray[Any]],
    query: Tensor | NDArray[Any],
    gallery: Tensor | NDArray[Any],
    ap: str = "non_interpolated",
    ranks: Sequence[int] = (1, 5, 10),
    block: int = 128,
    rerank: Rerank | CameraRerank | None = None,
    camera_center: bool = False,
    warn: bool = True,
) -> dict[str, Tensor]:
    """Evaluate a test split by the rules of a protocol.

    Args:
        protocol: One of ``PROTOCOLS``.
        features: (N, D), normalised inside; or (N, R, D), R turns of each image, which are
            compared by ``aligned_similarity``.
        labels: (N,) integers by name: ``identity`` and ``camera``, and where they are known any of
            ``session``, ``tracklet``, ``clothes`` and ``modality``; -1 is unknown.
        query: (Q,) positions of the query images.
        gallery: (G,) positions of the gallery images; equal scores rank in their order.
        ap: As in ``evaluate_retrieval``, like all that follow.
        ranks: Ranks of the CMC curve to report.
        block: Queries per block; memory grows with block x gallery.
        rerank: Settings of the re-ranking.
        camera_center: Centre the embeddings by camera.
        warn: Log a warning if the model has collapsed.

    Returns:
        Scores as ``evaluate_retrieval``. Of a protocol that draws, means over the draws, with
        their standard deviations under the names with ``_std``. Of one that averages over
        identities, also ``mAP_low`` and ``mAP_high``, a 95 % interval by bootstrap over identities.

    Raises:
        ValueError: As ``evaluate_retrieval``.

    >>> features = torch.eye(2)[[0, 0, 1, 1]]
    >>> labels = {"identity": torch.tensor([7, 7, 8, 7]), "camera": torch.full((4,), -1)}
    >>> positions = torch.arange(4)
    >>> found = evaluate_protocol("leave_one_out", features, labels, positions[:1], positions[1:])
    >>> round(found["mAP"].item(), 4)
    0.75
    """
    checks.choice("ap", ap, AVERAGE_PRECISIONS)
    checks.integer("block", block, 1)
    ranks = [checks.integer("ranks", rank, 1) for rank in ranks]
    rules = PROTOCOLS[checks.choice("protocol", protocol, tuple(PROTOCOLS))]
    rows = compared_tensor(features)
    order = np.concatenate([as_tensor(part).cpu().numpy() for part in (query, gallery)])
    columns = {name: as_tensor(values).cpu().numpy() for name, values in labels.items()}
    if not all(column.shape == (len(rows),) for column in columns.values()):
        raise ValueError(f"labels must be ({len(rows)},), one per feature")
    if warn:
        sample = sampled(rows.reshape(-1, rows.shape[-1])).float()
        warn_of_collapse(F.normalize(sample, dim=1), "test images", log)
    columns = {name: values[order] for name, values in columns.items()}
    arranged = arrange(rules, columns, len(query))
    if arranged.units is not None:
        unit = labelled("test", rows[torch.from_numpy(order).to(rows.device)], columns)
        rows, order = _pooled(unit.features, arranged.units), np.arange(len(arranged.units))
    found = []
    for asked, searched in arranged.draws():
        sides = [
            labelled(
                name,
                rows[torch.from_numpy(order[chosen]).to(rows.device)],
                {key: values[chosen] for key, values in arranged.labels.items()},
            )
            for name, chosen in (("query", asked), ("gallery", searched))
            if name == "gallery" or asked is not searched
        ]
        measures = measure(sides[0], sides[-1], rules, block, rerank, camera_center)
        weights = _weights(measures, sides[0].labels["identity"], rules.average)
        found.append(_scores(measures, weights, ap, ranks))
    scores = {name: torch.cat([part[name] for part in found]) for name in found[0]}
    result = {name: values.mean() for name, values in scores.items()}
    if rules.average == "identity":
        precision = measures.oxford if ap == "oxford" else measures.precision
        people = sides[0].labels["identity"][measures.queries]
        result["mAP_low"], result["mAP_high"] = _interval(precision, people)
    if rules.is_drawn:
        spread = {name: values.std() for name, values in scores.items() if len(values) > 1}
        result |= {f"{name}{DEVIATION}": value for name, value in spread.items()}
    return result


def _pooled(features: Tensor, units: NDArray[np.int64]) -> Tensor:
    """Return the normalised mean embedding of each unit, (U, D) or (U, R, D)."""
    places = torch.from_numpy(units).to(features.device)
    total = features.new_zeros(int(units.max(initial=-1)) + 1, *features.shape[1:])
    return F.normalize(total.index_add_(0, places, features), dim=-1)


def _weights(measures: Measures, identities: Tensor, average: str) -> Tensor | None:
    """Return the weight (V,) of each query with a match; they sum to 1. None if all are equal."""
    if average == "query":
        return None
    _, codes, counts = torch.unique(
        identities[measures.queries], return_inverse=True, return_counts=True
    )
    weights: Tensor = 1 / (counts[codes].double() * len(counts))
    return weights


def _interval(precision: Tensor, identities: Tensor) -> tuple[Tensor, Tensor]:
    """Return the 95 % interval of the mean over identities, which are drawn with replacement."""
    _, codes, counts = torch.unique(identities, return_inverse=True, return_counts=True)
    means = torch.zeros_like(counts, dtype=torch.float64).index_add(0, codes, precision) / counts
    low, high = torch.from_numpy(np.array(mean_interval(means.cpu().numpy(), RESAMPLES)))
    return low.to(precision.device), high.to(precision.device)


def _scores(
    measures: Measures, weights: Tensor | None, ap: str, ranks: Sequence[int]
) -> dict[str, Tensor]:
    """Return the scores of one gallery, (1,), or (draws,) where only ranks are drawn."""
    first = measures.first if measures.first.ndim == 2 else measures.first[None]
    columns = {"mAP": measures.oxford if ap == "oxford" else measures.precision}
    if ap == "both":
        columns["mAP_oxford"] = measures.oxford
    columns["mINP"] = measures.inverse_penalty
    found = {name: _mean(values[None], weights) for name, values in columns.items()}
    return found | {f"rank{k}": _mean((first <= k).double(), weights) for k in ranks}


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of each row of (n, V)."""
    if weights is None:
        return torch.stack([row.mean() for row in values])
    return (values * weights).sum(dim=1)
