"""Retrieval scores of embeddings: mAP, mINP and CMC under the Market-1501 protocol.

All scores are functions of the ranks of a query's few true matches, so only these ranks are
computed and no row of scores is sorted as a whole.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.common import checks, progress
from dccc_lightning.common.tensors import as_tensor
from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.metrics.rank_positions import positions
from dccc_lightning.metrics.reranking import CameraRerank, Rerank, reranked_distances
from dccc_lightning.neighbors.camera_normalization import any_camera_repeats, center, check_cameras
from dccc_lightning.neighbors.collapse import sampled, warn_of_collapse
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings
from dccc_lightning.neighbors.similarity import origin_of, products

log = logging.getLogger(__name__)

AVERAGE_PRECISIONS = ("non_interpolated", "oxford", "both")


def evaluate_retrieval(
    query_features: Features,
    query_identities: Tensor | NDArray[Any],
    query_cameras: Tensor | NDArray[Any],
    gallery_features: Features,
    gallery_identities: Tensor | NDArray[Any],
    gallery_cameras: Tensor | NDArray[Any],
    ap: str = "non_interpolated",
    ranks: Sequence[int] = (1, 5, 10),
    block: int = 128,
    rerank: Rerank | CameraRerank | None = None,
    camera_center: bool = False,
    warn: bool = True,
) -> dict[str, Tensor]:
    """Rank the gallery by cosine similarity for each query and average over the queries.

    Gallery images with the query's identity and camera are excluded; queries without a match left
    are skipped. Unknown cameras (-1) exclude nothing, unknown identities (-1) match nothing. Equal
    scores rank in the order of the gallery.

    Args:
        query_features: (Q, D), normalised inside.
        query_identities: (Q,) integers.
        query_cameras: (Q,) integers.
        gallery_features: (G, D), normalised inside, on the device of the queries.
        gallery_identities: (G,) integers.
        gallery_cameras: (G,) integers.
        ap: ``"non_interpolated"``, the mean of the precisions at the matches, ``"oxford"``,
            where a match counts with the mean of the precisions before and at it, or ``"both"``.
        ranks: Ranks of the CMC curve to report.
        block: Queries per block; memory grows with block x G.
        rerank: Rank by k-reciprocal re-ranking with these settings instead of by cosine; a
            ``CameraRerank`` also needs the cameras.
        camera_center: Subtract the mean of its camera, over query and gallery, from every
            embedding. This uses statistics of the test images; the plain protocol does not.
        warn: Log a warning with the mean cosine if the model has collapsed.

    Returns:
        ``mAP``, ``mINP`` (share of matches among the images up to the last match) and ``rank<k>``
        for each of ``ranks``: fractions, 0-d float64 tensors. With ``"both"``, ``mAP`` is the
        non-interpolated one and ``mAP_oxford`` comes with it.

    Raises:
        ValueError: Shapes do not fit, a feature is not finite, query or gallery is empty, no query
            has a match, ``rerank`` needs more neighbours than there are images, or no camera is
            known to center or re-rank by.

    >>> features = torch.eye(3)
    >>> evaluate_retrieval(
    ...     features[:1], torch.tensor([7]), torch.tensor([1]),
    ...     features, torch.tensor([7, 8, 7]), torch.tensor([1, 2, 2]), ranks=(1, 2),
    ... )["mAP"].item()
    0.5
    """
    checks.choice("ap", ap, AVERAGE_PRECISIONS)
    checks.integer("block", block, 1)
    ranks = [checks.integer("ranks", rank, 1) for rank in ranks]
    queries, identities, cameras = _embedded(
        "query", query_features, query_identities, query_cameras
    )
    features, *others = _embedded("gallery", gallery_features, gallery_identities, gallery_cameras)
    if len(queries) == 0 or len(features) == 0:
        raise ValueError(f"the {'query set' if len(queries) == 0 else 'gallery'} is empty")
    if queries.shape[1] != features.shape[1]:
        raise ValueError(
            f"query and gallery features must have one length, got {queries.shape[1]} and "
            f"{features.shape[1]}"
        )
    if warn:
        warn_of_collapse(sampled(features), "gallery images", log)
    if camera_center:
        together = torch.cat([queries, features]), torch.cat([cameras, others[1]])
        every = check_cameras(together[1].cpu().numpy(), len(together[0]))
        if not any_camera_repeats(every):
            raise ValueError("no camera has two of these images, so no camera has a mean")
        centered = center(together[0], every)
        queries, features = centered[: len(queries)], centered[len(queries) :]
    gallery = _Gallery(*others)
    measures = []
    name = "ranking the gallery" if rerank is None else "re-ranking the gallery"
    with progress.announced(name, len(queries), "queries") as phase:
        for scores, *images in zip(
            _scores(queries, features, block, rerank, torch.cat([cameras, others[1]])),
            *(torch.split(part, block) for part in (identities, cameras)),
            strict=True,
        ):
            measures.append(_measures(*gallery.match_ranks(scores, *images)))
            phase.advance(len(scores))
    precision, oxford, inverse_penalty, first = (
        torch.cat(parts) for parts in zip(*measures, strict=True)
    )
    if len(first) == 0:
        raise ValueError(
            f"no valid query: none of {len(queries)} queries has a match in the gallery under "
            "another camera"
        )
    result = {"mAP": (oxford if ap == "oxford" else precision).mean()}
    if ap == "both":
        result["mAP_oxford"] = oxford.mean()
    result["mINP"] = inverse_penalty.mean()
    return result | {f"rank{rank}": (first <= rank).double().mean() for rank in ranks}


def _scores(
    queries: Tensor,
    gallery: Tensor,
    block: int,
    rerank: Rerank | CameraRerank | None,
    cameras: Tensor,
) -> Iterator[Tensor]:
    """Yield scores (at most ``block``, G) of the gallery, higher is better."""
    if rerank is not None:
        for distances in reranked_distances(queries, gallery, rerank, block, cameras.cpu().numpy()):
            yield distances.neg_()
        return
    origin = origin_of(gallery)
    if origin is not None:
        queries, gallery = queries - origin.point, gallery - origin.point
    for part in torch.split(queries, block):
        scores = products(part, gallery)
        yield scores if origin is None else scores.sub_(origin.halves)


class _Gallery:
    """Cameras of the gallery, and its images by identity."""

    def __init__(self, identities: Tensor, cameras: Tensor) -> None:
        self.cameras = cameras
        self.by_identity = identities.argsort(stable=True)
        self.sorted_identities = identities[self.by_identity]

    def match_ranks(
        self, scores: Tensor, identities: Tensor, cameras: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the ranks (from 1) of the true matches, and the query row of each.

        Args:
            scores: (B, G) scores of a block of queries; overwritten.
            identities: (B,) of the queries.
            cameras: (B,) of the queries.
        """
        rows, columns = self._same_identity(identities)
        known = cameras[rows] != UNKNOWN
        excluded = known & (cameras[rows] == self.cameras[columns])
        scores[rows[excluded], columns[excluded]] = -torch.inf
        rows, columns = rows[~excluded], columns[~excluded]
        return positions(scores, rows, columns) + 1, rows

    def _same_identity(self, identities: Tensor) -> tuple[Tensor, Tensor]:
        """Return (query row, gallery column) of all pairs with the same known identity."""
        start = torch.searchsorted(self.sorted_identities, identities)
        stop = torch.searchsorted(self.sorted_identities, identities, right=True)
        counts = torch.where(identities == UNKNOWN, 0, stop - start)
        rows = torch.repeat_interleave(counts)
        within = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        return rows, self.by_identity[start[rows] + within]


