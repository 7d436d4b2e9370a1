"""Rows of numbers in the order of MOTChallenge, which several programs write with other meanings.

Frame and id come first, then left, top, width and height. The formats differ in the base of pixels
and frames, and in the columns from the seventh.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from dccc_lightning.data.tracks.track_boxes import Boxes
from dccc_lightning.data.tracks.track_source import TrackSource
from dccc_lightning.errors import UserError

FLAG = 6
"""Position of the column that is a flag in ground truth and a score elsewhere."""


def is_flag(source: TrackSource) -> bool:
    """Return True if the seventh column is 0 or 1 throughout, and not always 0."""
    found = {_number(cells[FLAG]) for _, cells in source.cells()}
    return 1 in found and found <= {0, 1}


def has_labels(source: TrackSource) -> bool:
    """Return True if labels.txt lies beside the file, as CVAT and datumaro write it."""
    return not source.is_folder and (source.path.parent / "labels.txt").is_file()


def has_zero_id(source: TrackSource) -> bool:
    """Return True if an id is 0, as boxmot and trackers write, and MOTChallenge never."""
    return any(_number(cells[1]) == 0 for _, cells in source.cells())


def add_rows(
    source: TrackSource,
    boxes: Boxes,
    *,
    first_pixel: int,
    first_frame: int = 1,
    flag: bool = False,
    score: bool = True,
    classes: tuple[str, ...] | None = None,
) -> None:
    """Add the rows of a file.

    Args:
        source: File.
        boxes: Boxes to add to.
        first_pixel: Number of the first pixel in the file.
        first_frame: Number of the first frame in the file.
        flag: The seventh column is 0 in rows that do not count, which are left out.
        score: The seventh column, if any, is a score; -1 is none.
        classes: Names of the classes in column 8, from 1; an empty tuple for numbers, None if
            there is no class.

    Raises:
        UserError: A row is invalid, or there are no rows.
    """
    if not source.width:
        raise UserError(f"{source.name!r}: no rows of numbers between commas")
    left_out = 0
    for number, cells in source.cells():
        try:
            frame, x, y, w, h = (float(cells[position]) for position in (0, 2, 3, 4, 5))
            seventh = float(cells[FLAG]) if len(cells) > FLAG else -1.0
            kind = "" if classes is None else class_name(cells[FLAG + 1], classes)
        except (ValueError, IndexError) as error:
            raise boxes.error(number, error) from error
        if flag and seventh == 0:
            left_out += 1
            continue
        if frame < first_frame:
            raise boxes.error(
                number,
                f"frame {frame:g}, but this format counts from {first_frame}; correct the frames, "
                "or choose another format",
            )
        x, y = x - first_pixel, y - first_pixel
        certainty = seventh if score and seventh != -1 else None
        boxes.add(number, frame - first_frame, cells[1], (x, y, x + w, y + h), certainty, kind)
    if left_out:
        boxes.notes.append(f"{left_out:,} rows with flag 0 left out")


def class_name(text: str, names: tuple[str, ...]) -> str:
    """Return the name of a class by its number from 1, the number itself if it has none.

    >>> class_name("2.0", ("person", "car")), class_name("7", ()), class_name("-1", ("person",))
    ('car', '7', '-1')
    """
    number = int(float(text))
    return names[number - 1] if 0 < number <= len(names) else str(number)


def labels_beside(path: Path) -> tuple[str, ...]:
    """Return the class names in labels.txt beside a file, an empty tuple if it is missing."""
    labels = path.parent / "labels.txt"
    return tuple(map(str.strip, labels.read_text().splitlines())) if labels.is_file() else ()


def numbers_of(source: TrackSource, column: int) -> Iterator[float | None]:
    """Yield a column as numbers, None where it is not one."""
    return (_number(cells[column]) for _, cells in source.cells())


@lru_cache(maxsize=4096)
def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
