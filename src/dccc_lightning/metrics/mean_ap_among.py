"""mAP of images among themselves."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.metrics.protocols import MARKET1501
from dccc_lightning.metrics.retrieval_scores import labelled, measure

_BLOCK = 128


def mean_ap_among(
    rows: Tensor,
    identities: NDArray[np.int64],
    cameras: NDArray[np.int64],
    sightings: NDArray[np.int64] | None = None,
) -> float | None:
    """Return the mAP with each image as a query among the others; None without a match.

    Args:
        rows: (N, D) embeddings.
        identities: (N,), negative if unknown; such images are left out.
        cameras: (N,); images of one camera are no match. Negative if unknown: a camera of its own.
        sightings: (N,); images of one session or tracklet are no match. Negative if unknown.

    >>> ids, cameras = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    >>> mean_ap_among(torch.eye(2)[[0, 0, 1, 1]], ids, cameras)
    1.0
    >>> mean_ap_among(torch.eye(2)[[0, 0, 1, 1]], ids, np.zeros(4, dtype=np.int64)) is None
    True
    """
    alone = -1 - np.arange(len(cameras))
    places = np.unique(np.where(cameras < 0, alone, cameras), return_inverse=True)[1]
    known = identities >= 0
    people, places = identities[known], places[known]
    seen = np.full(len(people), UNKNOWN) if sightings is None else sightings[known]
    is_apart = (places[:, None] != places) & ((seen[:, None] != seen) | (seen < 0))
    if not ((people[:, None] == people) & is_apart).any():
        return None
    labels = {"identity": people, "camera": places, "session": seen}
    images = labelled("images", rows[torch.from_numpy(known)], labels)
    return float(measure(images, images, MARKET1501, _BLOCK, None, False).precision.mean())
