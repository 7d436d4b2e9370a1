"""Range checks of the settings for images that turn and their sizes, without importing torch."""

from collections.abc import Mapping
from typing import Any

from dccc_lightning.common import checks

MATCHES = ("mean", "aligned")
"""Comparisons of images that are embedded with quarter turns."""

FLIPS = {"none": (0.0, 0.0), "horizontal": (0.5, 0.0), "vertical": (0.0, 0.5), "both": (0.5, 0.5)}
"""Probabilities of a horizontal and a vertical flip, by the words of ``augmentation.flip``."""

ROTATE = ("none", "90", "any")
"""Choices of ``BatchAugmentation.rotate``."""

FITS = ("stretch", "pad", "crop")
"""Ways to resize images of any aspect to one size."""

ALIGNED = "-aligned"
"""End of the fingerprint of a model whose rows hold the turns of an image."""

AS_UPRIGHT = (1, "mean")
"""Rotations and comparison of images with an upright position."""

UNREAD = (4, "mean")
"""Rotations and comparison in place of those of a checkpoint that was not read yet, with which
every valid setting is valid."""


def rotations(number: object) -> int:
    """Return the number of turns with which an image is embedded, 1 or 4."""
    if (turns := checks.integer("rotations", number)) not in (1, 4):
        raise ValueError(f"rotations must be 1 or 4, got {turns}")
    return turns


def embedding(
    rotations: object = None, match: object = None, trained: tuple[int, str] = AS_UPRIGHT
) -> tuple[int, str]:
    """Return rotations and comparison, those that are None as in training.

    Args:
        rotations: 1, 4 or None.
        match: One of ``MATCHES``, or None.
        trained: Those of the training.

    Raises:
        ValueError: A value is invalid, or one turn is to be compared aligned.

    >>> embedding(None, None, (4, "aligned")), embedding(1, None, (4, "aligned"))
    ((4, 'aligned'), (1, 'mean'))
    """
    turns = trained[0] if rotations is None else _rotations(rotations)
    usual = trained[1] if turns == trained[0] else "mean"
    chosen = usual if match is None else checks.choice("match", match, MATCHES)
    if chosen == "aligned" and turns == 1:
        raise ValueError("match=aligned compares quarter turns: choose rotations=4")
    return turns, chosen


_rotations = rotations


def embedding_of(settings: Mapping[str, Any]) -> tuple[int, str]:
    """Return rotations and comparison of a training by its settings."""
    return embedding(**settings["embedding"])


def flips(flip: object) -> tuple[float, float]:
    """Return the probabilities of a horizontal and a vertical flip.

    >>> flips("both"), flips(0.25)
    ((0.5, 0.5), (0.25, 0.0))
    """
    if isinstance(flip, str):
        return FLIPS[checks.choice("flip", flip, tuple(FLIPS))]
    return checks.real("flip", flip, 0, 1), 0.0


def rotate(word: object) -> str:
    """Return one of ``ROTATE``; 90 may be a number."""
    return checks.choice("rotate", str(word), ROTATE)


def fit(word: object) -> str:
    """Return one of ``FITS``."""
    return checks.choice("fit", word, FITS)
