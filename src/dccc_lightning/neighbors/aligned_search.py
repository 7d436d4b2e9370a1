"""Nearest neighbours of images that turn, by the similarity of ``aligned``.

As in ``nearest``, a search in float32 finds candidates, and exact distances sort them. Compared
with plain embeddings the exact search takes five times the products for R = 4; the approximate one
takes its candidates from the mean embeddings, see ``aligned_candidates``.
"""

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dccc_lightning.common import checks, progress
from dccc_lightning.common.tensors import as_tensor, full_precision
from dccc_lightning.neighbors import aligned_candidates, candidate_ranking
from dccc_lightning.neighbors.aligned import Columns, phases, spectrum
from dccc_lightning.neighbors.aligned_candidates import NearMeans
from dccc_lightning.neighbors.aligned_ranking import rank
from dccc_lightning.neighbors.embeddings import UnitEmbeddings

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Neighbors = tuple[Floats, Ints]

_log = logging.getLogger(__name__)

_BLOCK_BYTES = {"cpu": 1 << 25, "cuda": 1 << 29}

_SCANNED = 64
"""Rows compared with all others at once."""


def search(
    features: NDArray[Any] | Tensor,
    k: int,
    near_means: NearMeans | None,
) -> Neighbors:
    """Find the ``k`` nearest neighbours of images (N, R, D); see ``nearest.knn``.

    Args:
        features: R embeddings of each image, turned by 0, 360/R, ... degrees.
        k: Neighbours per image, itself included.
        near_means: Search for candidates among the mean embeddings; None compares all pairs.
    """
    rows, device = _unit(features)
    k = checks.integer("k", k, low=1, high=len(rows))
    flat = rows.reshape(len(rows), -1)
    groups, members, starts = candidate_ranking.group_duplicates(flat)
    distinct = rows if len(starts) > len(rows) else rows[members[starts[:-1]]]
    found = _search_distinct(distinct, min(k, len(distinct)), near_means, device)
    if len(distinct) == len(rows):
        return found
    return candidate_ranking.expand_groups(*found, groups, members, starts, k, True)


def _unit(features: NDArray[Any] | Tensor) -> tuple[Floats, torch.device]:
    """Return (N, R, D) embeddings of length 1 or 0, and their device."""
    shape = tuple(features.shape)
    if 0 in shape:
        raise ValueError(f"features must be a non-empty (N, R, D) array, got shape {shape}")
    tensor = features.detach() if isinstance(features, Tensor) else as_tensor(features)
    try:
        unit = UnitEmbeddings.of(tensor.reshape(-1, shape[2]))
    except ValueError:  # it numbers the turns
        bad = ~tensor.isfinite().flatten(1).all(dim=1)
        checks.finite_rows("features", bad.nonzero()[:, 0].tolist())
        raise
    return unit.rows.reshape(shape), unit.device


def _search_distinct(
    rows: Floats,
    k: int,
    near_means: NearMeans | None,
    device: torch.device,
) -> Neighbors:
    n, turns, _ = rows.shape
    spectra = spectrum(torch.from_numpy(rows)).numpy()
    spectra[:, 0] = candidate_ranking.centred(spectra[:, 0])  # the mean of all has no other part
    norms = np.einsum("nrd,nrd->n", spectra, spectra, dtype=np.float64)
    weights = phases(turns)
    if near_means is not None:
        candidates = aligned_candidates.choose(spectra, norms, weights, k, near_means)
        bounds = np.full(n, np.inf, dtype=np.float32)
    else:
        candidates, bounds = _candidates(spectra, norms, k, device)
    everyone = np.arange(n)
    distances, indices, complete = rank(spectra, norms, weights, everyone, candidates, bounds, k)
    unsure = np.flatnonzero(~complete)
    if unsure.size:
        _log.info("kNN: %d of %d rows have near ties and are scanned", unsure.size, n)
    for first in range(0, unsure.size, _SCANNED):
        some = unsure[first : first + _SCANNED]
        pool = np.broadcast_to(everyone, (some.size, n)).copy()
        distances[some], indices[some], _ = rank(
            spectra, norms, weights, some, pool, bounds[some], k
        )
    return distances, indices


def _candidates(
    spectra: Floats, norms: NDArray[np.float64], k: int, device: torch.device
) -> tuple[Ints, Floats]:
    """Return candidates (N, M) from all pairs, and bounds (N,) of the squares of the others.

    The similarity is symmetric, so a block of rows is compared with the rows from its start on; the
    nearest of its columns are merged with those found before.
    """
    n = len(spectra)
    width = min(k + candidate_ranking.SPARE, n)
    error = candidate_ranking.rounding_error(spectra.reshape(n, -1))
    kind = device.type if device.type == "cuda" else "cpu"
    block = max(1, _BLOCK_BYTES[kind] // (4 * n))
    with full_precision(), torch.no_grad(), torch.autocast(kind, enabled=False):
        points = torch.from_numpy(spectra).to(kind)
        lengths = torch.from_numpy(norms.astype(np.float32)).to(kind)
        columns = Columns(points)
        squares = torch.full((n, width), torch.inf, device=kind)
        indices = torch.full((n, width), -1, device=kind)

        def merge(rows: slice, found: Tensor, first: int) -> None:
            """Merge the columns (rows, M), which are the images from ``first`` on."""
            near = found.topk(min(width, found.shape[1]), dim=1, largest=False)
            both = torch.cat([squares[rows], near.values], dim=1)
            names = torch.cat([indices[rows], near.indices + first], dim=1)
            kept = both.topk(width, dim=1, largest=False)
            squares[rows], indices[rows] = kept.values, names.gather(1, kept.indices)

        for part in progress.blocks("finding neighbours", n, block):
            rest = slice(part.start, n)
            found = columns.similarities(points[part], rest).mul_(-2)
            found.add_(lengths[rest]).add_(lengths[part, None])
            merge(part, found, part.start)
            if part.stop < n:
                after = found[:, part.stop - part.start :].T.contiguous()
                merge(slice(part.stop, n), after, part.start)
    return indices.cpu().numpy(), squares[:, -1].cpu().numpy() - error
