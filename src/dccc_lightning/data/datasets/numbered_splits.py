"""Splits with numbered labels, from the labels of images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from dccc_lightning.data.datasets.image_labels import GALLERY, QUERY, TRAIN, ImageLabels
from dccc_lightning.data.datasets.label_numbers import (
    CameraNumbers,
    are_numbers,
    column_numbers,
    names_of,
    records_of,
)
from dccc_lightning.data.records import UNKNOWN, Records, Splits
from dccc_lightning.errors import UserError


def numbered_splits(
    name: str,
    home: Path,
    images: Mapping[str, Sequence[ImageLabels]],
    cameras: CameraNumbers,
    *,
    one_numbering: bool,
    keeps_numbers: bool,
    layout: str,
    protocol: str,
) -> Splits:
    """Return splits whose training and test identities are disjoint.

    Identities that are numbers keep them, unless training and test share some: then those of query
    and gallery are shifted by the same offset. Identities with names are numbered in sorted order,
    those of training first.

    Args:
        name: Name of the dataset.
        home: Dataset's folder.
        images: Images of train, query and gallery.
        cameras: Numbers of the cameras.
        one_numbering: True if an identity means the same in training and test; renumbered ones are
            then listed in ``Splits.shared_identities``.
        keeps_numbers: False if identities have names even if they look like numbers.
        layout: Value of ``Splits.layout``.
        protocol: Value of ``Splits.protocol``.
    """
    parts = [images[split] for split in (TRAIN, QUERY, GALLERY)]
    every = [image for part in parts for image in part]
    numbers, camera_names = cameras.numbered([image.camera for image in every])
    columns = column_numbers(every)
    trained = {image.identity for image in parts[0]} - {""}
    tested = {image.identity for image in (*parts[1], *parts[2])} - {""}
    identity_names: tuple[str, ...] = ()
    if keeps_numbers and are_numbers(trained | tested):
        train_numbers = {identity: int(identity) for identity in trained}
        test_numbers = {identity: int(identity) for identity in tested}
        shared = sorted(set(train_numbers.values()) & set(test_numbers.values()))
        if shared:
            offset = max(train_numbers.values()) + 1
            test_numbers = {identity: n + offset for identity, n in test_numbers.items()}
    else:
        train_numbers, test_numbers = names_of(trained), names_of(tested)
        test_numbers = {identity: n + len(trained) for identity, n in test_numbers.items()}
        identity_names = (*train_numbers, *test_numbers)
        shared = [train_numbers[identity] for identity in sorted(trained & tested)]
    train, query, gallery = (
        records_of(home, part, test_numbers if position else train_numbers, numbers, columns)
        for position, part in enumerate(parts)
    )
    return Splits(
        name,
        home,
        train,
        query,
        gallery,
        camera_names=camera_names,
        identity_names=identity_names,
        column_names={
            name: tuple(names)
            for name, names in columns.items()
            if name != "frame" and not are_numbers(names)
        },
        layout=layout,
        shared_identities=tuple(shared) if one_numbering else None,
        protocol=protocol,
    )


def require_images(splits: Splits, expected: str, needed: Sequence[str]) -> None:
    """Raise an error if a split has no images, or the gallery has no match for any query.

    Raises:
        UserError: A needed split is empty.
    """
    for split in needed:
        if not len(getattr(splits, split)):
            raise UserError(
                f"{splits.name}: no images for the {split} split in {splits.root}; "
                f"expected {expected}; set dataset.root"
            )


def require_match(splits: Splits) -> None:
    """Raise an error if there is a test split, but no query has a match.

    Raises:
        UserError: No query has a match in the gallery under another or an unknown camera.
    """
    query, gallery = splits.query, splits.gallery
    if not len(query) and not len(gallery):
        return
    seen: dict[int, set[tuple[int, int]]] = {}
    views = _views(query.joined(gallery))
    for identity, *view in views[len(query) :]:
        seen.setdefault(identity, set()).add((view[0], view[1]))
    for identity, camera, sighting in views[: len(query)]:
        if identity != UNKNOWN and any(
            (camera == UNKNOWN or camera != other) and (sighting == UNKNOWN or sighting != another)
            for other, another in seen.get(identity, ())
        ):
            return
    raise UserError(
        f"{splits.name}: {len(query)} query and {len(gallery)} gallery images, but no query has a "
        "match in the gallery under another camera and in another session or tracklet; correct the "
        "splits, or leave them out"
    )


def _views(records: Records) -> list[tuple[int, int, int]]:
    """Return (identity, camera, sighting) of each image."""
    labels = records.identities, records.cameras, records.sightings()
    return list(zip(*(values.tolist() for values in labels), strict=True))
