"""Boxes relative to the picture in JSON, shared by MegaDetector and SpeciesNet."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from dccc_lightning.data.natural_order import natural_key
from dccc_lightning.data.tracks.track_boxes import Box, Boxes, Request
from dccc_lightning.data.tracks.video_choice import chosen_video


def pixel_box(bbox: Sequence[float], size: tuple[int, int]) -> Box:
    """Return the corners in pixels of x, y, width and height from 0 to 1.

    >>> pixel_box([0.5, 0.25, 0.25, 0.5], (640, 480))
    (320.0, 120.0, 480.0, 360.0)
    """
    x, y, w, h = bbox
    return x * size[0], y * size[1], (x + w) * size[0], (y + h) * size[1]


def frames_of_folder(names: Sequence[str], request: Request, boxes: Boxes) -> dict[str, int]:
    """Return the frame of each image of one folder: its position in natural order.

    Args:
        names: Paths of all images in the file.
        request: Its video is the folder.
        boxes: Receives the names of the frames and a note.

    Raises:
        UserError: The images are of several folders, and none is chosen.
    """
    folders = sorted({str(PurePosixPath(name).parent) for name in names})
    folder = chosen_video(boxes, folders, request.video) if len(folders) > 1 else folders[0]
    inside = [name for name in names if str(PurePosixPath(name).parent) == folder]
    inside.sort(key=natural_key)
    boxes.files = [PurePosixPath(name).name for name in inside]
    boxes.notes.append(f"frames are the {len(inside):,} images in the order of their names")
    return {name: position for position, name in enumerate(inside)}


def add_detections(
    boxes: Boxes,
    number: int,
    frame: int | None,
    detections: Sequence[Mapping[str, Any]],
    categories: Mapping[str, str],
    size: tuple[int, int],
) -> None:
    """Add the detections of an image, or of a video with ``frame`` None.

    Raises:
        UserError: A detection lacks a value.
    """
    for found in detections:
        try:
            box = pixel_box(found["bbox"], size)
            own = found["frame_number"] if frame is None else frame
            category = str(found["category"])
        except (KeyError, TypeError, ValueError) as error:
            raise boxes.error(number, f"a detection without a usable {error}") from error
        kind = found.get("label") or categories.get(category, category)
        boxes.add(number, own, None, box, found.get("conf"), kind)
