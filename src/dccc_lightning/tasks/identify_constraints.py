"""Constraints of ``task=identify``: tracklets of the images, and decisions of a person."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.clustering.constraint_file import (
    DIFFERENT,
    NAME,
    SAME,
    DecisionRow,
    decisions_of,
    read_rows,
)
from dccc_lightning.clustering.constraints import Constraints
from dccc_lightning.clustering.tracklets import tracklet_links
from dccc_lightning.config.instantiate import Settings
from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.errors import UserError
from dccc_lightning.identities.identity_table import Known
from dccc_lightning.identities.kept_decisions import joined, kept_rows
from dccc_lightning.tasks.identify_inputs import Labelled
from dccc_lightning.tasks.inputs import path_of

Ints = NDArray[np.int64]


class Decided(NamedTuple):
    """Constraints of images, and the decisions among them.

    Attributes:
        constraints: Of tracklets and decisions.
        tracklets: (N,) first image of the tracklet of each image; None if no two share one.
        names: Names by image.
        rows: Decisions (image, decision, image or name).
        absent: Number of decisions about images that are not there.
    """

    constraints: Constraints
    tracklets: Ints | None
    names: dict[int, str]
    rows: list[tuple[int, str, int | str]]
    absent: int


def decided(settings: Settings, known: Known | None, images: Labelled) -> Decided:
    """Return the constraints and names that tracklets and decisions give.

    Args:
        settings: Composed configuration.
        known: Identities found before, whose decisions hold unless ``keep_decisions=false``.
        images: Images to identify.

    Raises:
        UserError: The decisions are invalid, about other images, or contradict each other.
    """
    columns, n = images.columns, len(images.paths)
    frames = [UNKNOWN if frame is None else int(frame) for frame in columns["frame"]]
    names = columns["tracklet"]
    same, different = tracklet_links(
        numbered(names),
        numbered(columns["camera"]),
        numbered(columns["session"]),
        np.array(frames, dtype=np.int64),
        names=sorted({name for name in names if name is not None}),
    )
    tracklets = np.arange(n)
    tracklets[same.second] = same.first
    kept: list[DecisionRow] = []
    if known is not None and known.folder is not None and settings["keep_decisions"]:
        removed = set(known.images.paths) - set(images.paths)
        kept = kept_rows(known.folder, removed)
    given = [] if settings["decisions"] is None else read_rows(path_of(settings, "decisions"))
    decisions = decisions_of(joined(kept, given), images.paths)
    rows: list[tuple[int, str, int | str]] = [
        (int(first), kind, int(second))
        for kind, pairs in ((SAME, decisions.same), (DIFFERENT, decisions.different))
        for first, second in zip(pairs.first, pairs.second, strict=True)
    ]
    rows += [(image, NAME, name) for image, name in decisions.names.items()]
    constraints = Constraints.of(
        images.paths, same.joined(decisions.same), different.joined(decisions.different)
    )
    own = tracklets if (tracklets != np.arange(n)).any() else None
    return Decided(constraints, own, decisions.names, rows, decisions.absent)


def named(identities: list[str], given: dict[str, str], decided: dict[int, str]) -> dict[str, str]:
    """Return the names of identities: those given before, replaced by those decided now.

    Args:
        identities: Identity of each image.
        given: Names by identity.
        decided: Names by image.

    Raises:
        UserError: Two names are decided for one identity.
    """
    names: dict[str, str] = {}
    for image, name in decided.items():
        own = identities[image]
        if names.setdefault(own, name) != name:
            raise UserError(
                f"decisions: {own} has two names, {names[own]} and {name}; name one image of it, "
                "or decide that these images are different"
            )
    return given | names


def numbered(names: list[str | None]) -> Ints:
    """Return numbers of names in sorted order; None is ``UNKNOWN``."""
    known = sorted({name for name in names if name is not None})
    numbers = {name: number for number, name in enumerate(known)}
    return np.array([UNKNOWN if v is None else numbers[v] for v in names], dtype=np.int64)
