"""Images that turn as rows of files and galleries: the turns of an image one after the other.

A row of R turns a_s has length 1, a_0 ... a_(R-1) over the root of R: the product of two rows is
the mean cosine of their turns, and the similarity of ``aligned`` is the largest product with a row
whose turns are shifted.
"""

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.common.turning_ranges import ALIGNED
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings

TURNS = 4
"""Turns of an image."""


def to_rows(embeddings: Tensor) -> Tensor:
    """Return embeddings (N, D) unchanged, and turns (N, R, D) of length 1 as rows (N, R D)."""
    if embeddings.ndim == 2:
        return embeddings
    return embeddings.flatten(1) / math.sqrt(embeddings.shape[1])


def of_rows(rows: Features, fingerprint: str) -> UnitEmbeddings:
    """Return the embeddings in rows, which are compared as the model of ``fingerprint`` does."""
    unit = UnitEmbeddings.of(rows)
    if not fingerprint.endswith(ALIGNED):
        return unit
    return UnitEmbeddings.of_turns(unit.rows.reshape(len(unit), TURNS, -1))


def shifted(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows (R N, R D) of images at each of R turns, all images at the first turn first.

    >>> shifted(np.arange(4, dtype=np.float32)[None])[1].tolist()
    [1.0, 2.0, 3.0, 0.0]
    """
    turns = rows.reshape(len(rows), TURNS, -1)
    each = [np.roll(turns, -turn, axis=1).reshape(rows.shape) for turn in range(TURNS)]
    return np.concatenate(each)
