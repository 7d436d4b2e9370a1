"""Reading of boxes and tracks in any of the formats, with the reading taken in one line."""

import json
import logging
import os
from collections.abc import Collection, Sequence

import pyarrow as pa

from dccc_lightning.common import checks
from dccc_lightning.common.console import counted
from dccc_lightning.data.tracks.track_boxes import Boxes, Request
from dccc_lightning.data.tracks.track_formats import FORMATS
from dccc_lightning.data.tracks.track_source import TrackSource
from dccc_lightning.errors import UserError

log = logging.getLogger(__name__)

AUTO = "auto"


def read_tracks(
    path: str | os.PathLike[str],
    format: str = AUTO,
    size: Sequence[int] | None = None,
    *,
    classes: Collection[str] | None = None,
    video: str | os.PathLike[str] | None = None,
    vid_stride: int = 1,
) -> pa.Table:
    """Read the boxes of one video from the file or folder that a detector or tracker wrote.

    The reading taken is logged in one line, and is the metadata ``reading`` of the table.

    Args:
        path: File, or folder of ultralytics' label files.
        format: Key of ``track_formats.FORMATS``; ``auto`` tells the format from the content.
        size: Width and height of the upright picture in pixels, for formats with relative boxes.
        classes: Class or classes to keep, as the file names them; None keeps all.
        video: Name of the video, if the file has boxes of several.
        vid_stride: Value of ultralytics' argument of this name when the file was written.

    Returns:
        Table with the columns frame (from 0), track (text; null where there is none), x1, y1, x2,
        y2 (pixels from 0 of the upright picture, as in the file: possibly outside of it) and score
        (null where unknown), in the order of the file.

    Raises:
        UserError: The file cannot be read, its format is unknown or ambiguous, or a row is
            invalid.
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
    """
    checks.choice("format", format, (AUTO, *FORMATS))
    classes = [classes] if isinstance(classes, str) else classes
    request = Request(
        None if size is None else _checked_size(size),
        None if video is None else os.fspath(video),
        checks.integer("vid_stride", vid_stride, 1),
    )
    source = TrackSource(path)
    boxes = Boxes(source.name)
    if source.is_empty:
        name, reading = format, f"{source.name!r} is empty: 0 boxes"
    else:
        name = _format_of(source) if format == AUTO else format
        if vid_stride > 1 and not name.startswith("ultralytics"):
            raise UserError(
                f"vid_stride={vid_stride}: is for label files of ultralytics, but {source.name!r} "
                f"is read as {FORMATS[name].title}; omit it"
            )
        _fill(name, source, boxes, request)
        reading = _reading(name, boxes)
    table = boxes.table(classes, {"format": name, "reading": reading})
    log.info("%s", reading)
    return table


def frames_named(table: pa.Table) -> list[str] | None:
    """Return the names of all frames, None if the file of boxes did not name them."""
    names = (table.schema.metadata or {}).get(b"files")
    return None if names is None else json.loads(names)


def _fill(name: str, source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read a file in a format.

    Raises:
        UserError: A row is invalid, or the file is built otherwise.
    """
    if FORMATS[name].is_json and source.json is None:
        raise UserError(
            f"{source.name!r}: no JSON, but format={name} ({FORMATS[name].title}) is; omit "
            "format=, which the content tells"
        )
    try:
        FORMATS[name].read(source, boxes, request)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(
            f"{source.name!r} is not in the format {name} ({FORMATS[name].title}): {reason}"
        ) from error


def _checked_size(size: Sequence[int]) -> tuple[int, int]:
    if isinstance(size, str) or len(size) != 2:
        raise ValueError(f"size must be width and height in pixels, got {size!r}")
    width, height = (checks.integer("size", int(side), 1) for side in size)
    return width, height


def _format_of(source: TrackSource) -> str:
    """Return the only format that fits.

    Raises:
        UserError: No format or several formats fit.
    """
    fitting = [name for name, known in FORMATS.items() if known.fits(source)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        choices = ", or ".join(f"format={name} ({FORMATS[name].title})" for name in fitting)
        raise UserError(f"{source.name!r} can be read in several ways: set {choices}")
    if source.width == 6:
        raise UserError(
            f"{source.name!r}: 6 columns can be read in several ways: set format=mot15 (frame, id, "
            "left, top, width, height, pixels from 1), or format=trackers (the same from 0); of "
            "ultralytics' label files give the folder, and format=ultralytics_id or "
            "format=ultralytics_conf"
        )
    if source.is_folder:
        raise UserError(
            f"{source.name!r}: no boxes in this folder, neither gt/gt.txt nor NAME_1.txt, ... of "
            "ultralytics; give the file of boxes"
        )
    columns = f", {source.width} columns of numbers" if source.width else ""
    raise UserError(
        f"{source.name!r}: no known format of tracks{columns}; format= is one of "
        f"{', '.join(FORMATS)}"
    )


def _reading(name: str, boxes: Boxes) -> str:
    parts = [
        f"{boxes.path!r} read as {FORMATS[name].title}",
        *boxes.notes,
        counted(len(boxes), "box", "boxes"),
    ]
    if boxes.without_track:
        parts[-1] += f", {boxes.without_track:,} without a track"
    if counts := boxes.class_counts():
        parts.append(f"classes: {counts}")
    return "; ".join(parts)
