"""Constraints of a user: a CSV of decisions about pairs of images, and tracklets."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dccc_lightning.clustering.constraints import Constraints, Links
from dccc_lightning.clustering.tracklets import tracklet_links
from dccc_lightning.data.image_table import read_columns
from dccc_lightning.data.records import UNKNOWN, Records
from dccc_lightning.errors import UserError

TRACKLETS = "tracklets"
"""Value of ``clustering.constraints`` for the tracklets of the dataset."""

SAME, DIFFERENT, NAME = "same", "different", "name"
"""Decisions: of a pair of images, and the name of the individual on an image."""

_COLUMNS = ("first", "decision", "second")


class Decisions(NamedTuple):
    """Decisions about images.

    Attributes:
        same: Pairs of images of one individual.
        different: Pairs of images of different individuals.
        names: Name of the individual by image.
        absent: Number of decisions about images that are not among these.
    """

    same: Links
    different: Links
    names: dict[int, str]
    absent: int


class DecisionRow(NamedTuple):
    """A row of a file of decisions.

    Attributes:
        first: Absolute path of an image.
        decision: ``SAME``, ``DIFFERENT`` or ``NAME``.
        second: Absolute path of another image, or the name.
        place: Row and file, for messages.
    """

    first: str
    decision: str
    second: str
    place: str


def read_rows(file: Path) -> list[DecisionRow]:
    """Read a CSV with the columns first (an image), decision and second (an image, or the name).

    Paths are absolute or relative to the folder of the file.

    Args:
        file: CSV or Parquet file.

    Raises:
        UserError: The file cannot be read, a row is incomplete, or an image is different from
            itself.
    """
    table = read_columns(file, _COLUMNS, ())
    found = []
    rows = zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True)
    for number, (first, decision, second) in enumerate(rows, 1):
        if decision not in (SAME, DIFFERENT, NAME) or not first or not second:
            raise UserError(
                f"{file}, row {number}: needs two images with same or different between, or an "
                f"image, name and the name; got {first}, {decision}, {second}"
            )
        one, other = (_absolute(file, cell) for cell in (first, second))
        if one == other and decision == DIFFERENT:
            raise UserError(
                f"{file}, row {number}: {first} is one image, not two different ones; correct or "
                "remove the row"
            )
        own = second if decision == NAME else other
        found.append(DecisionRow(one, decision, own, f"row {number} of {file}"))
    return found


def decisions_of(rows: Sequence[DecisionRow], paths: Sequence[str]) -> Decisions:
    """Return the decisions about images.

    Args:
        rows: Rows of files.
        paths: Absolute paths of the images; decisions about others are left out and counted.

    Raises:
        UserError: An image has two names.
    """
    places = {path: place for place, path in enumerate(paths)}
    pairs: Mapping[str, list[tuple[int, int, str]]] = {SAME: [], DIFFERENT: []}
    names: dict[int, str] = {}
    absent = 0
    for first, decision, second, place in rows:
        one = places.get(first)
        other = None if decision == NAME else places.get(second)
        if one is None or (other is None and decision != NAME):
            absent += 1
        elif other is not None:
            pairs[decision].append((one, other, place))
        elif names.setdefault(one, second) != second:
            raise UserError(f"{place}: {first} has the name {names[one]} already")
    return Decisions(Links.of(pairs[SAME]), Links.of(pairs[DIFFERENT]), names, absent)


def constraints_of(source: object, records: Records) -> Constraints | None:
    """Return the constraints of training images.

    Args:
        source: Value of ``clustering.constraints``: None, a file, ``TRACKLETS``, or several.
        records: Training images.

    Raises:
        UserError: A file is invalid or about other images, there are no tracklets, or constraints
            contradict each other.
    """
    entries = source if isinstance(source, list) else [] if source is None else [source]
    if not entries:
        return None
    paths = [os.path.abspath(path) for path in records.paths]  # noqa: PTH100  (without ..)
    same = different = Links.of([])
    for entry in map(str, entries):
        if entry == TRACKLETS:
            tracklets = records.column("tracklet")
            if (tracklets == UNKNOWN).all():
                raise UserError(
                    "clustering.constraints=tracklets: the training images have no tracklets"
                )
            found = tracklet_links(
                tracklets, records.cameras, records.column("session"), records.column("frame")
            )
        else:
            decisions = decisions_of(read_rows(Path(entry).expanduser()), paths)
            found = decisions.same, decisions.different
            if not len(found[0].first) + len(found[1].first):
                raise UserError(
                    f"clustering.constraints={entry}: no row is about two of these images"
                )
        same, different = same.joined(found[0]), different.joined(found[1])
    return Constraints.of(paths, same, different)


def _absolute(file: Path, path: str) -> str:
    return os.path.abspath(file.parent / Path(path).expanduser())  # noqa: PTH100  (without ..)
