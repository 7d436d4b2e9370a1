"""Exact rankings of the images of the own camera and of the other cameras.

One pass over the products serves both: the images are sorted by camera, so those of a camera are a
slice. Like ``nearest``, it finds candidates and sorts them by exact distance.
"""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dccc_lightning.common import checks, progress
from dccc_lightning.common.tensors import full_precision
from dccc_lightning.neighbors import candidate_ranking, pairwise
from dccc_lightning.neighbors.camera_normalization import check_cameras
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_log = logging.getLogger(__name__)

_BLOCK_BYTES = {"cpu": 1 << 26, "cuda": 1 << 30}

_FEW = 64
"""Images of a camera, on average, below which ``pairwise`` would have many small products."""


def camera_rankings(
    features: Features, cameras: ArrayLike, within: int, across: int
) -> tuple[Ints, Ints]:
    """Rank the images of the own camera, and those of the other cameras, by distance.

    Ties go to the lower index. A ranking longer than there are images goes on with the nearest of
    the other kind: an image that is alone under its camera is followed by those of other cameras.
    An image of an unknown camera counts as alone under a camera of its own.

    Args:
        features: Embeddings (N, D), NumPy, torch or ``UnitEmbeddings``; normalised inside.
        cameras: (N,) integers, -1 where unknown.
        within: Length of the ranking of the own camera, 1 to N.
        across: Length of the ranking of other cameras, 1 to N - 1.

    Returns:
        Indices (N, within), the image itself first, and (N, across), never the image itself.

    Raises:
        ValueError: A length out of range, or cameras that do not fit; see ``check_cameras``.

    >>> points = np.array([[1.0, 0.0], [0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    >>> own, others = camera_rankings(points, [0, 0, 1, 1], within=2, across=3)
    >>> own.tolist(), others[0].tolist()
    ([[0, 1], [1, 0], [2, 3], [3, 2]], [2, 3, 1])
    """
    unit = UnitEmbeddings.of(features)
    n = len(unit)
    within = checks.integer("within", within, low=1, high=n)
    across = checks.integer("across", across, low=1, high=n - 1)
    known = check_cameras(cameras, n)
    unknown = known < 0
    known[unknown] = known.max() + 1 + np.arange(unknown.sum())
    _, known, sizes = np.unique(known, return_inverse=True, return_counts=True)
    lengths = within, across
    if sizes.min() < within or n - sizes.max() < across:  # one kind fills up the other
        lengths = (min(n, max(within, across + 1)), min(n - 1, max(within, across)))
    own, others = _rank(unit, known, *lengths)
    return (
        _filled(own, others, within),
        _filled(others, own[:, 1:], across),
    )


def camera_neighborhoods(
    features: Features,
    cameras: ArrayLike,
    k1_intra: int,
    k1_inter: int,
    k2_intra: int,
    k2_inter: int,
) -> tuple[list[Ints], Ints]:
    """Return the rankings of the camera-aware Jaccard distance, for ``reciprocal.neighborhoods``.

    Args:
        features: As in ``camera_rankings``.
        cameras: As there.
        k1_intra: Neighbours of the own camera considered for reciprocity, the image itself besides.
        k1_inter: One less than the neighbours of other cameras considered.
        k2_intra: Images of the own camera averaged, the image itself included.
        k2_inter: Images of other cameras averaged.

    Returns:
        Two rankings, (N, k1_intra + 1) and (N, k1_inter + 1), and the images to average
        (N, k2_intra + k2_inter).

    Raises:
        ValueError: A size out of range, fewer images than a ranking needs, or cameras that do not
            fit.
    """
    n = len(features)
    if n < 2:
        raise ValueError(f"features must hold at least two embeddings, got {n}")
    k1_intra = checks.integer("k1_intra", k1_intra, low=0, high=n - 1)
    k1_inter = checks.integer("k1_inter", k1_inter, low=0, high=n - 2)
    k2_intra = checks.integer("k2_intra", k2_intra, low=0, high=n)
    k2_inter = checks.integer("k2_inter", k2_inter, low=int(k2_intra == 0), high=n - 1)
    lengths = max(k1_intra + 1, k2_intra), max(k1_inter + 1, k2_inter)
    intra, inter = camera_rankings(features, cameras, *lengths)
    averaged = np.concatenate([intra[:, :k2_intra], inter[:, :k2_inter]], axis=1)
    return [intra[:, : k1_intra + 1], inter[:, : k1_inter + 1]], averaged


def _filled(first: Ints, then: Ints, length: int) -> Ints:
    """Cut rankings (N, >= length), padded with -1, to ``length``; go on with ``then``."""
    short = np.flatnonzero(first[:, length - 1] < 0)
    filled = np.ascontiguousarray(first[:, :length])
    for row in short:
        found = filled[row][filled[row] >= 0]
        filled[row, found.size :] = then[row, : length - found.size]
    return filled


