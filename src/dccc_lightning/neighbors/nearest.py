"""k nearest neighbours of every embedding: exact, or approximate for very large sets.

A backend returns candidates, which ``candidate_ranking`` sorts, so all exact backends agree. Add
another exact search as a function in ``_SEARCHES``.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dccc_lightning.common import checks, progress, ranges
from dccc_lightning.common.tensors import full_precision
from dccc_lightning.neighbors import (
    aligned_candidates,
    aligned_search,
    candidate_ranking,
    inverted_file,
    pairwise,
)
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings, compared_tensor

Neighbors = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Distances and indices (N, k)."""

_log = logging.getLogger(__name__)

EXACT_UP_TO = {"cpu": 400_000, "cuda": 2_000_000}
"""Most embeddings for which ``auto`` compares all N squared pairs, by device."""

_DEARER = 3
"""Divisor of ``EXACT_UP_TO`` for aligned comparison, whose time per pair is six times as long."""

_QUERIES = 4096
"""Queries per call of faiss, which uses blocks of this size on a CPU itself."""

_ROUNDED = 4
"""Candidates beyond k of an approximate search, against the rounding of its products."""

_SEARCHING = "finding neighbours"

_BLOCK_BYTES = {"cpu": 1 << 26, "cuda": 1 << 30}


def knn(features: Features, k: int, backend: str = "auto") -> Neighbors:
    """Find the ``k`` nearest neighbours of each row, the row itself included.

    An image that turns is R embeddings: (N, R, D) are compared at the best common turn, see
    ``aligned_similarity``; the distance is sqrt(2 - 2 s). There "approximate" takes candidates from
    the mean embeddings and is several times faster.

    Rows are L2-normalised first (a zero row stays zero). Column 0 is the row itself, also among
    duplicates; the others follow by Euclidean distance (not squared), then by index.

    Args:
        features: Embeddings (N, D), NumPy, torch or ``UnitEmbeddings``; or (N, R, D), also as
            ``UnitEmbeddings.turned``.
        k: Neighbours per row, the row itself included; 1 to N.
        backend: "faiss" (on all visible GPUs; without one each two rows are compared once, see
            ``pairwise``, or for more than 240 neighbours by faiss) and "torch" (on the device of
            ``features``) are exact and give the same answer. "approximate" may miss a neighbour,
            see ``inverted_file``; the ones found are in exact order. "auto" is exact for up to
            ``EXACT_UP_TO`` embeddings and logs its choice.

    Returns:
        Distances (N, k) float32 and indices (N, k) int64.

    Raises:
        TypeError: ``features`` or ``k`` of a wrong type.
        ValueError: ``features`` not a finite non-empty (N, D) or (N, R, D) array, ``k`` outside
            [1, N], or an unknown backend.

    >>> distances, indices = knn(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.1]]), k=2)
    >>> indices.tolist()
    [[0, 2], [1, 2], [2, 0]]
    """
    checks.choice("backend", backend, ranges.BACKENDS)
    if isinstance(features, UnitEmbeddings):
        if features.turned is not None:
            return _aligned(compared_tensor(features), k, backend)
    elif getattr(features, "ndim", 2) == 3:
        return _aligned(features, k, backend)
    embeddings = UnitEmbeddings.of(features)
    unit, device = embeddings.rows, embeddings.device
    k = checks.integer("k", k, low=1, high=len(unit))
    return _knn(unit, k, backend, device, False)[0]


def knn_and_farthest(features: Features, k: int) -> tuple[Neighbors, NDArray[np.int64] | None]:
    """Find neighbours as ``knn`` does, and the image farthest from each (N,) in the same pass.

    The farthest is that of a float32 matrix product, or None where the search does not compare all
    pairs on a processor, or images turn.
    """
    turned = features.turned is not None if isinstance(features, UnitEmbeddings) else False
    if turned or getattr(features, "ndim", 2) == 3:
        return knn(features, k), None
    embeddings = UnitEmbeddings.of(features)
    k = checks.integer("k", k, low=1, high=len(embeddings))
    return _knn(embeddings.rows, k, "auto", embeddings.device, True)


def _knn(
    unit: NDArray[np.float32], k: int, backend: str, device: torch.device, farthest: bool
) -> tuple[Neighbors, NDArray[np.int64] | None]:
    if backend == "auto":
        backend = _pick(len(unit), device)
        _log.info("kNN of %d x %d embeddings, k = %d: %s", *unit.shape, k, backend)
    groups, members, starts = candidate_ranking.group_duplicates(unit)
    distinct = unit if len(starts) > len(unit) else unit[members[starts[:-1]]]
    width = min(k, len(distinct))
    distances, nearest, far = _search_distinct(distinct, width, backend, device, farthest)
    if len(distinct) == len(unit):
        return (distances, nearest), far
    expanded = candidate_ranking.expand_groups(distances, nearest, groups, members, starts, k, True)
    return expanded, None if far is None else members[starts[far[groups]]]


def _aligned(features: NDArray[Any] | torch.Tensor, k: int, backend: str) -> Neighbors:
    """Search images that turn, by all pairs or with candidates from the mean embeddings."""
    if backend == "auto":
        gpu = isinstance(features, torch.Tensor) and features.device.type == "cuda"
        limit = EXACT_UP_TO["cuda" if gpu else "cpu"] // _DEARER
        backend = "torch" if len(features) <= limit else "approximate"
        _log.info("kNN of %d x %d x %d embeddings, k = %d: %s", *features.shape, k, backend)
    if backend != "approximate":
        return aligned_search.search(features, k, None)
    device = features.device if isinstance(features, torch.Tensor) else torch.device("cpu")
    return aligned_search.search(features, k, partial(_near_means, device=device))


