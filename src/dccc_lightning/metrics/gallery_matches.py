"""Ranks of the true matches of queries in a gallery, by the rules of a protocol."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.metrics.protocol_arrangement import random_order
from dccc_lightning.metrics.protocols import DRAWS, Protocol
from dccc_lightning.metrics.rank_positions import positions


class Matches(NamedTuple):
    """True matches of a block of queries.

    Attributes:
        ranks: (H,) from 1.
        rows: (H,) their queries, ascending.
        columns: (H,) their gallery images.
    """

    ranks: Tensor
    rows: Tensor
    columns: Tensor


class Gallery:
    """Labels of a gallery, and its images by identity.

    Args:
        labels: (G,) by name, on the device of the scores.
        protocol: Rules of the evaluation.
    """

    def __init__(self, labels: Mapping[str, Tensor], protocol: Protocol) -> None:
        self.labels, self.protocol = labels, protocol
        identities = labels["identity"]
        self.by_identity = identities.argsort(stable=True)
        self.sorted_identities = identities[self.by_identity]

    def matches(self, scores: Tensor, queries: Mapping[str, Tensor]) -> Matches:
        """Return the true matches of a block of queries.

        Args:
            scores: (B, G) scores; minus infinity is written to the images that are left out.
            queries: (B,) labels of the queries, by name.
        """
        hidden = self.protocol.hidden_images(queries, self.labels)
        if hidden is not None:
            scores.masked_fill_(hidden, -torch.inf)
        rows, columns = self._same_identity(queries["identity"])
        excluded = self.protocol.left_out(queries, self.labels, rows, columns)
        scores[rows[excluded], columns[excluded]] = -torch.inf
        rows, columns = rows[~excluded], columns[~excluded]
        return Matches(positions(scores, rows, columns) + 1, rows, columns)

    def _same_identity(self, identities: Tensor) -> tuple[Tensor, Tensor]:
        """Return (query row, gallery column) of all pairs with the same known identity."""
        start = torch.searchsorted(self.sorted_identities, identities)
        stop = torch.searchsorted(self.sorted_identities, identities, right=True)
        counts = torch.where(identities == UNKNOWN, 0, stop - start)
        rows = torch.repeat_interleave(counts)
        within = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        return rows, self.by_identity[start[rows] + within]


class IdentityRanks:
    """Ranks among identities instead of images. An image of unknown identity counts as its own.

    Args:
        identities: (G,) of the gallery.
    """

    def __init__(self, identities: Tensor) -> None:
        strangers = (identities == UNKNOWN).cumsum(0)
        numbers = torch.where(identities == UNKNOWN, identities.max() + strangers, identities)
        self.codes: Tensor = torch.unique(numbers, return_inverse=True)[1]
        self.count = int(self.codes.max()) + 1

    def of_best_images(self, scores: Tensor, found: Matches) -> Tensor:
        """Return the rank (B,) of a query's identity by the best image of each identity.

        Args:
            scores: (B, G) of queries with a match; minus infinity for images left out.
            found: Their matches.
        """
        size = scores.shape[1]
        order = scores.argsort(dim=1, descending=True, stable=True)
        places = torch.empty_like(order)
        places.scatter_(1, order, torch.arange(size, device=order.device).expand_as(order))
        places[scores == -torch.inf] = size
        first = torch.full((len(scores), self.count), size, device=order.device)
        first.scatter_reduce_(1, self.codes.expand_as(places), places, "amin")
        own = first.gather(1, self._own(found, len(scores))[:, None])
        return (first < own).sum(dim=1) + 1

    def of_drawn_images(self, scores: Tensor, found: Matches) -> Tensor:
        """Return the ranks (``DRAWS``, B) among one random image of each identity.

        The image of the query's own identity is drawn from its matches.

        Args:
            scores: (B, G) of queries with a match; minus infinity for images left out.
            found: Their matches.
        """
        size, device = scores.shape[1], scores.device
        own = self._own(found, len(scores))[:, None]
        others = torch.arange(self.count, device=device) != own
        ranks = []
        for draw in range(DRAWS):
            order = torch.from_numpy(random_order(draw, size)).to(device)
            place = order.argsort()
            drawn = torch.full((self.count,), size, device=device)
            drawn = order[drawn.scatter_reduce(0, self.codes, place, "amin")]
            mine = torch.full((len(scores),), size, device=device)
            mine = order[mine.scatter_reduce(0, found.rows, place[found.columns], "amin")][:, None]
            theirs, score = scores[:, drawn], scores.gather(1, mine)
            above = (theirs > score) | ((theirs == score) & (drawn < mine))
            ranks.append((above & others).sum(dim=1) + 1)
        return torch.stack(ranks)

    def _own(self, found: Matches, queries: int) -> Tensor:
        """Return the number (B,) of each query's identity."""
        own = self.codes.new_zeros(queries)
        own[found.rows] = self.codes[found.columns]
        return own


def first_images(scores: Tensor, queries: Tensor, count: int) -> Tensor:
    """Return the positions (count, V) of the highest scores; -1 where fewer are finite."""
    count = min(count, scores.shape[1])
    if not count:
        return queries.new_zeros((0, len(queries)))
    values, found = scores[queries].topk(count, dim=1)
    # topk leaves the order of equal scores open
    found, by_index = found.sort(dim=1)
    values, by_score = values.gather(1, by_index).sort(dim=1, descending=True, stable=True)
    return found.gather(1, by_score).masked_fill(values == -torch.inf, UNKNOWN).T
