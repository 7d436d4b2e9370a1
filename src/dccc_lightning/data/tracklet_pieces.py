"""Names of the pieces of a tracklet that was cut."""

import re

_PIECE = re.compile(r"(.+) cut [0-9]{1,4}")


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