def _near_means(
    rows: NDArray[np.float32], width: int, device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.integer]]:
    """Return squared distances and indices of about ``width`` near rows of each, in any order."""
    backend = _pick(len(rows), device)
    if backend == "approximate":
        return inverted_file.search(rows, width, width)
    if backend == "faiss" and _gpus() == 0:
        return aligned_candidates.near_pairs(rows, width)
    return _SEARCHES[backend](rows, width, device)


def _search_distinct(
    unit: NDArray[np.float32], k: int, backend: str, device: torch.device, farthest: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64] | None]:
    """Find the neighbours of rows that are all different, and the farthest."""
    centred = candidate_ranking.centred(unit)
    width = min(k + candidate_ranking.SPARE, len(unit))
    if backend == "approximate":
        width = min(k + _ROUNDED, len(unit))
        squares, candidates = inverted_file.search(centred, width, k)
        del centred
        return *candidate_ranking.rank_candidates(unit, candidates, squares[:, -1], k)[:2], None
    squares, candidates, far = _compare(centred, width, backend, device, farthest)
    bounds = squares[:, -1] - candidate_ranking.rounding_error(centred)
    del centred
    distances, indices, complete = candidate_ranking.rank_candidates(unit, candidates, bounds, k)
    unsure = np.flatnonzero(~complete)
    if unsure.size:
        _log.info("kNN: %d of %d rows have near ties and are scanned", unsure.size, len(unit))
        everything = np.arange(len(unit))
        distances[unsure], indices[unsure] = candidate_ranking.rank_all(unit, unsure, everything, k)
    return distances, indices, far


def _compare(
    rows: NDArray[np.float32], k: int, backend: str, device: torch.device, farthest: bool
) -> pairwise.Pairs:
    """Compare all pairs with a backend; without a GPU, "faiss" compares each pair once."""
    if backend == "faiss" and _gpus() == 0 and k <= pairwise.WIDEST:
        return pairwise.compare(rows, k, farthest)
    return pairwise.Pairs(*_SEARCHES[backend](rows, k, device), None)


def _pick(n: int, device: torch.device) -> str:
    """Choose the backend: exact up to ``EXACT_UP_TO``, torch for features on a GPU.

    A visible GPU counts although the features are on the CPU, because faiss uses it.
    """
    gpu = device.type == "cuda" or _gpus() > 0
    if n > EXACT_UP_TO["cuda" if gpu else "cpu"]:
        return "approximate"
    return "torch" if device.type == "cuda" else "faiss"


def _gpus() -> int:
    """Count the GPUs that faiss can use; without one it is not loaded into memory."""
    if not torch.cuda.is_available():
        return 0
    import faiss  # noqa: PLC0415  (slow to import)

    return int(faiss.get_num_gpus())


def _search_faiss(rows: NDArray[np.float32], k: int, device: torch.device) -> Neighbors:
    """Return squared distances and indices (N, k), computed by faiss on all GPUs or the CPU."""
    import faiss  # noqa: PLC0415  (slow to import)

    if _gpus() == 0:  # without an index, which would hold a copy of the rows
        return _search_blocks(lambda queries: faiss.knn(queries, rows, k), rows, _QUERIES)
    try:
        index = faiss.IndexFlatL2(rows.shape[1])
        options = faiss.GpuMultipleClonerOptions()
        options.shard = True
        gpus = faiss.index_cpu_to_all_gpus(index, co=options)
        gpus.add(rows)
        return _search_blocks(lambda queries: gpus.search(queries, k), rows, 16 * _QUERIES)
    except RuntimeError as error:
        _log.warning("faiss failed on the GPU (%s): using torch", str(error).splitlines()[0])
        return _search_torch(rows, k, torch.device("cuda" if torch.cuda.is_available() else device))


def _search_blocks(
    search: Callable[[NDArray[np.float32]], Neighbors], rows: NDArray[np.float32], block: int
) -> Neighbors:
    """Call ``search`` with ``block`` of the rows at a time and join the results."""
    parts = progress.blocks(_SEARCHING, len(rows), block)
    squares, indices = zip(*(search(rows[part]) for part in parts), strict=True)
    return np.concatenate(squares), np.concatenate(indices)


def _search_torch(rows: NDArray[np.float32], k: int, device: torch.device) -> Neighbors:
    """Return squared distances and indices (N, k), by a blocked matrix product on ``device``."""
    with full_precision(), torch.no_grad(), torch.autocast(device.type, enabled=False):
        points = torch.from_numpy(rows).to(device)
        norms = points.square().sum(dim=1)
        budget = _BLOCK_BYTES.get(device.type, _BLOCK_BYTES["cpu"])
        block = max(1, budget // (4 * len(rows)))
        squares, indices = [], []
        for rows_here in progress.blocks(_SEARCHING, len(rows), block):
            part, norm = points[rows_here], norms[rows_here]
            product = torch.addmm(norms.expand(len(part), -1), part, points.T, alpha=-2)
            nearest = product.topk(k, dim=1, largest=False)
            squares.append((nearest.values + norm[:, None]).cpu().numpy())
            indices.append(nearest.indices.cpu().numpy())
    return np.concatenate(squares), np.concatenate(indices)


_SEARCHES: dict[str, Callable[[NDArray[np.float32], int, torch.device], Neighbors]] = {
    "faiss": _search_faiss,
    "torch": _search_torch,
}