def _measures(ranks: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return both average precisions, INP and first rank of each query with a match.

    Args:
        ranks: (H,) ranks of the matches.
        rows: (H,) their queries, ascending.
    """
    # One sort by (query, rank) serves all queries: the j-th match of a query has recall j / m.
    ranks, order = ranks.sort()
    rows, by_row = rows[order].sort(stable=True)
    ranks = ranks[by_row]
    _, queries, counts = torch.unique_consecutive(rows, return_inverse=True, return_counts=True)
    stop = counts.cumsum(0)
    start = stop - counts
    hit = torch.arange(1, len(ranks) + 1, device=ranks.device) - start[queries]
    precision = hit.double() / ranks
    before = torch.where(ranks == 1, 1.0, (hit - 1).double() / (ranks - 1).clamp(min=1))
    averages = []
    for values in (precision, (before + precision) / 2):
        # A cumulative sum: scattered additions on a GPU would sum in varying order.
        total = F.pad(values.cumsum(0), (1, 0))
        averages.append((total[stop] - total[start]) / counts)
    return averages[0], averages[1], counts.double() / ranks[stop - 1], ranks[start]


def _embedded(
    name: str,
    features: Features,
    identities: Tensor | NDArray[Any],
    cameras: Tensor | NDArray[Any],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return normalised features, identities and cameras as tensors on one device."""
    if isinstance(features, UnitEmbeddings):
        rows = features.tensor()
    else:
        rows = as_tensor(features).detach()
    if rows.ndim != 2:
        raise ValueError(f"{name}_features must be (images, D), got {tuple(rows.shape)}")
    identities = as_tensor(identities, device=rows.device).long()
    cameras = as_tensor(cameras, device=rows.device).long()
    if not identities.shape == cameras.shape == rows.shape[:1]:
        raise ValueError(
            f"{name}_identities and {name}_cameras must be ({len(rows)},), one per feature, got "
            f"{tuple(identities.shape)} and {tuple(cameras.shape)}"
        )
    if isinstance(features, UnitEmbeddings):
        return rows, identities, cameras
    bad = ~rows.isfinite().all(dim=1)
    checks.finite_rows(f"{name}_features", bad.nonzero()[:, 0].tolist())
    dtype = torch.promote_types(rows.dtype, torch.float32)
    return F.normalize(rows.to(dtype), dim=1), identities, cameras
