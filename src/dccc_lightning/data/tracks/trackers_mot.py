"""Rows of the package ``trackers``: 10 columns as MOT15, but pixels and ids from 0."""

import re

from dccc_lightning.data.tracks import mot_rows
from dccc_lightning.data.tracks.track_boxes import Boxes, Request
from dccc_lightning.data.tracks.track_source import TrackSource

PIXELS = re.compile(r"-?\d+\.\d\d")
SCORE = re.compile(r"\d\.\d{4}")


def fits(source: TrackSource) -> bool:
    """Return True for 10 columns that end in -1, with an id 0 or the decimals of this writer."""
    return (
        source.width == 10
        and all(cells[7:] == ["-1", "-1", "-1"] for _, cells in source.cells())
        and (mot_rows.has_zero_id(source) or all(_is_written_so(c) for _, c in source.cells()))
    )


def read(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read the rows."""
    mot_rows.add_rows(source, boxes, first_pixel=0)


def _is_written_so(cells: list[str]) -> bool:
    return all(map(PIXELS.fullmatch, cells[2:6])) and SCORE.fullmatch(cells[6]) is not None
