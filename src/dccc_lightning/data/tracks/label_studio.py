"""Label Studio: regions of type videorectangle, in per cent, as key frames."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from dccc_lightning.data.tracks.track_boxes import Boxes, Request, enclosing
from dccc_lightning.data.tracks.track_source import TrackSource
from dccc_lightning.data.tracks.video_choice import chosen_video
from dccc_lightning.errors import UserError

Key = Mapping[str, Any]
SIDES = ("x", "y", "width", "height", "rotation")


def fits(source: TrackSource) -> bool:
    """Return True for a JSON list of tasks, or one task, with annotations."""
    first = source.first or source.object
    return "annotations" in first and "images" not in first


def read(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read the regions of one task, with the frames between key frames filled in.

    Raises:
        UserError: Several tasks or annotations, and none is chosen.
    """
    tasks = source.json if isinstance(source.json, list) else [source.json]
    names = [str(next(iter((task.get("data") or {"": ""}).values()), "")) for task in tasks]
    task = tasks[names.index(chosen_video(boxes, names, request.video))]
    done = [a for a in task["annotations"] if not a.get("was_cancelled")]
    if len(done) > 1:
        raise UserError(
            f"{source.name!r}: {len(done)} annotations of one task; export the one to be used"
        )
    boxes.unit, boxes.text_ids = "region", True
    regions = [r for a in done for r in a.get("result", ()) if r.get("type") == "videorectangle"]
    filled = 0
    for number, region in enumerate(regions, 1):
        try:
            value = region["value"]
            keys = sorted(value["sequence"], key=lambda key: int(key["frame"]))
            width, height = _size(region, source, request)
            kind = next(iter(value.get("labels") or ()), "")
            for frame, (x, y, w, h, degrees) in _frames(keys, int(value.get("framesCount") or 0)):
                corner = x * width / 100, y * height / 100
                box = (*corner, (x + w) * width / 100, (y + h) * height / 100)
                boxes.add(
                    number, frame, region["id"], enclosing(box, degrees, corner),
                    region.get("score"), kind,
                )  # fmt: skip
                filled += 1
        except (KeyError, TypeError, ValueError) as error:
            raise boxes.error(number, f"no usable {error}") from error
        filled -= len(keys)
    boxes.notes.append(f"{filled:,} frames between key frames filled in")


def _size(region: Key, source: TrackSource, request: Request) -> tuple[int, int]:
    if request.size is None and region.get("original_width"):
        return int(region["original_width"]), int(region["original_height"])
    return request.pixels(repr(source.name))


def _frames(keys: Sequence[Key], count: int) -> Iterator[tuple[int, Sequence[float]]]:
    """Yield frames from 0 with their boxes.

    From a key frame with ``enabled`` boxes move linearly to the next one; after the last one they
    stand still to the end. After another key frame, whose own box counts, there are none.
    """
    for key, following in pairwise(keys):
        start, end = int(key["frame"]), int(following["frame"])
        here, there = _sides(key), _sides(following)
        yield start - 1, here
        for frame in range(start + 1, end) if key.get("enabled", True) else ():
            share = (frame - start) / (end - start)
            yield frame - 1, [a + (b - a) * share for a, b in zip(here, there, strict=True)]
    if keys:
        last, sides = int(keys[-1]["frame"]), _sides(keys[-1])
        yield last - 1, sides
        for frame in range(last + 1, count + 1) if keys[-1].get("enabled", True) else ():
            yield frame - 1, sides


def _sides(key: Key) -> list[float]:
    return [float(key.get(name, 0)) if name == "rotation" else float(key[name]) for name in SIDES]
