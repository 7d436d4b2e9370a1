"""Boxes of detectors and trackers that run in the same program, as one table."""

import math
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from dccc_lightning.data.tracks.track_boxes import Boxes


def tracks_of_detections(frames: Iterable[tuple[int, Any]]) -> pa.Table:
    """Return the boxes of ``supervision.Detections``, with the columns of ``read_tracks``.

    Args:
        frames: Number of each frame, from 0, and its detections: any object with the attributes
            ``xyxy`` (N, 4) in pixels, and ``confidence`` and ``tracker_id``, (N,) or None. An id of
            -1 is no track.

    Raises:
        UserError: A box is invalid, or an id is twice in a frame.

    >>> from types import SimpleNamespace
    >>> found = SimpleNamespace(xyxy=[[0, 0, 4, 8]], confidence=[0.5], tracker_id=[-1])
    >>> tracks_of_detections([(0, found)]).to_pylist()[0]["track"] is None
    True
    """
    boxes = Boxes("detections", unit="box")
    for frame, found in frames:
        count = len(found.xyxy)
        scores = getattr(found, "confidence", None)
        ids = getattr(found, "tracker_id", None)
        for box, score, track in zip(
            found.xyxy,
            [None] * count if scores is None else scores,
            [None] * count if ids is None else ids,
            strict=True,
        ):
            track_id = None if track is None or math.isnan(float(track)) else int(track)
            boxes.add(len(boxes) + 1, frame, track_id, [float(side) for side in box], score)
    return boxes.table(None, {"format": "detections"})
