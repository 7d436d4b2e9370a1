"""Crops of tracks, written while a video is decoded once."""

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from PIL import Image

from dccc_lightning.common import checks
from dccc_lightning.data.video.crop_choice import Choice, choose_boxes, sharpness
from dccc_lightning.data.video.frame_sources import open_frames
from dccc_lightning.data.video.frames import Frame, FrameSource, Pixels
from dccc_lightning.errors import UnreadableImageError, UserError

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("path", "camera", "tracklet")),
        ("frame", pa.int64()),
        ("time", pa.float64()),
        ("pts", pa.int64()),
        *((name, pa.float64()) for name in ("x1", "y1", "x2", "y2", "score")),
    ]
)
"""Columns of the table of crops. Boxes are those of the file, without the margin."""

QUALITY = 95
"""Quality of the JPEG files, without subsampling of colours."""

MISFIT = 0.1
"""Share of boxes beyond the picture, and within the picture before turning, that is a mistake."""

Row = dict[str, Any]


@dataclass(eq=False)
class CropReport:
    """Result of ``crop_tracks``.

    Attributes:
        table: Crops, with the columns of ``SCHEMA``.
        frames: Frames of the video.
        boxes: Boxes given.
        tracklets: Tracklets given.
        counts: Boxes without a crop by reason, apart from those that were not chosen.
        notes: Remarks on the video.
        record: Size of the picture, decoder, version and colour tags.
    """

    table: pa.Table
    frames: int
    boxes: int
    tracklets: int
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)


def crop_tracks(
    tracks: pa.Table,
    video: str | os.PathLike[str] | FrameSource,
    folder: str | os.PathLike[str],
    camera: str,
    *,
    per_tracklet: int = 4,
    margin: float = 0.05,
    start: float = 0.0,
) -> CropReport:
    """Write a few crops of each tracklet of one camera, chosen by ``crop_choice.choose_boxes``.

    A crop is the box with the margin on each side, in whole pixels around it and within the
    picture. Boxes without area, outside of the picture or of missing frames are counted. The video
    is decoded once, in order; memory does not depend on its length.

    Args:
        tracks: Result of ``read_tracks`` or ``tracks_of_detections``.
        video: Video, or folder of frames.
        folder: Folder to write ``CAMERA/TRACK_FRAME.jpg`` to.
        camera: Name of the camera.
        per_tracklet: Largest number of crops of a tracklet.
        margin: Share of the width and height of the box added on each side.
        start: Time of the first frame in seconds, on a clock that the cameras share.

    Raises:
        UserError: The video cannot be decoded, or the boxes are of another picture.
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
    """
    checks.integer("per_tracklet", per_tracklet, 1)
    checks.real("margin", margin, 0, 1)
    checks.real("start", start, open_low=True, open_high=True)
    source = open_frames(video) if isinstance(video, (str, os.PathLike)) else video
    check_fit(tracks, source)
    choice = choose_boxes(tracks, per_tracklet, source.size)
    crops = _Crops(tracks, choice, Path(folder), camera, margin)
    for frame in source.frames():
        crops.see(frame)
    rows = [
        row | {"time": None if row["time"] is None else start + row["time"]} for row in crops.rows()
    ]
    frames = tracks["frame"].to_numpy()
    count = source.ending.count
    counts = {
        "without area": choice.empty,
        "outside of the picture": choice.outside,
        "after the last frame": int((frames >= count).sum()),
        "in missing frames": crops.missing + crops.boxes_between(crops.latest, count),
        "in frames that cannot be decoded": crops.undecoded,
    }
    return CropReport(
        pa.Table.from_pylist(rows, SCHEMA),
        count,
        len(tracks),
        len(tracks["track"].combine_chunks().drop_null().unique()) + tracks["track"].null_count,
        {reason: count for reason, count in counts.items() if count},
        [*source.ending.notes, *crops.notes],
        {"size": source.size, "start": start, **source.record},
    )


def check_fit(tracks: pa.Table, source: FrameSource) -> None:
    """Check that boxes are of the upright picture.

    Raises:
        UserError: The file of boxes names another size, or many boxes lie beyond the picture and
            fit it before turning.
    """
    width, height = source.size
    metadata = tracks.schema.metadata or {}
    size = metadata.get(b"size", b"").decode()
    if size and size != f"{width} x {height}":
        raise UserError(
            f"boxes of a picture of {size}, but {source.name!r} is {width} x {height} (width x "
            "height, upright): is it another video, or were the boxes made before turning or "
            "scaling it?"
        )
    x, y = (tracks[name].to_numpy() for name in ("x1", "y1"))
    beyond = (x >= width) | (y >= height)
    fits = (x < source.coded_size[0]) & (y < source.coded_size[1])
    if source.size != source.coded_size and (beyond & fits).sum() > MISFIT * len(tracks):
        raise UserError(
            f"{int((beyond & fits).sum()):,} of {len(tracks):,} boxes lie beyond {source.name!r}, "
            f"which is {width} x {height} when upright: they were made before turning it; detect "
            "on the upright picture"
        )


