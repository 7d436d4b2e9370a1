"""The k-reciprocal Jaccard distance in tensor operations: the graph of ``jaccard`` on a GPU.

The sets and sums of ``reciprocal`` and ``jaccard`` are computed in blocks of rows, no larger than
``_BUDGET``: lists of unequal length are padded to tables, and overlaps are summed in a dense
accumulator. Overlaps are integer multiples of 2^-60, so a sum does not depend on the order in which
a GPU adds: the result is symmetric and the same in every run.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Blocks = Iterator[tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]]
Sparse = tuple[Tensor, Tensor, Tensor]
"""Starts (N + 1,), columns and values, as in CSR; columns ascending."""

_BUDGET = 1 << 25
"""Numbers in the largest table of a block."""

_ONE = 2.0**60
"""Fixed-point scale: every float32 from 2^-36 to 1 is an integer multiple of 2^-60."""


def distance_blocks(
    features: Tensor,
    rankings: Sequence[Tensor],
    half: int,
    averaged: Tensor | None,
    max_distance: float,
) -> Blocks:
    """Yield the distances up to ``max_distance`` in blocks of rows.

    Args:
        features: Embeddings (N, D) float32 of length 1.
        rankings: As in ``reciprocal.neighborhoods``, on the device of ``features``.
        half: As there.
        averaged: As there.
        max_distance: Largest distance to yield.

    Yields:
        Number of entries of each row (rows,), their columns, ascending in a row, and distances.
    """
    with torch.no_grad():
        neighborhoods = _neighborhoods(features, rankings, half)
        if averaged is not None:
            neighborhoods = _average(neighborhoods, averaged)
        yield from _compare(neighborhoods, max_distance)


def _neighborhoods(features: Tensor, rankings: Sequence[Tensor], half: int) -> Sparse:
    """Compute V before query expansion: softmax of 2 cos - 2 over expanded neighbours."""
    ranks = torch.cat(list(rankings), dim=1)
    n, k1 = ranks.shape
    mutual = torch.cat([_mutual(ranking) for ranking in rankings], dim=1)
    mutual_half = _mutual(ranks[:, :half])
    width = k1 * max(half, 1)
    rows = max(1, _BUDGET // (width * k1))
    members: list[tuple[Tensor, Tensor]] = []
    for first in range(0, n, rows):
        near = ranks[first : first + rows]
        own = torch.where(mutual[first : first + rows], near, n)  # n is the padding
        theirs = torch.where(mutual_half[near], ranks[near, :half], n)  # (rows, k1, half)
        shared = ((theirs[..., None] == own[:, None, None, :]).any(-1) & (theirs < n)).sum(-1)
        close = (3 * shared > 2 * (theirs < n).sum(-1)) & (own < n)
        joined = torch.where(close[..., None], theirs, n).flatten(1)
        members.append(_distinct(torch.cat([own, joined], dim=1), n))
    sizes = torch.cat([size for size, _ in members])
    columns = torch.cat([column for _, column in members])
    starts = _starts(sizes)
    owners = torch.repeat_interleave(sizes)
    weights = torch.empty(len(columns), dtype=torch.float64, device=features.device)
    step = max(1, _BUDGET // (4 * features.shape[1]))
    for first in range(0, len(columns), step):
        part = slice(first, first + step)
        products = features[owners[part]].double() * features[columns[part]].double()
        weights[part] = (2 * products.sum(dim=1) - 2).exp()
    totals = _padded_sums(weights, starts)
    return starts, columns, (weights / totals[owners]).float()


def _mutual(near: Tensor) -> Tensor:
    """Return (N, k), True where the point is among the ``near`` (N, k) of that neighbour."""
    rows = max(1, _BUDGET // max(near.shape[1] ** 2, 1))
    points = torch.arange(len(near), device=near.device)[:, None, None]
    blocks = [
        (near[near[first : first + rows]] == points[first : first + rows]).any(-1)
        for first in range(0, len(near), rows)
    ]
    return torch.cat(blocks)


def _distinct(table: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """Return the number of distinct values below ``padding`` in each row, and the values."""
    table = table.sort(dim=1).values
    new = table < padding
    new[:, 1:] &= table[:, 1:] != table[:, :-1]
    return new.sum(dim=1), table[new]


def _padded_sums(values: Tensor, starts: Tensor) -> Tensor:
    """Sum every row by tables: scattered floating-point sums vary from run to run."""
    sizes = starts.diff()
    rows = max(1, _BUDGET // int(sizes.max()))
    sums = []
    for first in range(0, len(sizes), rows):
        places, real = _places(starts[first : first + rows + 1])
        sums.append(torch.where(real, values[places], 0.0).sum(dim=1))
    return torch.cat(sums)


def _places(starts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the positions of the entries of some rows (rows, longest), and their mask."""
    sizes = starts.diff()
    offsets = torch.arange(int(sizes.max()), device=starts.device)
    real = offsets < sizes[:, None]
    return torch.where(real, starts[:-1, None] + offsets, 0), real


