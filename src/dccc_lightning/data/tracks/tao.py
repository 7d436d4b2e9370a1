"""TAO: videos, images with frame_index, annotations with track_id, and the tracks."""

from dccc_lightning.data.tracks import coco_rows
from dccc_lightning.data.tracks.track_boxes import Boxes, Request
from dccc_lightning.data.tracks.track_source import TrackSource


def fits(source: TrackSource) -> bool:
    """Return True for a JSON object with images, annotations and tracks."""
    return coco_rows.has(source, "images", "annotations", "tracks")


def read(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read one video; frames are frame_index, from 0."""
    coco_rows.add_video(source, boxes, request, "frame_index", 0)
