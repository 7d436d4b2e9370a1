"""Boxes of detectors and trackers that run in the same program, as one table."""

import math
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from dccc_lightning.data.tracks.track_boxes import Boxes

_NAMES = {"score": ("confidence", "conf"), "track": ("tracker_id", "id")}
"""Attributes of supervision and of ultralytics."""

_BOXMOT = 8
"""Columns of boxmot: x1 y1 x2 y2 id conf cls det_ind."""


def tracks_of_detections(frames: Iterable[tuple[int, Any]]) -> pa.Table:
    """Return the boxes of a running detector or tracker, with the columns of ``read_tracks``.

    Args:
        frames: Number of each frame, from 0, and its detections: ``supervision.Detections``, the
            ``boxes`` of a result of ultralytics, both with scores and ids or None for them, or the
            (N, 8) array of boxmot. An id of -1 is no track.

    Raises:
        UserError: A box is invalid, or an id is twice in a frame.
        TypeError: The detections are of another kind.

    >>> from types import SimpleNamespace
    >>> found = SimpleNamespace(xyxy=[[0, 0, 4, 8]], confidence=[0.5], tracker_id=[-1])
    >>> tracks_of_detections([(0, found)]).to_pylist()[0]["track"] is None
    True
    """
    boxes = Boxes("detections", unit="box")
    for frame, found in frames:
        for box, score, track in zip(*_columns(found), strict=True):
            track_id = None if track is None or math.isnan(float(track)) else int(track)
            value = None if score is None else float(score)
            boxes.add(len(boxes) + 1, frame, track_id, [float(side) for side in box], value)
    return boxes.table(None, {"format": "detections"})


def _columns(found: Any) -> tuple[Any, Any, Any]:
    """Return corners, scores and ids, each of length N.

    Raises:
        TypeError: The detections have none of them.
    """
    shape: tuple[int, ...] = tuple(getattr(found, "shape", ()))
    if not hasattr(found, "xyxy") and len(shape) == 2 and shape[1] == _BOXMOT:
        return found[:, :4], found[:, 5], found[:, 4]
    columns = [getattr(found, "xyxy", None)]
    for names in _NAMES.values():
        name = next((name for name in names if hasattr(found, name)), None)
        if name is None or columns[0] is None:
            raise TypeError(
                "detections must have xyxy, confidence and tracker_id as supervision's, xyxy, conf "
                "and id as the boxes of ultralytics, or be the (N, 8) array of boxmot, got "
                f"{type(found).__name__} {tuple(shape) or ''}".rstrip()
            )
        values = getattr(found, name)
        columns.append([None] * len(found.xyxy) if values is None else values)
    return columns[0], columns[1], columns[2]