def _average(matrix: Sparse, near: Tensor) -> Sparse:
    """Average the rows of the ``near`` (N, k2) neighbours (query expansion)."""
    starts, columns, values = matrix
    n, k2 = near.shape
    longest = int(starts.diff().max())
    rows = max(1, _BUDGET // (8 * k2 * longest))
    parts = []
    for first in range(0, n, rows):
        chosen = near[first : first + rows].flatten()
        places = starts[chosen, None] + torch.arange(longest, device=starts.device)
        real = places < starts[chosen + 1, None]
        places = torch.where(real, places, 0)
        shape = (-1, k2 * longest)
        found, order = torch.where(real, columns[places], n).view(shape).sort(dim=1, stable=True)
        weights = torch.where(real, values[places].double(), 0.0).view(shape).gather(1, order)
        sums = weights.clone()
        for shift in range(1, k2):  # a column occurs k2 times at most
            same = found[:, shift:] == found[:, :-shift]
            sums[:, :-shift] += torch.where(same, weights[:, shift:], 0.0)
        new = found < n
        new[:, 1:] &= found[:, 1:] != found[:, :-1]
        parts.append((new.sum(dim=1), found[new], (sums[new] / k2).float()))
    sizes, means, sums = (torch.cat(part) for part in zip(*parts, strict=True))
    return _starts(sizes), means, sums


def _compare(matrix: Sparse, max_distance: float) -> Blocks:
    """Compare the rows of V through an inverted index of rows by column."""
    starts, columns, values = matrix
    n = len(starts) - 1
    fixed = (values.double() * _ONE).long()
    order = columns.argsort(stable=True)
    holders = torch.repeat_interleave(starts.diff())[order]
    held = fixed[order]
    holder_starts = _starts(torch.bincount(columns, minlength=n))
    block = max(1, _BUDGET // (4 * n))
    limit = torch.tensor(max_distance, dtype=torch.float32)
    for first in range(0, n, block):
        last = min(n, first + block)
        begin, end = int(starts[first]), int(starts[last])
        overlaps = torch.zeros((last - first) * n, dtype=torch.int64, device=values.device)
        lengths = holder_starts[columns[begin:end] + 1] - holder_starts[columns[begin:end]]
        owners = torch.repeat_interleave(starts[first : last + 1].diff())
        for part in _within_budget(lengths):
            length = lengths[part]
            entry = torch.repeat_interleave(length)
            within = torch.arange(len(entry), device=entry.device) - _starts(length)[entry]
            place = holder_starts[columns[begin:end][part]][entry] + within
            shared = torch.minimum(fixed[begin:end][part][entry], held[place])
            overlaps.index_add_(0, owners[part][entry] * n + holders[place], shared)
        table = overlaps.view(last - first, n)
        shares = table.double() / _ONE
        distances = (1 - shares / (2 - shares)).clamp_(min=0).float()
        own = torch.arange(last - first, device=table.device)
        distances[own, own + first] = 0.0
        kept = (table > 0) & (distances <= limit)
        yield (
            kept.sum(dim=1).cpu().numpy(),
            kept.nonzero()[:, 1].int().cpu().numpy(),
            distances[kept].cpu().numpy(),
        )


def _within_budget(lengths: Tensor) -> Iterator[slice]:
    """Yield parts whose lengths sum to at most ``_BUDGET // 4``, or single entries."""
    sums = torch.cumsum(lengths, dim=0).cpu().numpy()
    first, done = 0, 0
    while first < len(sums):
        last = max(first + 1, int(np.searchsorted(sums, done + _BUDGET // 4, side="right")))
        yield slice(first, last)
        first, done = last, int(sums[last - 1])


def _starts(sizes: Tensor) -> Tensor:
    return torch.nn.functional.pad(torch.cumsum(sizes, dim=0), (1, 0))
