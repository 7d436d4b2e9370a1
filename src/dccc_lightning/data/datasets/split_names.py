"""Names of splits in paths and tables: those of the package, and others that a setting maps."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from dccc_lightning.data.datasets.image_labels import GALLERY, QUERY, TEST, TRAIN, ImageLabels
from dccc_lightning.data.datasets.unknown_labels import folded, images, listed, words_of
from dccc_lightning.errors import UserError

IGNORE = "ignore"
SPLITS = (TRAIN, QUERY, GALLERY, TEST, IGNORE)
"""What a split may be: ``ignore`` leaves images out, ``partition`` says what ``test`` is."""

HINTS = {TRAIN: ("train",), QUERY: ("query", "probe"), GALLERY: ("gallery", "test")}
"""Parts of names from which the advice guesses."""


class SplitNames:
    """Map of names to splits; without a setting each split has its own name alone.

    Args:
        names: For each of some splits the name or names that mean it, in any case.

    Raises:
        TypeError: Not a mapping, or a name that is no word.
        ValueError: No such split, or a name that is to mean two.
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
                    raise ValueError(f"splits must give {word!r} one meaning, got two")
        self._splits = {split: split for split in SPLITS} | self._splits

    def has(self, name: str) -> bool:
        """Tell whether a name means a split."""
        return folded(name) in self._splits

    def assigned(self, place: str, labelled: Sequence[ImageLabels]) -> list[ImageLabels]:
        """Return the images with the split that their name of one means, the ignored left out.

        Raises:
            UserError: One line with all names that mean none, and the setting that maps them.
        """
        strange = Counter(
            image.split for image in labelled if image.split and not self.has(image.split)
        )  # fmt: skip
        if strange:
            names = [f"{name!r} of {images(count)}" for name, count in sorted(strange.items())]
            raise UserError(
                f"{place}: splits without a meaning: {listed(names)}; map them to some of "
                f"{', '.join(SPLITS)}, for example {_advice(strange)}"
            )
        found = [image._replace(split=self._meaning(image.split)) for image in labelled]
        return [image for image in found if image.split != IGNORE]

    def _meaning(self, name: str) -> str:
        return self._splits[folded(name)] if name else ""


def _advice(names: Iterable[str]) -> str:
    """Return a setting that maps names, as one types it."""
    guesses: dict[str, list[str]] = {}
    for name in sorted(set(map(folded, names))):
        split = next((s for s, parts in HINTS.items() if any(p in name for p in parts)), IGNORE)
        quoted = name if name.isidentifier() and name.isascii() else f'"{name}"'
        guesses.setdefault(split, []).append(quoted)
    inner = ", ".join(f"{split}: [{', '.join(found)}]" for split, found in guesses.items())
    return f"'dataset.splits={{{inner}}}'"