class _Crops:
    """Crops on their way to the disk: at most one for each part of a tracklet that is running.

    Args:
        tracks: Boxes.
        choice: Candidates.
        folder: Folder of the crops.
        camera: Name of the camera.
        margin: See ``crop_tracks``.

    Attributes:
        latest: Last frame seen.
        missing: Boxes in frames skipped so far.
        undecoded: Boxes in frames that could not be decoded.
        notes: Remarks.
    """

    def __init__(
        self, tracks: pa.Table, choice: Choice, folder: Path, camera: str, margin: float
    ) -> None:
        self.tracks = tracks
        self.folder = folder
        self.camera = camera
        self.margin = margin
        self.notes: list[str] = []
        self.latest = -1
        self.missing = 0
        self.undecoded = 0
        self._frames = np.sort(tracks["frame"].to_numpy())
        self._rows: list[Row] = []
        self._best: dict[int, tuple[float, Pixels, Row]] = {}
        self._waiting: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._left: dict[int, int] = defaultdict(int)
        frames = tracks["frame"].to_numpy()
        for row, slot in zip(choice.rows.tolist(), choice.slots.tolist(), strict=True):
            self._waiting[int(frames[row])].append((row, slot))
            self._left[slot] += 1

    def see(self, frame: Frame) -> None:
        """Crop the candidates of a frame."""
        self.missing += self.boxes_between(self.latest, frame.number)
        self.latest = frame.number
        if frame.number not in self._waiting:
            return
        try:
            pixels = frame.pixels()
        except UnreadableImageError as error:
            self.undecoded += self.boxes_between(frame.number - 1, frame.number + 1)
            self.notes.append(str(error))
            return
        for row, slot in self._waiting.pop(frame.number):
            box = [float(self.tracks[name][row].as_py()) for name in ("x1", "y1", "x2", "y2")]
            crop = cut(pixels, box, self.margin)
            value = sharpness(crop)
            if slot not in self._best or value > self._best[slot][0]:
                self._best[slot] = (value, crop.copy(), self._described(frame, row, box))
            self._left[slot] -= 1
            if not self._left[slot]:
                self._write(slot)

    def rows(self) -> list[Row]:
        """Return the crops, after writing those whose candidates did not all appear."""
        for slot in sorted(self._best):
            self._write(slot)
        return self._rows

    def boxes_between(self, first: int, last: int) -> int:
        """Return the number of boxes in frames between two frames, without these."""
        begin, end = np.searchsorted(self._frames, [first + 1, last])
        return int(max(0, end - begin))

    def _described(self, frame: Frame, row: int, box: list[float]) -> Row:
        track = self.tracks["track"][row].as_py()
        name = f"untracked/{row}" if track is None else file_name(track)
        return {
            "path": f"{file_name(self.camera)}/{name}_{frame.number:06d}.jpg",
            "camera": self.camera,
            "tracklet": None if track is None else f"{self.camera}/{track}",
            "frame": frame.number,
            "time": frame.seconds,
            "pts": frame.pts,
            **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
            "score": self.tracks["score"][row].as_py(),
        }

    def _write(self, slot: int) -> None:
        _, crop, row = self._best.pop(slot)
        path = self.folder / row["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop).save(path, quality=QUALITY, subsampling=0)
        self._rows.append(row)


def cut(pixels: Pixels, box: list[float], margin: float) -> Pixels:
    """Return a box with a margin, clipped to the picture, at least a pixel wide and high.

    >>> cut(np.zeros((100, 200, 3), np.uint8), [10.5, -5, 30.5, 35], 0.1).shape
    (39, 25, 3)
    """
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = box
    dx, dy = margin * (x2 - x1), margin * (y2 - y1)
    left, right = _span(x1 - dx, x2 + dx, width)
    top, bottom = _span(y1 - dy, y2 + dy, height)
    return pixels[top:bottom, left:right]


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    """Return the whole pixels around an interval that are in the picture, at least one."""
    first = min(max(0, int(np.floor(low))), size - 1)
    return first, max(first + 1, min(size, int(np.ceil(high))))


def file_name(name: str) -> str:
    """Return a name as part of a path; the same for the same name only.

    >>> file_name("hall 1"), file_name("../a"), file_name(".")
    ('hall 1', '..%2Fa', '%2E')
    """
    text = quote(name, safe=" ()+,;=@[]")
    return text.replace(".", "%2E") if not name.strip(".") else text
