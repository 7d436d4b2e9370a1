"""COCO annotations of the frames of one video: images and annotations."""

from dccc_lightning.data.tracks import coco_rows
from dccc_lightning.data.tracks.track_boxes import Boxes, Request
from dccc_lightning.data.tracks.track_source import TrackSource

FRAME_COLUMNS = ("frame_id", "frame_index")


def fits(source: TrackSource) -> bool:
    """Return True for a JSON object with images and annotations, but without videos or tracks."""
    return coco_rows.has(source, "images", "annotations") and not (
        coco_rows.has(source, "videos") or coco_rows.has(source, "tracks")
    )


def read(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read the annotations; frames are in the images, or their order by name.

    Raises:
        UserError: An annotation is of no image.
    """
    boxes.unit = "annotation"
    images = coco_rows.listed_rows(source, "images")
    boxes.size = coco_rows.common_size(images)
    column = next((name for name in FRAME_COLUMNS if images and name in images[0]), None)
    if column is None:
        frames = coco_rows.frames_by_name(source, images, boxes)
    else:
        frames = coco_rows.numbered_frames(source, images, column, 0)
        boxes.notes.append(f"{column} counted from 0")
    annotations = coco_rows.listed_rows(source, "annotations")
    for number, row in enumerate(annotations, 1):
        if row.get("image_id") not in frames:
            raise boxes.error(number, f"image_id {row.get('image_id')} is not in images[]")
    categories = coco_rows.categories_of(source)
    coco_rows.add_annotations(boxes, annotations, lambda row: frames[row["image_id"]], categories)
    if column is None:
        boxes.files = [
            str(image["file_name"])
            for image in sorted(images, key=lambda image: frames[image.get("id")])
        ]


def fits_results(source: TrackSource) -> bool:
    """Return True for a JSON list of results whose image_id may be a frame from 0."""
    return _is_results(source)


def read_results(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read results; image_id is the frame from 0."""
    _read_results(source, boxes, 0)


def fits_results_from_1(source: TrackSource) -> bool:
    """Return True for a JSON list of results whose image_id may be a frame from 1."""
    return _is_results(source) and all(row.get("image_id") != 0 for row in source.json)


def read_results_from_1(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read results; image_id is the frame from 1."""
    _read_results(source, boxes, 1)


def _is_results(source: TrackSource) -> bool:
    return {"image_id", "bbox"} <= set(source.first)


def _read_results(source: TrackSource, boxes: Boxes, first: int) -> None:
    boxes.unit = "result"
    boxes.notes.append(f"image_id is the frame from {first}")
    for number, row in enumerate(source.json, 1):
        image = row.get("image_id") if isinstance(row, dict) else None
        if isinstance(image, bool) or not isinstance(image, int) or image < first:
            raise boxes.error(number, f"image_id {image!r} is not a frame from {first}")
    coco_rows.add_annotations(boxes, source.json, lambda row: int(row["image_id"]) - first)
