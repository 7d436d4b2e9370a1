"""Names of the pieces of a tracklet that was cut."""

import re
from collections.abc import Iterable

_PIECE = re.compile(r"(.+) cut ([0-9]{1,4})")


def piece_name(tracklet: str, number: int) -> str:
    """Return the name of a piece, numbered from 1 in the order of time.

    >>> piece_name("hall/7", 2)
    'hall/7 cut 2'
    """
    return f"{tracklet} cut {number}"


def whole_name(tracklet: str) -> str:
    """Return the name of the tracklet that a piece was cut from; other names as they are.

    >>> whole_name("hall/7 cut 2"), whole_name("hall/7")
    ('hall/7', 'hall/7')
    """
    piece = _PIECE.fullmatch(tracklet)
    return piece[1] if piece else tracklet


def piece_counts(tracklets: Iterable[str]) -> dict[str, int]:
    """Return the highest number among the pieces of each tracklet that was cut.

    >>> piece_counts(["hall/7 cut 2", "hall/7 cut 1", "hall/8"])
    {'hall/7': 2}
    """
    counts: dict[str, int] = {}
    for piece in map(_PIECE.fullmatch, tracklets):
        if piece:
            counts[piece[1]] = max(int(piece[2]), counts.get(piece[1], 0))
    return counts
