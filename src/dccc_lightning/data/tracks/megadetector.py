"""Results of MegaDetector (format 1.x): detections without tracks, of videos or of images."""

from collections.abc import Mapping
from typing import Any

from dccc_lightning.data.image_formats import has_image_suffix
from dccc_lightning.data.tracks import camera_traps
from dccc_lightning.data.tracks.track_boxes import Boxes, Request
from dccc_lightning.data.tracks.track_source import TrackSource
from dccc_lightning.data.tracks.video_choice import chosen_video
from dccc_lightning.errors import UserError


def fits(source: TrackSource) -> bool:
    """Return True for a JSON object with images and detection_categories."""
    return {"images", "detection_categories"} <= set(source.object)


def read(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read the detections of one video, or of the images of one folder.

    Failed files are counted, not taken as empty ones.

    Raises:
        UserError: The version is not 1.x, there are several videos and none is chosen, or
            MegaDetector failed on the chosen one.
    """
    version = str(source.object.get("info", {}).get("format_version", "1"))
    if version.partition(".")[0] != "1":
        raise UserError(f"{source.name!r}: format_version {version}; 1.x can be read")
    size = request.pixels(repr(source.name))
    boxes.unit = "image"
    images: list[Mapping[str, Any]] = source.object["images"]
    names = [str(image.get("file", "")) for image in images]
    failed = {name: i.get("failure") for name, i in zip(names, images, strict=True) if _failed(i)}
    videos = [name for name in names if not has_image_suffix(name)]
    if videos:
        good = [name for name in videos if name not in failed]
        chosen = chosen_video(boxes, videos if request.video else good or videos, request.video)
        if chosen in failed:
            raise UserError(f"{source.name!r}: {chosen!r} failed: {failed[chosen]}; run it again")
        frames: dict[str, int | None] = {chosen: None}
    else:
        frames = dict(camera_traps.frames_of_folder(names, request, boxes))
    if failed:
        boxes.notes.append(f"{len(failed):,} failed, the first is {next(iter(failed))!r}")
    categories = source.object["detection_categories"]
    for number, (name, image) in enumerate(zip(names, images, strict=True), 1):
        if name in frames and name not in failed:
            known = [found for found in image["detections"] if found.get("category") in categories]
            camera_traps.add_detections(boxes, number, frames[name], known, categories, size)


def _failed(image: Mapping[str, Any]) -> bool:
    return bool(image.get("failure")) or image.get("detections") is None
