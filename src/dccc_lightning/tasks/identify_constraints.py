"""Constraints of ``task=identify``: tracklets of the images, and decisions of a person."""

from collections.abc import Sequence
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
from dccc_lightning.clustering.constraints import Constraints, Links
from dccc_lightning.clustering.tracklets import tracklet_links
from dccc_lightning.config.instantiate import Settings
from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.data.tracklet_pieces import whole_name
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
        tracklet_names: Name of the tracklet of each image; pieces that a decision joins have the
            name of the whole.
        names: Names by image.
        rows: Decisions (image, decision, image or name).
        absent: Number of decisions about images that are not there.
    """

    constraints: Constraints
    tracklets: Ints | None
    tracklet_names: list[str | None]
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
    n = len(images.paths)
    kept: list[DecisionRow] = []
    if known is not None and known.folder is not None and settings["keep_decisions"]:
        removed = set(known.images.paths) - set(images.paths)
        kept = kept_rows(known.folder, removed)
    given = [] if settings["decisions"] is None else read_rows(path_of(settings, "decisions"))
    decisions = decisions_of(joined(kept, given), images.paths)
    tracklet_names = _whole(images, decisions.same)
    tracks = tracks_of(images, tracklet_names)
    rows: list[tuple[int, str, int | str]] = [
        (int(first), kind, int(second))
        for kind, pairs in ((SAME, decisions.same), (DIFFERENT, decisions.different))
        for first, second in zip(pairs.first, pairs.second, strict=True)
    ]
    rows += [(image, NAME, name) for image, name in decisions.names.items()]
    constraints = Constraints.of(
        images.paths,
        tracks.same.joined(decisions.same),
        tracks.different.joined(decisions.different),
    )
    own = tracks.first if (tracks.first != np.arange(n)).any() else None
    return Decided(constraints, own, tracklet_names, decisions.names, rows, decisions.absent)


class Tracks(NamedTuple):
    """Tracklets of images.

    Attributes:
        same: Links of the images of a tracklet to its first one.
        different: Links of the first images of tracklets that overlap in time.
        first: (N,) first image of the tracklet of each image, itself without a tracklet.
        frames: (N,) frames, ``UNKNOWN`` where unknown.
    """

    same: Links
    different: Links
    first: Ints
    frames: Ints


def tracks_of(images: Labelled, names: Sequence[str | None]) -> Tracks:
    """Return the tracklets of images, which have these names."""
    columns = images.columns
    frames = [UNKNOWN if frame is None else int(frame) for frame in columns["frame"]]
    own = np.array(frames, dtype=np.int64)
    same, different = tracklet_links(
        numbered(names),
        numbered(columns["camera"]),
        numbered(columns["session"]),
        own,
        names=sorted({name for name in names if name is not None}),
    )
    first = np.arange(len(names))
    first[same.second] = same.first
    return Tracks(same, different, first, own)


def _whole(images: Labelled, same: Links) -> list[str | None]:
    """Return the names of tracklets (N,), whole where images of two pieces are the same."""
    keys = list(zip(*(images.columns[k] for k in ("camera", "session", "tracklet")), strict=True))
    wholes = [(*key[:2], whole_name(key[2] or "")) for key in keys]
    joined_again = {
        wholes[one]
        for one, other in zip(same.first.tolist(), same.second.tolist(), strict=True)
        if keys[one] != keys[other] and wholes[one] == wholes[other]
    }
    return [
        whole[2] if whole in joined_again and key[2] else key[2]
        for key, whole in zip(keys, wholes, strict=True)
    ]


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


def numbered(names: Sequence[str | None]) -> Ints:
    """Return numbers of names in sorted order; None is ``UNKNOWN``."""
    known = sorted({name for name in names if name is not None})
    numbers = {name: number for number, name in enumerate(known)}
    return np.array([UNKNOWN if v is None else numbers[v] for v in names], dtype=np.int64)
