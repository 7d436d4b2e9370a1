"""CocoVID (mmtracking): videos, images with frame_id, annotations with instance_id."""

from dccc_lightning.data.tracks import coco_rows
from dccc_lightning.data.tracks.track_boxes import Boxes, Request
from dccc_lightning.data.tracks.track_source import TrackSource


def fits(source: TrackSource) -> bool:
    """Return True for a JSON object with videos and without tracks, with frame_id from 0."""
    return _is_cocovid(source) and _first(source) < 2


def fits_unclear(source: TrackSource) -> bool:
    """Return True if no frame_id is 0 or 1, so that the base is unknown."""
    return _is_cocovid(source) and _first(source) >= 2


def read(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read one video; frames are from 1 if the first frame_id of the file is 1."""
    _read(source, boxes, request, int(_first(source) == 1))


def read_from_0(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read one video with frames from 0."""
    _read(source, boxes, request, 0)


def read_from_1(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read one video with frames from 1."""
    _read(source, boxes, request, 1)


def _read(source: TrackSource, boxes: Boxes, request: Request, first: int) -> None:
    boxes.notes.append(f"frame_id from {first}")
    coco_rows.add_video(source, boxes, request, "frame_id", first)


def _is_cocovid(source: TrackSource) -> bool:
    return coco_rows.has(source, "videos", "images") and not coco_rows.has(source, "tracks")


def _first(source: TrackSource) -> int:
    numbers = [image.get("frame_id") for image in coco_rows.listed_rows(source, "images")]
    return min((number for number in numbers if isinstance(number, int)), default=0)
