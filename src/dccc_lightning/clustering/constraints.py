"""Constraints of a clustering: images of one individual, and images of different ones.

Images are joined to groups by ``same``; groups are kept apart by ``different``. All costs are
linear in the numbers of images and of pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components

from dccc_lightning.errors import UserError

Ints = NDArray[np.int64]

_MOST_NAMED = 3
"""Links named in a message."""


class Apart(NamedTuple):
    """Pairs of groups that are never joined, each once.

    Attributes:
        first: (M,) groups, a group being the position of its first image.
        second: (M,) groups above ``first``.
    """

    first: Ints
    second: Ints

    @classmethod
    def of(cls, first: Ints, second: Ints) -> "Apart":
        """Sort the pairs and drop repetitions."""
        low, high = np.minimum(first, second), np.maximum(first, second)
        pairs = np.unique(np.stack([low, high]), axis=1)
        return cls(pairs[0], pairs[1])

    def renamed(self, names: Ints) -> "Apart":
        """Return the pairs after joins; ``names`` (N,) maps groups to their new names."""
        return Apart.of(names[self.first], names[self.second])

    def contains(self, first: Ints, second: Ints) -> NDArray[np.bool_]:
        """Return True for each pair (``first`` below ``second``) that is among these."""
        if not len(self.first):
            return np.zeros(len(first), dtype=np.bool_)
        own, asked = (low << 32 | high for low, high in (self, (first, second)))
        places = np.minimum(np.searchsorted(own, asked), len(own) - 1)
        found: NDArray[np.bool_] = own[places] == asked
        return found


NONE_APART = Apart(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


class Links(NamedTuple):
    """Pairs of images, each with the reason for it.

    Attributes:
        first: (P,) images.
        second: (P,) images.
        reasons: P reasons, such as ``row 3 of decisions.csv``.
    """

    first: Ints
    second: Ints
    reasons: Sequence[str]

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, str]]) -> "Links":
        """Return the links of (first, second, reason) rows."""
        ends = np.array([row[:2] for row in rows], dtype=np.int64).reshape(-1, 2)
        return cls(ends[:, 0], ends[:, 1], [row[2] for row in rows])

    def joined(self, other: "Links") -> "Links":
        """Return the links of both."""
        return Links(
            np.concatenate([self.first, other.first]),
            np.concatenate([self.second, other.second]),
            [*self.reasons, *other.reasons],
        )


@dataclass(frozen=True, eq=False)
class Constraints:
    """Groups of images of one individual each, and groups of different individuals.

    Attributes:
        groups: (N,) first image of the group of each image.
        apart: Pairs of these groups.
    """

    groups: Ints
    apart: Apart

    @classmethod
    def of(cls, paths: Sequence[object], same: Links, different: Links) -> "Constraints":
        """Combine links, whatever their order.

        Args:
            paths: N names of the images, for messages.
            same: Pairs of images of one individual; also those that follow from several pairs.
            different: Pairs of images of different individuals.

        Raises:
            UserError: Two images are both; the message names the links that contradict.
        """
        n = len(paths)
        ends = np.concatenate([same.first, same.second]), np.concatenate([same.second, same.first])
        graph = coo_matrix((np.ones(len(ends[0])), ends), shape=(n, n)).tocsr()
        parts = connected_components(graph, directed=False)[1]
        groups = np.unique(parts, return_index=True)[1][parts]
        first, second = groups[different.first], groups[different.second]
        if len(clashes := np.flatnonzero(first == second)):
            one, other = (int(end[clashes[0]]) for end in different[:2])
            chain = _chain(graph, one, other, same)
            raise UserError(
                f"constraints: {paths[one]} and {paths[other]} are different by "
                f"{different.reasons[clashes[0]]}, and the same by {chain}; correct one of them"
            )
        return cls(groups.astype(np.int64), Apart.of(first, second))


def _chain(graph: csr_matrix, one: int, other: int, same: Links) -> str:
    """Return the reasons of a shortest chain of links between two images."""
    before = breadth_first_order(graph, one)[1]
    steps, place = set(), other
    while place != one:
        steps.add(frozenset((int(before[place]), place)))
        place = int(before[place])
    pairs = zip(same.first.tolist(), same.second.tolist(), same.reasons, strict=True)
    found = list(dict.fromkeys(why for a, b, why in pairs if frozenset((a, b)) in steps))
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return ", ".join(found[:_MOST_NAMED]) + more
