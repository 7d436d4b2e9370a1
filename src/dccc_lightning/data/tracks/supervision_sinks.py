"""Files of supervision's CSVSink and JSONSink."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from dccc_lightning.data.tracks.track_boxes import Boxes, Request
from dccc_lightning.data.tracks.track_source import SUPERVISION, TrackSource
from dccc_lightning.errors import UserError

FRAMES = ("frame", "frame_index", "frame_idx", "frame_id", "frame_number")
"""Names of a column of frames; supervision itself writes none."""


def fits(source: TrackSource) -> bool:
    """Return True for a CSV header or JSON objects with x_min, y_min, x_max and y_max."""
    return bool(source.header) or set(SUPERVISION) <= set(source.first)


def read(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read the boxes; the frames are those of the user's column, counted from 0.

    Raises:
        UserError: There is no column of frames, or several.
    """
    column = _frame_column(source)
    boxes.notes.append(f"column {column} counted from 0")
    boxes.unit = "line" if source.header else "detection"
    for number, row in _rows(source):
        try:
            box = [row[name] for name in SUPERVISION]
            frame = row[column]
        except KeyError as error:
            raise boxes.error(number, f"no {error.args[0]}") from error
        boxes.add(
            number, frame, row.get("tracker_id"), box, row.get("confidence"), row.get("class_id")
        )


def _frame_column(source: TrackSource) -> str:
    columns = source.header or list(source.first)
    found = [name for name in FRAMES if name in columns]
    if len(found) == 1:
        return found[0]
    problem = f"the columns {' and '.join(found)}" if found else "no column of frames"
    raise UserError(
        f"{source.name!r}: {problem}; one of {', '.join(FRAMES)} is needed, as in "
        'sink.append(detections, {"frame": n}) with n from 0'
    )


def _rows(source: TrackSource) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if not source.header:
        for number, row in enumerate(source.json, 1):
            if not isinstance(row, dict):
                raise UserError(f"{source.name!r}, detection {number}: no JSON object")
            yield number, row
        return
    lines = csv.reader(io.StringIO(source.content, newline=""))
    next(lines)
    for cells in lines:
        if len(cells) != len(source.header):
            if not cells:
                continue
            raise UserError(
                f"{source.name!r}, line {lines.line_num}: {len(cells)} cells, the header has "
                f"{len(source.header)}; is the file whole?"
            )
        yield lines.line_num, dict(zip(source.header, cells, strict=True))
