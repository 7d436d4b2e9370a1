"""Words for an unknown identity or camera in tables and paths."""

import re
import warnings
from collections import Counter
from collections.abc import Iterable

UNKNOWN_WORDS = (
    "unknown", "<unknown>", "unk", "unidentified", "not identified", "not_identified",
    "undetermined", "unassigned", "unlabeled", "unlabelled", "no_id", "new_individual",
    "new_whale", "_",
    "none", "null", "nan", "-nan", "<na>", "na", "n/a", "n.a.", "#na", "#n/a", "#n/a n/a",
    "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "-", "?", "-1", "-1.0",
)  # fmt: skip
"""Default words, as written by wildlife tools, pandas, R and spreadsheets."""

_REPEATED = re.compile(r"([?_-])\1+")

SOUNDS_UNKNOWN = re.compile(
    r"(?<![^\W\d_])(unk|unknown|unident|undeterm|unassign|unlabel|unnamed|missing|tbd|nil|nat|"
    r"no[ _-]?(id|name)|not[ _-]?(known|identified)|#?n[/.]?a)(?![^\W\d_])|"
    r"(unknown|unidentified|undetermined)|^[ -/:-@\[-`{-~]+$|^-\d",
    re.IGNORECASE,
)
"""Pattern of names that may mean unknown, such as ``Unknown_01`` and ``-99``, but are kept."""

EXAMPLES = 5
"""Number of words or names that a warning lists."""


def folded(value: object) -> str:
    """Return a label in lower case without surrounding blanks, for comparisons.

    >>> folded(" N/A "), folded(-1)
    ('n/a', '-1')
    """
    return str(value).strip().casefold()


def words_of(name: str, value: object) -> frozenset[str]:
    """Return the words of a setting: a list, a single word, or None.

    Raises:
        TypeError: ``value`` has another type.
    """
    values = [] if value is None else value if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(item, (str, int, float)) for item in values):
        raise TypeError(f"{name} must be a word or a list of words, got {value!r}")
    return frozenset(map(folded, values))


def _one_sign(word: str) -> str:
    """Return a word of repeated question marks, dashes or underscores as one of them."""
    return word[0] if _REPEATED.fullmatch(word) else word


class UnknownWords:
    """Words for an unknown identity or camera, with a count of their occurrences.

    Args:
        words: Words, compared by ``folded``.
    """

    def __init__(self, words: object = UNKNOWN_WORDS) -> None:
        self.words = frozenset(map(_one_sign, words_of("unknown", words)))
        self._met: Counter[tuple[str, str]] = Counter()
        self._doubtful: Counter[tuple[str, str]] = Counter()

    def known(self, column: str, label: str) -> str:
        """Return a label without surrounding blanks; empty if it is one of the words.

        Args:
            column: Name of the label's column, for the warning.
            label: Label from a path or table.
        """
        label = label.strip()
        if label and _one_sign(folded(label)) in self.words:
            self._met[column, label] += 1
            return ""
        if self.words and SOUNDS_UNKNOWN.search(label):
            self._doubtful[column, label] += 1
        return label

    def warn(self, place: str) -> None:
        """Warn about the words that occurred and about doubtful names, and reset the counts."""
        for counts, meaning, setting in (
            (self._met, "treated as unknown", "sets these words"),
            (self._doubtful, "treated as names, although they sound unknown", "sets unknown words"),
        ):
            if counts:
                found = [
                    f"{column} {label!r} of {images(count)}"
                    for (column, label), count in counts.most_common()
                ]
                warnings.warn(
                    f"{place}: {meaning}: {listed(found)}; dataset=folder "
                    f"dataset.unknown=[WORDS] {setting}",
                    stacklevel=2,
                )
            counts.clear()


def warn_of_case(place: str, column: str, names: Iterable[str]) -> None:
    """Warn about names that differ in case only and are treated as different.

    Args:
        place: Name of the dataset or table, the start of the warning.
        column: Kind of names, in the plural.
        names: Names, possibly repeated.
    """
    spellings: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        spellings.setdefault(name.casefold(), []).append(name)
    alike = [" and ".join(map(repr, same)) for same in spellings.values() if len(same) > 1]
    if alike:
        warnings.warn(
            f"{place}: {column} that differ in case only are treated as different: "
            f"{listed(alike)}; use one spelling if they are the same",
            stacklevel=1,
        )


def images(count: int) -> str:
    """Return a number of images as text.

    >>> images(1), images(2301)
    ('1 image', '2,301 images')
    """
    return f"{count:,} image{'s' * (count != 1)}"


def listed(items: list[str]) -> str:
    """Join the first ``EXAMPLES`` items by commas and append the number of further items.

    >>> listed(list("abcdefg"))
    'a, b, c, d, e and 2 more'
    """
    more = f" and {len(items) - EXAMPLES} more" if len(items) > EXAMPLES else ""
    return ", ".join(items[:EXAMPLES]) + more
