"""Retrieval scores of embeddings: mAP, mINP and CMC.

All scores are functions of the ranks of a query's few true matches, so only these ranks are
computed and no row of scores is sorted as a whole.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.common import checks, progress
from dccc_lightning.common.tensors import as_tensor
from dccc_lightning.metrics.gallery_matches import Gallery, IdentityRanks, Matches, first_images
from dccc_lightning.metrics.one_set_ranks import matches_in_one_set
from dccc_lightning.metrics.protocols import MARKET1501, Protocol
from dccc_lightning.metrics.reranking import CameraRerank, Rerank, reranked_distances
from dccc_lightning.neighbors.camera_normalization import any_camera_repeats, center, check_cameras
from dccc_lightning.neighbors.collapse import sampled, warn_of_collapse
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings, compared_tensor
from dccc_lightning.neighbors.similarity import similarities

log = logging.getLogger(__name__)

AVERAGE_PRECISIONS = ("non_interpolated", "oxford", "both")


@dataclass(frozen=True, eq=False)
class Labelled:
    """Unit embeddings and their labels (N,) by name, on one device.

    Attributes:
        features: (N, D), or (N, R, D) of R turns of each image.
        labels: By name.
    """

    features: Tensor
    labels: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Measures:
    """Measures of the V queries with a match.

    Attributes:
        queries: (V,) their positions, ascending.
        precision: (V,) non-interpolated average precision.
        oxford: (V,) average precision by trapezoids.
        inverse_penalty: (V,) share of matches among the images up to the last match.
        first: (V,) rank from 1, or (draws, V).
        hits: (H, V) positions of the first gallery images; -1 where fewer count.
    """

    queries: Tensor
    precision: Tensor
    oxford: Tensor
    inverse_penalty: Tensor
    first: Tensor
    hits: Tensor


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
        query_features: (Q, D), normalised inside; or (Q, R, D), R turns of each image, which are
            compared by ``aligned_similarity``.
        query_identities: (Q,) integers.
        query_cameras: (Q,) integers.
        gallery_features: (G, D), or (G, R, D), on the device of the queries.
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
    query = labelled(
        "query", query_features, {"identity": query_identities, "camera": query_cameras}
    )
    gallery = labelled(
        "gallery", gallery_features, {"identity": gallery_identities, "camera": gallery_cameras}
    )
    if warn and len(gallery.features):
        warn_of_collapse(sampled(gallery.features), "gallery images", log)
    found = measure(query, gallery, MARKET1501, block, rerank, camera_center)
    result = {"mAP": (found.oxford if ap == "oxford" else found.precision).mean()}
    if ap == "both":
        result["mAP_oxford"] = found.oxford.mean()
    result["mINP"] = found.inverse_penalty.mean()
    return result | {f"rank{rank}": (found.first <= rank).double().mean() for rank in ranks}


def measure(
    query: Labelled,
    gallery: Labelled,
    protocol: Protocol,
    block: int = 128,
    rerank: Rerank | CameraRerank | None = None,
    camera_center: bool = False,
    hits: int = 0,
) -> Measures:
    """Rank the gallery for each query by the rules of a protocol.

    Args:
        query: The queries.
        gallery: The gallery; ``query`` itself where each image is compared with all others.
        protocol: Pairs that do not count, and the rank of a query.
        block: Queries per block; memory grows with block x G.
        rerank: As in ``evaluate_retrieval``.
        camera_center: As in ``evaluate_retrieval``.
        hits: Number of the first gallery images to return for each query.

    Raises:
        ValueError: As ``evaluate_retrieval``.
    """
    if len(query.features) == 0 or len(gallery.features) == 0:
        empty = "query set" if len(query.features) == 0 else "gallery"
        raise ValueError(f"the {empty} is empty")
    sizes = tuple(query.features.shape[1:]), tuple(gallery.features.shape[1:])
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"query and gallery features must have one size, got {sizes[0]} and {sizes[1]}"
        )
    if camera_center:
        query, gallery = _centered(query, gallery)
    matches = Gallery(gallery.labels, protocol)
    groups = None if protocol.cmc == "image" else IdentityRanks(gallery.labels["identity"])
    sides = [gallery] if query is gallery else [query, gallery]
    cameras = torch.cat([side.labels["camera"] for side in sides])
    parts: list[tuple[Tensor, ...]] = []
    name = "ranking the gallery" if rerank is None else "re-ranking the gallery"
    in_one_set = None
    if query is gallery and rerank is None and not hits:
        in_one_set = matches_in_one_set(gallery.features, matches, block)
    for each in in_one_set or ():
        queries, *measures = _measures(each.ranks, each.rows)
        parts.append((queries, *measures, queries.new_zeros((0, len(queries)))))
    blocks = _scores(query.features, gallery.features, block, rerank, cameras)
    start, count = 0, len(query.features)
    with progress.announced(name, count, "queries") as phase:
        for scores in blocks if in_one_set is None else ():
            rows = slice(start, start + len(scores))
            found = matches.matches(scores, {k: v[rows] for k, v in query.labels.items()})
            queries, *measures, first = _measures(found.ranks, found.rows)
            if groups is not None and len(queries):
                first = _identity_first(groups, protocol, scores, queries, found)
            parts.append((queries + start, *measures, first, first_images(scores, queries, hits)))
            start += len(scores)
            phase.advance(len(scores))
    if not any(len(part[0]) for part in parts):
        place = "under another camera" if protocol == MARKET1501 else f"by {protocol.name}"
        raise ValueError(
            f"no valid query: none of {count} queries has a match in the gallery {place}"
        )
    valid = [part for part in parts if len(part[0])]
    return Measures(*(torch.cat(column, dim=-1) for column in zip(*valid, strict=True)))


def _centered(query: Labelled, gallery: Labelled) -> tuple[Labelled, Labelled]:
    """Subtract from each embedding the mean of its camera, over query and gallery."""
    sides = [gallery] if query is gallery else [query, gallery]
    rows = torch.cat([side.features for side in sides])
    cameras = torch.cat([side.labels["camera"] for side in sides])
    every = check_cameras(cameras.cpu().numpy(), len(rows))
    if not any_camera_repeats(every):
        raise ValueError("no camera has two of these images, so no camera has a mean")
    turns = 1 if rows.ndim == 2 else rows.shape[1]  # all turns of an image are of its camera
    flat = rows.reshape(len(rows) * turns, -1)
    centered = center(flat, every.repeat(turns)).view(rows.shape)
    last = Labelled(centered[-len(gallery.features) :], gallery.labels)
    if query is gallery:
        return last, last
    return Labelled(centered[: len(query.features)], query.labels), last


def _identity_first(
    groups: IdentityRanks, protocol: Protocol, scores: Tensor, queries: Tensor, found: Matches
) -> Tensor:
    """Return the ranks of the queries among identities, (V,) or (draws, V)."""
    places = torch.searchsorted(queries, found.rows)
    matched = Matches(found.ranks, places, found.columns)
    rank = groups.of_best_images if protocol.cmc == "identity" else groups.of_drawn_images
    return rank(scores[queries], matched)


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
    else:
        yield from similarities(queries, gallery, block)


def _measures(ranks: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return query, both average precisions, INP and first rank of each query with a match.

    Args:
        ranks: (H,) ranks of the matches.
        rows: (H,) their queries, ascending.
    """
    # One sort by (query, rank) serves all queries: the j-th match of a query has recall j / m.
    ranks, order = ranks.sort()
    rows, by_row = rows[order].sort(stable=True)
    ranks = ranks[by_row]
    valid, queries, counts = torch.unique_consecutive(rows, return_inverse=True, return_counts=True)
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
    return valid, averages[0], averages[1], counts.double() / ranks[stop - 1], ranks[start]


