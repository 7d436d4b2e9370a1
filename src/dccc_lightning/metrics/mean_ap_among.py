"""mAP of images among themselves."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval


def mean_ap_among(
    rows: Tensor, identities: NDArray[np.int64], cameras: NDArray[np.int64]
) -> float | None:
    """Return the mAP with each image as a query among the others; None without a match.

    Args:
        rows: (N, D) embeddings.
        identities: (N,), negative if unknown; such images are left out.
        cameras: (N,); images of one camera are no match. Negative if unknown: a camera of its own.

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
    if not ((people[:, None] == people) & (places[:, None] != places)).any():
        return None
    kept = rows[torch.from_numpy(known)]
    scores = evaluate_retrieval(kept, people, places, kept, people, places, warn=False)
    return float(scores["mAP"])
