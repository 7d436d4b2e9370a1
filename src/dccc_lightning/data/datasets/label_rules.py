"""Rules for labels of custom images: unknown, junk, distractors and names of splits."""

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
from dccc_lightning.data.records import COLUMNS

JUNK = ("-1", "00-1")
"""Identities of bad detections in Market-1501 and in MARS."""

DISTRACTORS = ("0000",)
"""Identity of distractors in Market-1501, MARS and GRID."""


class LabelRules:
    """Rules that map labels from paths and tables to identities, cameras, sessions and splits.

    Args:
        unknown: Words for an unknown identity, camera, session or split.
        junk: Identities to ignore in evaluation: their query, gallery and test images are removed,
            their training images have no identity.
        distractors: Identities that are never a match: their images have no identity and are in the
            gallery instead of the query split.
        splits: Names of splits, see ``SplitNames``.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: A name is given for two splits.
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
        """Apply the rules, and warn about each kind of change.

        Args:
            place: Name of the dataset or table, the start of each warning.
            labelled: Images with labels from paths or a table.

        Returns:
            The remaining images; unknown labels are empty.

        Raises:
            UserError: The name of a split is unknown.
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
            columns = {
                name: self.words.known(name, value)
                for name in COLUMNS if (value := getattr(image, name))
            }  # fmt: skip
            kept.append(image._replace(camera=camera, identity=identity, split=split, **columns))
        self.words.warn(place)
        if junk:
            warnings.warn(
                f"{place}: left out of query and gallery as junk: {_counts(junk)}; dataset.junk "
                "sets these identities",
                stacklevel=1,
            )
        if distractors:
            warnings.warn(
                f"{place}: treated as distractors, which match no query: {_counts(distractors)}; "
                "dataset.distractors sets these identities, [] for none",
                stacklevel=1,
            )
        warn_of_case(place, "cameras", (image.camera for image in kept))
        warn_of_case(place, "identities", (image.identity for image in kept))
        warn_of_case(place, "sessions", (image.session for image in kept))
        return kept


def _counts(found: Counter[str]) -> str:
    return listed([f"{identity!r} of {images(count)}" for identity, count in found.most_common()])
