"""Images of a dataset one by one, each with its split, as checks see them."""

from collections.abc import Iterator
from typing import NamedTuple

from dccc_lightning.data.datasets.file_names import shown
from dccc_lightning.data.records import UNKNOWN, Splits

SPLITS = ("train", "query", "gallery")


class SplitImage(NamedTuple):
    """An image of a split.

    Attributes:
        split: one of ``SPLITS``.
        name: path relative to the dataset's folder, as a message can hold it.
        identity: number, or ``UNKNOWN``.
        camera: number, or ``UNKNOWN``.
    """

    split: str
    name: str
    identity: int
    camera: int


def split_images(splits: Splits) -> Iterator[SplitImage]:
    """Yield the training, query and gallery images, in this order."""
    for split in SPLITS:
        records = getattr(splits, split)
        rows = zip(
            records.paths, records.identities.tolist(), records.cameras.tolist(), strict=True
        )
        for path, identity, camera in rows:
            inside = path.is_relative_to(splits.root)
            name = shown(path.relative_to(splits.root) if inside else path)
            yield SplitImage(split, name, identity, camera)


def is_right(query: SplitImage, other: SplitImage) -> bool:
    """Tell whether evaluation counts a gallery image as right for a query."""
    is_filtered = query.camera == other.camera != UNKNOWN
    return query.identity == other.identity != UNKNOWN and not is_filtered
