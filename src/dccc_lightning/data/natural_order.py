"""Order of file names by the numbers in them."""

import re

_DIGITS = re.compile("([0-9]+)")


def natural_key(name: str) -> list[str | int]:
    """Return a key that sorts numbers in names by value.

    >>> sorted(["f10.jpg", "f9.jpg", "a.jpg"], key=natural_key)
    ['a.jpg', 'f9.jpg', 'f10.jpg']
    """
    parts = _DIGITS.split(name)  # text and digits by turns, so that like compares with like
    return [int(part) if position % 2 else part for position, part in enumerate(parts)]
