"""Average precision and first hits of every query of an evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.metrics.protocol_arrangement import arrange
from dccc_lightning.metrics.protocols import PROTOCOLS
from dccc_lightning.metrics.retrieval_scores import labelled, measure

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class QueryRankings:
    """Rankings of the V queries with a match; positions are among query and gallery together.

    Attributes:
        queries: (V,) positions.
        precision: (V,) non-interpolated average precision.
        hits: (V, H) positions of the first gallery images, -1 where fewer count.
        scores: (V, H) their cosines.
    """

    queries: Ints
    precision: NDArray[np.float64]
    hits: Ints
    scores: NDArray[np.float32]


def query_rankings(
    protocol: str,
    features: Tensor,
    labels: Mapping[str, Ints],
    queries: int,
    hits: int = 10,
    camera_center: bool = False,
) -> QueryRankings | None:
    """Rank the gallery for each query of a test split.

    Args:
        protocol: One of ``PROTOCOLS``.
        features: (N, D) of the query images followed by the gallery images, or (N, R, D) of
            their turns; normalised inside.
        labels: (N,) by name, as ``split_labels`` returns them.
        queries: Number of query images.
        hits: Gallery images to return for each query.
        camera_center: Centre by camera first; the cosines are those of the embeddings as given.

    Returns:
        None under a protocol whose scores are not of single images: drawn galleries, tracklets.

    Raises:
        ValueError: As ``evaluate_retrieval``.

    >>> labels = {"identity": np.array([7, 8, 7]), "camera": np.array([1, 2, 2])}
    >>> found = query_rankings("market1501", torch.eye(3), labels, queries=1)
    >>> found.precision.tolist(), found.hits.tolist()
    ([0.5], [[1, 2]])
    """
    rules = PROTOCOLS[protocol]
    arranged = arrange(rules, labels, queries)
    if rules.is_drawn or arranged.units is not None:
        return None
    asked, searched = next(arranged.draws())
    query, gallery = (
        labelled(
            name,
            features[torch.from_numpy(chosen).to(features.device)],
            {key: values[chosen] for key, values in arranged.labels.items()},
        )
        for name, chosen in (("query", asked), ("gallery", searched))
    )
    same = asked is searched
    found = measure(gallery if same else query, gallery, rules, 128, None, camera_center, hits)
    first = found.hits.T
    ours = (gallery if same else query).features[found.queries]
    theirs = gallery.features[first.clamp(min=0)]
    if ours.ndim == 2:
        ours, theirs = ours[:, None], theirs[:, :, None]
    scores = torch.stack([  # the best of all turns
        torch.einsum("vrd,vhrd->vh", ours, theirs.roll(turn, dims=2)) / ours.shape[1]
        for turn in range(ours.shape[1])
    ]).amax(dim=0)  # fmt: skip
    places = first.cpu().numpy()
    return QueryRankings(
        asked[found.queries.cpu().numpy()],
        found.precision.cpu().numpy(),
        np.where(places < 0, -1, searched[places]),
        scores.float().cpu().numpy(),
    )
