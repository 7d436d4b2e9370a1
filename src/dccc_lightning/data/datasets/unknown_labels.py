"""Words for an unknown identity or camera in tables and paths, and the count of each."""

import warnings
from collections import Counter
from collections.abc import Iterable

UNKNOWN_WORDS = (
    "unknown", "unidentified", "new_individual", "new_whale", "____",
    "none", "null", "nan", "<na>", "na", "n/a", "#n/a", "-", "?", "-1", "-1.0",
)  # fmt: skip
"""As tools for wildlife, pandas, R and spreadsheets write them."""

EXAMPLES = 5
"""Words or names that a warning shows."""


def folded(value: object) -> str:
    """Return a label as it is compared: without surrounding blanks, whatever its case.

    >>> folded(" N/A "), folded(-1)
    ('n/a', '-1')
    """
    return str(value).strip().casefold()


def words_of(name: str, value: object) -> frozenset[str]:
    """Return the words of a setting: a list, a single one, or null for none.

    Raises:
        TypeError: It is none of these.
    """
    values = [] if value is None else value if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(item, (str, int, float)) for item in values):
        raise TypeError(f"{name} must be words, one or [several], got {value!r}")
    return frozenset(map(folded, values))


class UnknownWords:
    """Words for an unknown identity or camera; those that are met are counted.

    Args:
        words: Compared without surrounding blanks, whatever their case.
    """

    def __init__(self, words: object = UNKNOWN_WORDS) -> None:
        self.words = words_of("unknown", words)
        self._met: Counter[tuple[str, str]] = Counter()

    def known(self, column: str, label: str) -> str:
        """Return a label without surrounding blanks; empty where it is one of the words.

        Args:
            column: That the label is of, for the warning.
            label: A name, perhaps.
        """
        label = label.strip()
        if label and folded(label) in self.words:
            self._met[column, label] += 1
            return ""
        return label

    def warn(self, place: str) -> None:
        """Warn in one line of the words that were met, and forget them."""
        if not self._met:
            return
        met = [
            f"{column} {label!r} of {images(count)}"
            for (column, label), count in self._met.most_common()
        ]
        warnings.warn(
            f"{place}: taken as unknown: {listed(met)}; dataset=folder dataset.unknown=[WORDS] "
            "lists such words",
            stacklevel=1,
        )
        self._met.clear()


def warn_of_case(place: str, column: str, names: Iterable[str]) -> None:
    """Warn in one line of names that differ in their case alone, and so count as different ones.

    Args:
        place: Begins the line.
        column: What they are, in the plural.
        names: May repeat.
    """
    spellings: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        spellings.setdefault(name.casefold(), []).append(name)
    alike = [" and ".join(map(repr, same)) for same in spellings.values() if len(same) > 1]
    if alike:
        warnings.warn(
            f"{place}: {column} that differ in case alone count as different ones: "
            f"{listed(alike)}; spell them alike if they are the same",
            stacklevel=1,
        )


def images(count: int) -> str:
    """Return a number of images in words.

    >>> images(1), images(2301)
    ('1 image', '2,301 images')
    """
    return f"{count:,} image{'s' * (count != 1)}"


def listed(items: list[str]) -> str:
    """Return the first items with commas between, and the number of the others.

    >>> listed(list("abcdefg"))
    'a, b, c, d, e and 2 more'
    """
    more = f" and {len(items) - EXAMPLES} more" if len(items) > EXAMPLES else ""
    return ", ".join(items[:EXAMPLES]) + more
