"""Predictions of SpeciesNet: detections without tracks, of the images of a folder."""

from dccc_lightning.data.tracks import camera_traps
from dccc_lightning.data.tracks.track_boxes import Boxes, Request
from dccc_lightning.data.tracks.track_source import TrackSource


def fits(source: TrackSource) -> bool:
    """Return True for a JSON object with predictions."""
    return isinstance(source.object.get("predictions"), list)


def read(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read the detections; an image without a list of them has failed and is counted."""
    size = request.pixels(repr(source.name))
    boxes.unit = "prediction"
    predictions = source.object["predictions"]
    names = [str(prediction.get("filepath", "")) for prediction in predictions]
    frames = camera_traps.frames_of_folder(names, request, boxes)
    failed = 0
    for number, (name, prediction) in enumerate(zip(names, predictions, strict=True), 1):
        if name in frames:
            failed += prediction.get("detections") is None
            found = prediction.get("detections") or ()
            camera_traps.add_detections(boxes, number, frames[name], found, {}, size)
    if failed:
        boxes.notes.append(f"failed on {failed:,} images")
