"""Table of boxes that the readers of all formats fill, with the checks that all share."""

import json
import math
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dccc_lightning.errors import UserError

SCHEMA = pa.schema(
    [
        ("frame", pa.int64()),
        ("track", pa.string()),
        *((name, pa.float64()) for name in ("x1", "y1", "x2", "y2", "score")),
    ]
)

NO_TRACK = frozenset({"", "-1", "-1.0", "nan", "none"})
"""Texts of an id that mean no track, in lower case; ``0`` is a track."""

EXACT_DIGITS = 16
"""Significant digits with which a number in exponent notation has lost none."""

HUMAN = frozenset({"human", "person", "pedestrian"})
"""Words for one class: SpeciesNet writes human, MegaDetector person, MOT pedestrian."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Request:
    """Arguments of a reading beside the file.

    Attributes:
        size: Width and height of the upright picture in pixels, for formats with relative boxes.
        video: Name of the video, for files with several.
        vid_stride: Value of ultralytics' argument of this name when the file was written.
    """

    size: tuple[int, int] | None = None
    video: str | None = None
    vid_stride: int = 1

    def pixels(self, place: str) -> tuple[int, int]:
        """Return ``size``.

        Raises:
            UserError: It is None.
        """
        if self.size is None:
            raise UserError(
                f"{place}: boxes are relative to the picture; size=(WIDTH, HEIGHT) in pixels is "
                "needed"
            )
        return self.size


def track_name(value: object) -> str | None:
    """Return the id of a track as text, None if it says that there is no track.

    Raises:
        ValueError: Not an id: negative, fractional, or a number that has lost digits.

    >>> track_name(0), track_name("7.0"), track_name(-1), track_name(float("nan")), track_name("01")
    ('0', '7', None, None, '01')
    >>> track_name("1.23457e+06")  # from %g
    Traceback (most recent call last):
    ...
    ValueError: 1.23457e+06 is no id of a track: whole numbers from 0, -1 or empty for none
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (bool, list, dict)):
        raise ValueError(f"{value!r} is no id of a track")
    text = str(value).strip()
    if text.casefold() in NO_TRACK:
        return None
    if text.isdecimal():
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    mantissa, exponent, _ = text.lower().partition("e")
    has_lost_digits = bool(exponent) and sum(map(str.isdecimal, mantissa)) < EXACT_DIGITS
    if not number.is_integer() or has_lost_digits or (number < 0 and number != -1):
        raise ValueError(f"{text} is no id of a track: whole numbers from 0, -1 or empty for none")
    return None if number == -1 else str(int(number))


