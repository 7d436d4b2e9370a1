"""Label files of ultralytics' save_txt: a folder with NAME_12.txt for the 12th frame seen."""

import re
from collections.abc import Iterator
from pathlib import Path

from dccc_lightning.data.tracks.track_boxes import Boxes, Request
from dccc_lightning.data.tracks.track_source import TrackSource, text_of
from dccc_lightning.data.tracks.video_choice import chosen_video
from dccc_lightning.errors import UserError

NUMBERED = re.compile(r"(.+)_(\d+)\.txt")
WIDTHS = {5, 6, 7}
LINES = 1 << 20
"""Factor of the file in the number of a row: no label file has as many lines."""


def fits(source: TrackSource) -> bool:
    """Return True for a folder of label files, unless a sixth column may be an id or a score."""
    return bool(found := _widths(source)) and found <= WIDTHS and not fits_sixth(source)


def fits_sixth(source: TrackSource) -> bool:
    """Return True for a folder where a sixth column may be an id or a score."""
    return _widths(source) in ({6}, {5, 6})


def read(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read rows of 5 to 7 columns; of 6 beside 7, the sixth is the score.

    Raises:
        UserError: A sixth column may be an id or a score, or rows are of several runs.
    """
    if fits_sixth(source):
        raise UserError(
            f"{source.name!r}: the sixth column is an id or a score; set "
            "format=ultralytics_id or format=ultralytics_conf"
        )
    if {5, 7} <= _widths(source):
        raise UserError(
            f"{source.name!r}: rows with and without scores; save_txt appends to files of an "
            "earlier run: remove these and run it again"
        )
    _read(source, boxes, request, sixth_is_id=False)


def read_id(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read rows of 5 or 6 columns, the sixth is the id."""
    _read(source, boxes, request, sixth_is_id=True)


def read_conf(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read rows of 5 or 6 columns, the sixth is the score."""
    _read(source, boxes, request, sixth_is_id=False)


def _read(source: TrackSource, boxes: Boxes, request: Request, sixth_is_id: bool) -> None:
    width, height = request.pixels(repr(source.name))
    files = _files_of_video(source, boxes, request)
    boxes.where = lambda number: f"{str(files[number // LINES][1])!r}, line {number % LINES}"
    for position, (frame, path) in enumerate(files):
        seen: dict[str, int] = {}
        for line, cells in _rows(path):
            number = position * LINES + line
            if (earlier := seen.setdefault(" ".join(cells), line)) != line:
                raise boxes.error(
                    number,
                    f"repeats line {earlier}; save_txt appends to files of an earlier run: "
                    "remove these and run it again",
                )
            if len(cells) not in WIDTHS:
                raise boxes.error(number, f"{len(cells)} columns; 5 to 7 are boxes")
            try:
                x, y, w, h = (float(cell) for cell in cells[1:5])
            except ValueError as error:
                raise boxes.error(number, error) from error
            score = cells[5] if len(cells) == 7 or (len(cells) == 6 and not sixth_is_id) else None
            track = cells[-1] if len(cells) == 7 or (len(cells) == 6 and sixth_is_id) else None
            box = (
                (x - w / 2) * width, (y - h / 2) * height,
                (x + w / 2) * width, (y + h / 2) * height,
            )  # fmt: skip
            boxes.add(number, frame, track, box, score, cells[0])
    boxes.notes.append(f"vid_stride={request.vid_stride}")


def _files_of_video(source: TrackSource, boxes: Boxes, request: Request) -> list[tuple[int, Path]]:
    """Return the frame and the label file of each frame of one video, in order.

    Raises:
        UserError: No folder, files are not numbered as frames, or several videos and none is
            chosen.
    """
    if not source.is_folder:
        raise UserError(f"{source.name!r}: a file; give the folder of the label files")
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in _label_files(source):
        match = NUMBERED.fullmatch(path.name)
        if match is None or match[2].startswith("0"):
            raise UserError(
                f"{str(path)!r}: no NAME_1.txt, NAME_2.txt, ..., as ultralytics names the frames "
                "of a video; labels of single images have no frame numbers: run it on the video"
            )
        frame = int(match[2]) * request.vid_stride - 1
        found.setdefault(match[1], []).append((frame, path))
    if not found:  # no file is written for a frame without boxes
        return []
    return sorted(found[chosen_video(boxes, list(found), request.video)])


def _widths(source: TrackSource) -> set[int]:
    if not source.is_folder:
        return set()
    return {len(cells) for path in _label_files(source) for _, cells in _rows(path)}


def _label_files(source: TrackSource) -> list[Path]:
    return [p for p in sorted(source.path.glob("*.txt")) if p.name != "classes.txt"]


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text_of(path).splitlines(), 1):
        if cells := line.split():
            yield number, cells
