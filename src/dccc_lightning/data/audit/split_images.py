"""Images of a dataset with their splits, for the checks of ``task=verify``."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from dccc_lightning.data.datasets.file_names import shown
from dccc_lightning.data.records import UNKNOWN, Splits

SPLITS = ("train", "query", "gallery")

VIEW = slice(3, 6)
"""Camera, session and tracklet of a ``SplitImage``."""


class SplitImage(NamedTuple):
    """An image of a split.

    Attributes:
        split: One of ``SPLITS``.
        name: Path relative to the dataset's folder, escaped for messages.
        identity: Number, or ``UNKNOWN``.
        camera: Number, or ``UNKNOWN``.
        session: Number, or ``UNKNOWN``.
        tracklet: Number, or ``UNKNOWN``.
    """

    split: str
    name: str
    identity: int
    camera: int
    session: int = UNKNOWN
    tracklet: int = UNKNOWN


def split_images(splits: Splits) -> Iterator[SplitImage]:
    """Yield the training, query and gallery images, in this order."""
    for split in SPLITS:
        records = getattr(splits, split)
        rows = zip(
            records.paths, records.identities.tolist(), records.cameras.tolist(),
            records.column("session").tolist(), records.column("tracklet").tolist(), strict=True,
        )  # fmt: skip
        for path, *labels in rows:
            inside = path.is_relative_to(splits.root)
            name = shown(path.relative_to(splits.root) if inside else path)
            yield SplitImage(split, name, *labels)


def is_match(query: SplitImage, other: SplitImage) -> bool:
    """Return True if evaluation counts a gallery image as a match of a query."""
    same = query.identity == other.identity != UNKNOWN
    return same and not is_one_sighting(query[VIEW], other[VIEW])


def is_one_sighting(view: Any, other: Any) -> Any:
    """Return True for images of one camera, session or tracklet, which is one of its camera.

    Args:
        view: Camera, session and tracklet of an image, or arrays of those of N images.
        other: The same of other images.
    """
    camera, session, tracklet = (
        (one == another, one != UNKNOWN) for one, another in zip(view, other, strict=True)
    )
    return (camera[0] & (camera[1] | (tracklet[0] & tracklet[1]))) | (session[0] & session[1])