def _rank(unit: UnitEmbeddings, cameras: Ints, within: int, across: int) -> tuple[Ints, Ints]:
    """Return both rankings, padded with -1; equal embeddings of a camera are searched once."""
    rows = unit.rows
    groups = candidate_ranking.group_duplicates(rows)[0]
    if groups.max() + 1 == len(rows):
        kinds = _rank_distinct(rows, cameras, within, across, unit.device)
        return kinds[0][1], kinds[1][1]
    keys = groups * (cameras.max() + 1) + cameras
    _, first, cells = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)  # numbered by first appearance, as ties need
    cells = np.argsort(order)[cells]
    members = np.argsort(cells, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(cells))])
    heads = first[order]
    own, others = _rank_distinct(
        rows[heads], cameras[heads], min(within, len(heads)), min(across, len(heads)), unit.device
    )
    expand = candidate_ranking.expand_groups
    return (
        expand(*own, cells, members, starts, within, True)[1],
        expand(*others, cells, members, starts, across, False)[1],
    )


def _rank_distinct(
    rows: Floats, cameras: Ints, within: int, across: int, device: torch.device
) -> tuple[tuple[Floats, Ints], tuple[Floats, Ints]]:
    """Return distances and indices of both rankings; the embeddings of a camera all differ."""
    order = np.argsort(cameras, kind="stable")
    candidates = _candidates(rows, cameras, order, within, across, device)
    results = []
    for found, k, same in zip(candidates, (within, across), (True, False), strict=True):
        distances, indices, complete = candidate_ranking.rank_candidates(rows, *found, k)
        unsure = np.flatnonzero(~complete)
        if unsure.size:
            _log.info("%d of %d rows have near ties and are scanned", unsure.size, len(rows))
        for camera in np.unique(cameras[unsure]):
            some = unsure[cameras[unsure] == camera]
            pool = np.flatnonzero((cameras == camera) == same)
            distances[some], indices[some] = candidate_ranking.rank_all(rows, some, pool, k)
        results.append((distances, indices))
    return results[0], results[1]


def _segments(starts: Ints, part: slice) -> Iterator[tuple[slice, slice]]:
    """Yield the rows of each camera that are in ``part``, and all rows of that camera."""
    camera = int(np.searchsorted(starts, part.start, side="right")) - 1
    first = part.start
    while first < part.stop:
        last = min(part.stop, int(starts[camera + 1]))
        columns = slice(int(starts[camera]), int(starts[camera + 1]))
        yield slice(first, last), columns
        first, camera = last, camera + 1


def _candidates(
    rows: Floats, cameras: Ints, order: Ints, within: int, across: int, device: torch.device
) -> tuple[tuple[Ints, Floats], tuple[Ints, Floats]]:
    """Return candidates (N, M), padded with -1, and bounds (N,) of both rankings."""
    n = len(rows)
    starts = np.searchsorted(cameras[order], np.arange(cameras.max() + 2))
    widths = [min(k + candidate_ranking.SPARE, n) for k in (within, across)]
    centred = candidate_ranking.centred(rows[order])
    if device.type != "cuda" and n >= _FEW * (len(starts) - 1) and max(widths) <= pairwise.WIDEST:
        found = pairwise.compare_cameras(centred, starts, *widths)
    else:
        found = _compare(centred, starts, device, *widths)
    error = candidate_ranking.rounding_error(centred)
    sizes = np.diff(starts)[cameras[order]]
    results = []
    for pairs, width, there in zip(found, widths, (sizes, n - sizes), strict=True):
        indices = np.empty_like(pairs.indices)
        indices[order] = np.where(pairs.indices < 0, -1, order[pairs.indices])
        bounds = np.empty(n, dtype=np.float32)
        bounds[order] = np.where(there <= width, np.inf, pairs.squares[:, -1] - error)
        results.append((indices, bounds))
    return results[0], results[1]


def _compare(
    rows: Floats, starts: Ints, device: torch.device, within: int, across: int
) -> tuple[pairwise.Pairs, pairwise.Pairs]:
    """Return what ``pairwise.compare_cameras`` does, by products of whole rows on ``device``."""
    n = len(rows)
    found = [
        pairwise.Pairs(np.full((n, k), np.inf, np.float32), np.full((n, k), -1, np.int64), None)
        for k in (within, across)
    ]
    kind = device.type if device.type == "cuda" else "cpu"
    block = max(1, _BLOCK_BYTES[kind] // (4 * n))
    with full_precision(), torch.no_grad(), torch.autocast(kind, enabled=False):
        points = torch.from_numpy(rows).to(kind)
        norms = points.square().sum(dim=1)

        def keep(which: int, squares: Tensor, queries: slice, shift: int) -> None:
            width = min(found[which].indices.shape[1], squares.shape[1])
            nearest = squares.topk(width, dim=1, largest=False)
            values = (nearest.values + norms[queries][:, None]).cpu().numpy()
            columns = nearest.indices.cpu().numpy() + shift
            found[which].squares[queries, :width] = values
            found[which].indices[queries, :width] = np.where(np.isfinite(values), columns, -1)

        for part in progress.blocks("finding neighbours", n, block):
            squares = torch.addmm(
                norms.expand(part.stop - part.start, -1), points[part], points.T, alpha=-2
            )
            for queries, columns in _segments(starts, part):
                here = slice(queries.start - part.start, queries.stop - part.start)
                keep(0, squares[here, columns], queries, columns.start)
                squares[here, columns] = torch.inf
            keep(1, squares, part, 0)
    return found[0], found[1]
