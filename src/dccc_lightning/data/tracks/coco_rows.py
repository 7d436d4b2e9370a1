"""Annotations of COCO, which CocoVID and TAO extend by videos and tracks."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dccc_lightning.data.natural_order import natural_key
from dccc_lightning.data.tracks.track_boxes import Boxes, Request
from dccc_lightning.data.tracks.track_source import TrackSource
from dccc_lightning.data.tracks.video_choice import chosen_video
from dccc_lightning.errors import UserError

Row = Mapping[str, Any]

TRACKS = ("track_id", "instance_id")
"""Names of a track in an annotation; ``id`` is the annotation's own."""

_LAST_NUMBER = re.compile(r"(\d+)\D*$")


def has(source: TrackSource, *keys: str) -> bool:
    """Return True for a JSON object with these keys."""
    return set(keys) <= set(source.object)


def listed_rows(source: TrackSource, key: str) -> list[Row]:
    """Return a list of objects in the file.

    Raises:
        UserError: It is missing, or not a list of objects.
    """
    rows = source.object.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{source.name!r}: {key} is not a list of objects")
    return rows


def categories_of(source: TrackSource) -> list[Row]:
    """Return the categories, an empty list if the file has none."""
    return listed_rows(source, "categories") if "categories" in source.object else []


def common_size(images: Sequence[Row]) -> tuple[int, int] | None:
    """Return width and height of the images, None if they differ or are not given."""
    sizes = {(image.get("width"), image.get("height")) for image in images}
    match next(iter(sizes), None):
        case (int(width), int(height)) if len(sizes) == 1:
            return width, height
    return None


def images_of_video(source: TrackSource, boxes: Boxes, request: Request) -> list[Row]:
    """Return the images of the only or chosen video.

    Raises:
        UserError: There are several videos, and none is chosen.
    """
    videos = listed_rows(source, "videos")
    names = [str(video.get("name", video.get("file_name", video.get("id")))) for video in videos]
    chosen = videos[names.index(chosen_video(boxes, names, request.video))]
    return [i for i in listed_rows(source, "images") if i.get("video_id") == chosen.get("id")]


def numbered_frames(
    source: TrackSource, images: Sequence[Row], key: str, first: int
) -> dict[Any, int]:
    """Return the frame from 0 of each image id, by a column of the images.

    Raises:
        UserError: An image has no such number, or two have the same.
    """
    frames: dict[Any, int] = {}
    for image in images:
        frame = image.get(key)
        if isinstance(frame, bool) or not isinstance(frame, int) or frame < first:
            raise UserError(f"{source.name!r}: image {image.get('id')} has {key} {frame!r}")
        frames[image.get("id")] = frame - first
    if len(set(frames.values())) < len(images):
        raise UserError(f"{source.name!r}: two images of one video have the same {key}")
    return frames


def add_video(source: TrackSource, boxes: Boxes, request: Request, column: str, first: int) -> None:
    """Add the annotations of the only or chosen video, with frames in a column of its images."""
    boxes.unit = "annotation"
    images = images_of_video(source, boxes, request)
    boxes.size = common_size(images)
    frames = numbered_frames(source, images, column, first)
    add_annotations(
        boxes,
        listed_rows(source, "annotations"),
        lambda row: frames.get(row.get("image_id")),
        categories_of(source),
    )


def frames_by_name(source: TrackSource, images: Sequence[Row], boxes: Boxes) -> dict[Any, int]:
    """Return the frame of each image id: the position of its file name in natural order.

    Raises:
        UserError: The numbers in the names have gaps, so that frames are missing from the list.
    """
    ordered = sorted(images, key=lambda image: natural_key(str(image.get("file_name", ""))))
    names = [str(image.get("file_name", "")) for image in ordered]
    if len(set(names)) < len(names):
        raise UserError(f"{source.name!r}: images[] has two images of one file_name")
    found = [_LAST_NUMBER.search(name) for name in names]
    numbers = [int(match[1]) for match in found if match]
    is_numbered = len(numbers) == len(names) and len(set(numbers)) == len(numbers)
    if is_numbered and names and numbers[-1] - numbers[0] + 1 != len(numbers):
        raise UserError(
            f"{source.name!r}: images[] has {len(names)} images, numbered from {numbers[0]} to "
            f"{numbers[-1]}, so frames are missing; export all frames, or add frame_id from 0"
        )
    boxes.notes.append(f"frames are the {len(names):,} images in the order of their names")
    return {image.get("id"): position for position, image in enumerate(ordered)}


def add_annotations(
    boxes: Boxes,
    annotations: Sequence[Row],
    frame_of: Callable[[Row], int | None],
    categories: Sequence[Row] = (),
) -> None:
    """Add annotations with boxes x, y, width and height in pixels from 0.

    Args:
        boxes: Boxes to add to.
        annotations: Rows of annotations or results.
        frame_of: Frame of a row, None to leave it out.
        categories: Rows with id and name.

    Raises:
        UserError: A row lacks a box.
    """
    names = {category.get("id"): category.get("name") for category in categories}
    for number, row in enumerate(annotations, 1):
        if (frame := frame_of(row)) is None:
            continue
        try:
            x, y, w, h = map(float, row["bbox"])
        except (KeyError, TypeError, ValueError) as error:
            raise boxes.error(number, f"no bbox of four numbers ({error})") from error
        own = row.get("attributes") or {}
        track = next((place[key] for place in (row, own) for key in TRACKS if key in place), None)
        category = row.get("category_id", "")
        kind = names.get(category) or category
        boxes.add(number, frame, track, (x, y, x + w, y + h), row.get("score"), kind)