def enclosing(box: Box, degrees: float, pivot: tuple[float, float]) -> Box:
    """Return the upright box around a box turned clockwise about a point of the picture.

    >>> [round(value, 6) for value in enclosing((0, 0, 4, 2), 90, (0, 0))]
    [-2.0, 0.0, 0.0, 4.0]
    """
    if not degrees:
        return box
    x1, y1, x2, y2 = box
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [(x - pivot[0], y - pivot[1]) for x in (x1, x2) for y in (y1, y2)]
    xs = [pivot[0] + x * cosine - y * sine for x, y in corners]
    ys = [pivot[1] + x * sine + y * cosine for x, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


@dataclass(eq=False)
class Boxes:
    """Boxes read so far.

    Attributes:
        path: File, for messages.
        unit: Name of a row in messages.
        text_ids: Ids are any text, which is not parsed as a number.
        where: Function from the number of a row to its place; the default names path and unit.
        notes: Further parts of the line that reports the reading.
        size: Width and height that the file itself names.
        files: Names of the frames, if the file names them.
        end: Number of frames, if the file says it.
    """

    path: str
    unit: str = "line"
    text_ids: bool = False
    where: Callable[[int], str] | None = None
    notes: list[str] = field(default_factory=list)
    size: tuple[int, int] | None = None
    files: Sequence[str] = ()
    end: int | None = None
    _numbers: "array[int]" = field(default_factory=lambda: array("q"))
    _frames: "array[int]" = field(default_factory=lambda: array("q"))
    _values: "array[float]" = field(default_factory=lambda: array("d"))
    _tracks: list[str | None] = field(default_factory=list)
    _kinds: list[str] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._frames)

    def place(self, number: int) -> str:
        """Return the place of a row for a message."""
        return self.where(number) if self.where else f"{self.path!r}, {self.unit} {number}"

    def error(self, number: int, problem: object) -> UserError:
        """Return the one-line error for a row."""
        return UserError(f"{self.place(number)}: {problem}")

    def add(
        self,
        number: int,
        frame: object,
        track: object,
        box: Sequence[object],
        score: object = None,
        kind: object = "",
    ) -> None:
        """Add a box.

        Args:
            number: Number of the row in the file.
            frame: Frame, counted from 0.
            track: Id in any form, see ``track_name``.
            box: x1, y1, x2, y2 in pixels from 0.
            score: Score; None, ``""`` and NaN are unknown.
            kind: Class, for ``classes``.

        Raises:
            UserError: A value is not a number, the frame is negative, or the box ends before it
                begins.
        """
        try:
            name = str(track) if self.text_ids else track_name(track)
            x1, y1, x2, y2 = (float(value) for value in box)  # type: ignore[arg-type]
            certainty = math.nan if score in (None, "") else float(score)  # type: ignore[arg-type]
            whole = float(frame)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise self.error(number, error) from error
        if not whole.is_integer() or whole < 0:
            raise self.error(number, f"frame {frame} (counted from 0) is not a whole number >= 0")
        if not math.isfinite(x1 + y1 + x2 + y2):
            raise self.error(number, "the box has values that are not finite")
        if x2 < x1 or y2 < y1:
            raise self.error(
                number,
                f"a negative box, {x2 - x1:g} wide and {y2 - y1:g} high; is the format right?",
            )
        self._numbers.append(number)
        self._frames.append(int(whole))
        self._values.extend((x1, y1, x2, y2, certainty))
        self._tracks.append(None if name is None else self._names.setdefault(name, name))
        self._kinds.append(self._names.setdefault(str(kind), str(kind)))

    def table(self, classes: Collection[str] | None, metadata: Mapping[str, str]) -> pa.Table:
        """Return the boxes as a table.

        Args:
            classes: Classes to keep; None keeps all.
            metadata: Metadata of the table.

        Raises:
            UserError: One track has two boxes in a frame, or no box has a class of ``classes``.
        """
        rows = self._of_classes(classes)
        frames = np.frombuffer(self._frames, np.int64)[rows]
        values = np.frombuffer(self._values, np.float64).reshape(-1, 5)[rows]
        tracks = pa.array(self._tracks, pa.string()).take(pa.array(rows))
        self._check_unique(frames, tracks, rows)
        columns = [pa.array(frames), tracks, *(pa.array(column) for column in values[:, :4].T)]
        columns.append(pa.array(values[:, 4], from_pandas=True))  # NaN becomes null
        if self.files:
            metadata = {**metadata, "files": json.dumps(list(self.files))}
        if self.size:
            metadata = {**metadata, "size": f"{self.size[0]} x {self.size[1]}"}
        return pa.table(columns, schema=SCHEMA.with_metadata(metadata))

    @property
    def without_track(self) -> int:
        """Number of boxes without a track."""
        return self._tracks.count(None)

    def class_counts(self) -> str:
        """Return the classes with their numbers of boxes, the most frequent ones first."""
        counts = Counter(kind for kind in self._kinds if kind)
        shown = [f"{kind} {count:,}" for kind, count in counts.most_common(4)]
        return ", ".join(shown) + (", ..." if len(counts) > 4 else "")

    def _of_classes(self, classes: Collection[str] | None) -> NDArray[np.int64]:
        """Return the rows of ``classes``; person, human and pedestrian are one class."""
        if classes is None or not len(self):
            return np.arange(len(self), dtype=np.int64)
        wanted = {str(name).casefold() for name in classes}
        if wanted & HUMAN:
            wanted |= HUMAN
        kept = [row for row, kind in enumerate(self._kinds) if kind.casefold() in wanted]
        if not kept:
            found = self.class_counts() or "none"
            raise UserError(
                f"{self.path!r}: no box of the classes {', '.join(map(str, classes))}; "
                f"classes of the file: {found}; classes=null keeps all boxes"
            )
        return np.array(kept, dtype=np.int64)

    def _check_unique(
        self, frames: NDArray[np.int64], tracks: pa.Array, rows: NDArray[np.int64]
    ) -> None:
        codes = tracks.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
        known = np.flatnonzero(codes >= 0)
        order = known[np.lexsort((codes[known], frames[known]))]
        same = (np.diff(frames[order]) == 0) & (np.diff(codes[order]) == 0)
        if same.any():
            first = int(np.flatnonzero(same)[0])
            earlier, later = (self._numbers[int(rows[row])] for row in order[first : first + 2])
            raise UserError(
                f"{self.place(later)}: track {tracks[int(order[first])]} is in frame "
                f"{frames[order[first]]} (counted from 0) already, see {self.place(earlier)}; one "
                "id is one individual: is this the output of two runs, or of two cameras?"
            )
