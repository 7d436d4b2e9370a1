"""Images of a dataset with their splits, for the checks of ``task=verify``."""

from collections.abc import Iterator
from typing import NamedTuple

from dccc_lightning.data.datasets.file_names import shown
from dccc_lightning.data.records import UNKNOWN, Splits

SPLITS = ("train", "query", "gallery")


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
    return query.identity == other.identity != UNKNOWN and not is_one_sighting(query, other)


def is_one_sighting(query: SplitImage, other: SplitImage) -> bool:
    """Return True if two images are of one camera, session or tracklet, which is of a camera."""
    return (
        query.camera == other.camera != UNKNOWN
        or query.session == other.session != UNKNOWN
        or (query.camera == other.camera and query.tracklet == other.tracklet != UNKNOWN)
    )
