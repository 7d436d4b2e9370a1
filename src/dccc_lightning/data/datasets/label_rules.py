"""Meaning of the labels of one's own images: unknown, junk, distractors and names of splits."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence

from dccc_lightning.data.datasets.image_labels import GALLERY, QUERY, TRAIN, ImageLabels
from dccc_lightning.data.datasets.split_names import SplitNames
from dccc_lightning.data.datasets.unknown_labels import (
    UNKNOWN_WORDS,
    UnknownWords,
    folded,
    images,
    listed,
    warn_of_case,
    words_of,
)

JUNK = ("-1", "00-1")
"""Identity of badly detected boxes in Market-1501 and in MARS."""

DISTRACTORS = ("0000",)
"""Identity of strangers in Market-1501, MARS and GRID."""


class LabelRules:
    """Rules that turn labels, as paths and tables have them, into identities, cameras and splits.

    Args:
        unknown: Words for an unknown identity, camera or split.
        junk: Identities that are neither right nor wrong: query, gallery and test images of them
            are left out, others have no identity.
        distractors: Identities of strangers: no identity, and gallery images instead of queries.
        splits: For ``SplitNames``.

    Raises:
        TypeError: An argument is of another type.
        ValueError: The names of splits are contradictory.
    """

    def __init__(
        self,
        unknown: object = UNKNOWN_WORDS,
        junk: object = JUNK,
        distractors: object = DISTRACTORS,
        splits: Mapping[str, object] | None = None,
    ) -> None:
        self.words = UnknownWords(unknown)
        self.junk = words_of("junk", junk)
        self.distractors = words_of("distractors", distractors)
        self.names = SplitNames(splits)

    def applied(self, place: str, labelled: Sequence[ImageLabels]) -> list[ImageLabels]:
        """Return the images that are left, with labels that are known; warn of what was changed.

        Args:
            place: Begins the warnings.
            labelled: Images with the labels of their path or of a table.

        Raises:
            UserError: A split has no meaning.
        """
        named = [
            image if self.names.has(image.split)
            else image._replace(split=self.words.known("split", image.split))
            for image in labelled
        ]  # fmt: skip
        kept: list[ImageLabels] = []
        junk: Counter[str] = Counter()
        distractors: Counter[str] = Counter()
        for image in self.names.assigned(place, named):
            word = folded(image.identity)
            identity, split = image.identity, image.split
            if word in self.junk and split not in ("", TRAIN):
                junk[identity] += 1
                continue
            if word in self.distractors:
                distractors[identity] += 1
                identity, split = "", GALLERY if split == QUERY else split
            elif word in self.junk - self.words.words:
                identity = ""
            identity = self.words.known("identity", identity)
            camera = self.words.known("camera", image.camera)
            kept.append(ImageLabels(image.path, camera, identity, split))
        self.words.warn(place)
        if junk:
            warnings.warn(
                f"{place}: left out of query and gallery as junk: {_counts(junk)}; dataset.junk "
                "lists such identities",
                stacklevel=1,
            )
        if distractors:
            warnings.warn(
                f"{place}: taken as strangers, searched but right for no query: "
                f"{_counts(distractors)}; dataset.distractors lists such identities, [] is none",
                stacklevel=1,
            )
        warn_of_case(place, "cameras", (image.camera for image in kept))
        warn_of_case(place, "identities", (image.identity for image in kept))
        return kept


def _counts(found: Counter[str]) -> str:
    return listed([f"{identity!r} of {images(count)}" for identity, count in found.most_common()])
