"""Constraints of ``task=identify``: tracklets of the images, and decisions of a person."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.clustering.constraint_file import DIFFERENT, NAME, SAME, read_decisions
from dccc_lightning.clustering.constraints import Constraints
from dccc_lightning.clustering.tracklets import tracklet_links
from dccc_lightning.common.console import CONSOLE, counted
from dccc_lightning.config.instantiate import Settings
from dccc_lightning.data.records import UNKNOWN
from dccc_lightning.errors import UserError
from dccc_lightning.tasks.identify_inputs import Images
from dccc_lightning.tasks.inputs import path_of

Ints = NDArray[np.int64]


class Decided(NamedTuple):
    """Constraints of images, and the decisions among them.

    Attributes:
        constraints: Of tracklets and decisions.
        names: Names by image.
        rows: Decisions (image, decision, image or name).
    """

    constraints: Constraints
    names: dict[int, str]
    rows: list[tuple[int, str, int | str]]


def decided(settings: Settings, images: Images) -> Decided:
    """Return the constraints and names that tracklets and decisions give.

    Raises:
        UserError: The decisions are invalid, about other images, or contradict each other.
    """
    columns = images.columns
    frames = [UNKNOWN if frame is None else int(frame) for frame in columns["frame"]]
    tracklets = columns["tracklet"]
    same, different = tracklet_links(
        numbered(tracklets),
        numbered(columns["camera"]),
        numbered(columns["session"]),
        np.array(frames, dtype=np.int64),
        names=sorted({name for name in tracklets if name is not None}),
    )
    if settings["decisions"] is None:
        return Decided(Constraints.of(images.paths, same, different), {}, [])
    decisions = read_decisions(path_of(settings, "decisions"), images.paths)
    if decisions.absent:
        CONSOLE.print(
            f"note: {counted(decisions.absent, 'decision')} of decisions={settings['decisions']} "
            "left out, about images that are not here"
        )
    links = same.joined(decisions.same), different.joined(decisions.different)
    rows: list[tuple[int, str, int | str]] = [
        (int(first), kind, int(second))
        for kind, pairs in ((SAME, decisions.same), (DIFFERENT, decisions.different))
        for first, second in zip(pairs.first, pairs.second, strict=True)
    ]
    rows += [(image, NAME, name) for image, name in decisions.names.items()]
    return Decided(Constraints.of(images.paths, *links), decisions.names, rows)


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
