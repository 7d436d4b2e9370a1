"""Mapping of names in paths and tables to splits."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from dccc_lightning.data.datasets.image_labels import GALLERY, QUERY, TEST, TRAIN, ImageLabels
from dccc_lightning.data.datasets.unknown_labels import folded, images, listed, words_of
from dccc_lightning.errors import UserError

IGNORE = "ignore"
SPLITS = (TRAIN, QUERY, GALLERY, TEST, IGNORE)
"""Splits: ``ignore`` drops images, ``test`` is divided by ``split_assignment``."""

HINTS = {TRAIN: ("train",), QUERY: ("query", "probe"), GALLERY: ("gallery", "test")}
"""Substrings of names from which an error message suggests a split."""


class SplitNames:
    """Map of names to splits; by default each split is called by its name.

    Args:
        names: Additional name or names per split, case-insensitive.

    Raises:
        TypeError: ``names`` is not a mapping to words.
        ValueError: A split is unknown, or a name is given for two splits.
    """

    def __init__(self, names: Mapping[str, object] | None = None) -> None:
        if names is not None and not isinstance(names, Mapping):
            raise TypeError(f"splits must be {{train: [NAME], ...}}, got {names!r}")
        self._splits: dict[str, str] = {}
        for split, values in (names or {}).items():
            if split not in SPLITS:
                raise ValueError(f"splits must map to some of {', '.join(SPLITS)}, got {split!r}")
            for word in sorted(words_of(f"splits.{split}", values)):
                if self._splits.setdefault(word, split) != split:
                    raise ValueError(f"splits must map {word!r} to one split, got two")
        self._splits = {split: split for split in SPLITS} | self._splits

    def has(self, name: str) -> bool:
        """Return True if a name is mapped to a split."""
        return folded(name) in self._splits

    def assigned(self, place: str, labelled: Sequence[ImageLabels]) -> list[ImageLabels]:
        """Replace names of splits by splits, and drop ignored images.

        Raises:
            UserError: Names are mapped to no split; the message suggests a setting.
        """
        strange = Counter(
            image.split for image in labelled if image.split and not self.has(image.split)
        )  # fmt: skip
        if strange:
            names = [f"{name!r} of {images(count)}" for name, count in sorted(strange.items())]
            raise UserError(
                f"{place}: unknown splits: {listed(names)}; map them to some of "
                f"{', '.join(SPLITS)}, for example {_advice(strange)}"
            )
        found = [image._replace(split=self._meaning(image.split)) for image in labelled]
        return [image for image in found if image.split != IGNORE]

    def _meaning(self, name: str) -> str:
        return self._splits[folded(name)] if name else ""


def _advice(names: Iterable[str]) -> str:
    """Return a setting for the command line that maps names."""
    guesses: dict[str, list[str]] = {}
    for name in sorted(set(map(folded, names))):
        split = next((s for s, parts in HINTS.items() if any(p in name for p in parts)), IGNORE)
        quoted = name if name.isidentifier() and name.isascii() else f'"{name}"'
        guesses.setdefault(split, []).append(quoted)
    inner = ", ".join(f"{split}: [{', '.join(found)}]" for split, found in guesses.items())
    return f"'dataset.splits={{{inner}}}'"
