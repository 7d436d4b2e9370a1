"""Validation of arguments; error messages name the argument and its value."""

import math
import os
from collections.abc import Collection, Sequence
from numbers import Integral, Real
from pathlib import Path

from dccc_lightning.common.faults import explain_unknown_home


def real(
    name: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return ``value`` as a float within [low, high] (bounds excluded where open).

    Raises:
        TypeError: ``value`` is not a real number.
        ValueError: ``value`` is NaN or outside the range.

    >>> real("eps", 0.5, 0, 1)
    0.5
    >>> real("eps", 1.0, 0, 1, open_high=True)
    Traceback (most recent call last):
    ...
    ValueError: eps must be in [0, 1), got 1.0
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    number = float(value)
    above = number > low if open_low else number >= low
    below = number < high if open_high else number <= high
    if not (above and below):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        raise ValueError(f"{name} must be in {interval}, got {value!r}")
    return number


def integer(name: str, value: object, low: int | None = None, high: int | None = None) -> int:
    """Return ``value`` as an int within [low, high].

    Raises:
        TypeError: ``value`` is not an integer (booleans are refused too).
        ValueError: ``value`` is outside the range.

    >>> integer("k1", 1, low=2)
    Traceback (most recent call last):
    ...
    ValueError: k1 must be at least 2, got 1
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    number = int(value)
    if low is not None and number < low:
        raise ValueError(f"{name} must be at least {low}, got {number}")
    if high is not None and number > high:
        raise ValueError(f"{name} must be at most {high}, got {number}")
    return number


def boolean(name: str, value: object) -> bool:
    """Return ``value``, a boolean.

    Raises:
        TypeError: ``value`` is not a boolean.

    >>> boolean("flip", "yes")
    Traceback (most recent call last):
    ...
    TypeError: flip must be true or false, got 'yes'
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be true or false, got {value!r}")
    return value


def choice(name: str, value: object, options: Collection[str]) -> str:
    """Return ``value``, one of ``options``.

    Raises:
        ValueError: ``value`` is not among ``options``.

    >>> choice("pooling", "max", ["avg", "gem"])
    Traceback (most recent call last):
    ...
    ValueError: pooling must be one of avg, gem, got 'max'
    """
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name} must be one of {', '.join(options)}, got {value!r}")
    return value


def path(name: str, value: object) -> Path:
    """Return ``value`` as a path, ``~`` expanded.

    Hydra parses a folder called 2024 as a number, so numbers are accepted.

    Raises:
        TypeError: ``value`` is neither a path nor a number.
        UserError: ``~`` has no folder to stand for.

    >>> path("index", 2024).name
    '2024'
    """
    if isinstance(value, bool) or not isinstance(value, (str, os.PathLike, int, float)):
        raise TypeError(f"{name} must be a path, got {value!r}")
    with explain_unknown_home():
        return Path(str(value) if isinstance(value, (int, float)) else value).expanduser()


def finite_rows(name: str, bad: Sequence[int]) -> None:
    """Raise an error if embeddings have rows that are not finite.

    Args:
        name: Name of the embeddings in the message.
        bad: Indices of the rows with NaN or infinity.

    Raises:
        ValueError: ``bad`` is not empty; the message names the first five rows.

    >>> finite_rows("features", [3, 4, 5, 6, 7, 9])
    Traceback (most recent call last):
    ...
    ValueError: features must be finite, got NaN or infinity in 6 rows: 3, 4, 5, 6, 7, ...
    """
    if bad:
        shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise ValueError(f"{name} must be finite, got NaN or infinity in {len(bad)} rows: {shown}")
