"""Numbers of identities, cameras and other labels, from texts."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.data.datasets.image_labels import ImageLabels
from dccc_lightning.data.datasets.row_files import plain
from dccc_lightning.data.records import COLUMNS, UNKNOWN, Records

NUMBER = re.compile(r"-?\d{1,9}", re.ASCII)
_MOMENT = re.compile(r"-?\d{1,18}(\.\d{1,18})?", re.ASCII)


def names_of(labels: Iterable[str]) -> dict[str, int]:
    """Return numbers of the distinct labels in sorted order, without the empty one.

    >>> names_of(["b", "", "a", "b"])
    {'a': 0, 'b': 1}
    """
    return {label: number for number, label in enumerate(sorted(set(labels) - {""}))}


def numbers_of(labels: Sequence[str], names: Mapping[str, int]) -> NDArray[np.int64]:
    """Return the numbers of labels, ``UNKNOWN`` for the empty one."""
    return np.array([names.get(label, UNKNOWN) for label in labels], dtype=np.int64)


def are_numbers(labels: Iterable[str]) -> bool:
    """Return True if every known label is a number.

    >>> are_numbers(["0007", "-1", ""]), are_numbers(["7", "cam_a"])
    (True, False)
    """
    return all(NUMBER.fullmatch(label) for label in set(labels) - {""})


class CameraNumbers:
    """Numbers of cameras, counted from 0.

    Args:
        cameras: Cameras in the order of their numbers, or a number for each; None if they are
            counted from 1 or have names.

    Raises:
        TypeError: ``cameras`` is neither a list nor a mapping to numbers.
    """

    def __init__(self, cameras: object = None) -> None:
        if isinstance(cameras, (list, tuple)):
            cameras = {name: number for number, name in enumerate(cameras)}
        if cameras is not None and not (
            isinstance(cameras, Mapping) and all(isinstance(n, int) for n in cameras.values())
        ):
            raise TypeError(f"cameras must be [NAMES] or {{NAME: NUMBER}}, got {cameras!r}")
        self._numbers = cameras and {plain(name): number for name, number in cameras.items()}

    def refuses(self, camera: str) -> bool:
        """Return True for a camera that is not listed, or 0 where cameras count from 1."""
        return bool(camera) and (
            plain(camera) not in self._numbers
            if self._numbers
            else NUMBER.fullmatch(camera) is not None and int(camera) < 1
        )

    def numbered(self, cameras: Sequence[str]) -> tuple[dict[str, int], tuple[str, ...]]:
        """Return the number of each camera, and the names of cameras without numbers."""
        if self._numbers:
            return {camera: self._numbers[plain(camera)] for camera in set(cameras) - {""}}, ()
        if are_numbers(cameras):
            return {camera: int(camera) - 1 for camera in set(cameras) - {""}}, ()
        names = names_of(cameras)
        return names, tuple(names)


def records_of(
    root: Path,
    images: Sequence[ImageLabels],
    identities: Mapping[str, int],
    cameras: Mapping[str, int],
    columns: Mapping[str, Mapping[str, int]],
) -> Records:
    """Return records of images, with the numbers of their labels."""
    return Records(
        tuple(root / image.path for image in images),
        numbers_of([image.identity for image in images], identities),
        numbers_of([image.camera for image in images], cameras),
        {
            name: numbers_of([getattr(image, name) for image in images], numbers)
            for name, numbers in columns.items()
        },
    )


def column_numbers(
    images: Sequence[ImageLabels], counted: Collection[str] = COLUMNS
) -> dict[str, dict[str, int]]:
    """Return the numbers of the labels of each column that has any.

    Frames that are numbers are in the order of their values: whole ones from 0 keep them, others,
    such as seconds, are numbered from 0.

    Args:
        images: Images of all splits.
        counted: Columns whose labels keep their numbers if all are numbers; the labels of others
            are numbered in sorted order.
    """
    found: dict[str, dict[str, int]] = {}
    for name in COLUMNS:
        labels = sorted({getattr(image, name) for image in images} - {""})
        if not labels:
            continue
        if name == "frame" and all(map(_MOMENT.fullmatch, labels)):
            found[name] = _in_time(labels)
        elif name in counted and are_numbers(labels) and labels[0] >= "0":
            found[name] = {label: int(label) for label in labels}
        else:
            found[name] = names_of(labels)
    return found


def _in_time(frames: Iterable[str]) -> dict[str, int]:
    """Return numbers of frames in the order of their values.

    >>> _in_time(["10", "9.0"]), _in_time(["10.5", "9.25", "9.250"])
    ({'10': 10, '9.0': 9}, {'10.5': 1, '9.25': 0, '9.250': 0})
    """
    values = {frame: Decimal(frame) for frame in frames}
    if all(value >= 0 and value == int(value) for value in values.values()):
        return {frame: int(value) for frame, value in values.items()}
    ranks = {value: rank for rank, value in enumerate(sorted(set(values.values())))}
    return {frame: ranks[value] for frame, value in values.items()}