def labelled(
    name: str, features: Features, labels: Mapping[str, Tensor | NDArray[Any]]
) -> Labelled:
    """Normalise features, with their labels as tensors on one device.

    Raises:
        ValueError: Shapes do not fit, or a feature is not finite.
    """
    rows = compared_tensor(features)
    if rows.ndim not in (2, 3):
        raise ValueError(
            f"{name}_features must be (images, D) or (images, turns, D), got {tuple(rows.shape)}"
        )
    columns = {key: as_tensor(value, device=rows.device).long() for key, value in labels.items()}
    identities, cameras = columns["identity"], columns["camera"]
    if not all(column.shape == rows.shape[:1] for column in columns.values()):
        raise ValueError(
            f"{name}_identities and {name}_cameras must be ({len(rows)},), one per feature, got "
            f"{tuple(identities.shape)} and {tuple(cameras.shape)}"
        )
    if isinstance(features, UnitEmbeddings):
        return Labelled(rows, columns)
    bad = ~rows.isfinite().flatten(1).all(dim=1)
    checks.finite_rows(f"{name}_features", bad.nonzero()[:, 0].tolist())
    dtype = torch.promote_types(rows.dtype, torch.float32)
    return Labelled(F.normalize(rows.to(dtype), dim=-1), columns)
