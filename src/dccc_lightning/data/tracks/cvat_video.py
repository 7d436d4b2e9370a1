"""CVAT for video 1.1: tracks of boxes in XML, one box a frame."""

from xml.etree import ElementTree

from dccc_lightning.data.tracks.track_boxes import Boxes, Request, enclosing
from dccc_lightning.data.tracks.track_source import TrackSource
from dccc_lightning.errors import UserError


def fits(source: TrackSource) -> bool:
    """Return True for XML with the root ``annotations``."""
    return source.is_xml and "<annotations" in source.content[:4096]


def read(source: TrackSource, boxes: Boxes, request: Request) -> None:
    """Read the boxes that are not ``outside``, which are positions where nothing is.

    Frames are those of the video: CVAT has applied start and step of the task.

    Raises:
        UserError: Not XML, without tracks, or a project of several tasks, whose frame numbers run
            on from one to the next.
    """
    try:
        root = ElementTree.fromstring(source.content)
    except ElementTree.ParseError as error:
        raise UserError(f"{source.name!r}: not XML: {error}; is the file whole?") from error
    tasks = root.findall("./meta/project/tasks/task")
    if len(tasks) > 1:
        raise UserError(
            f"{source.name!r}: a project of {len(tasks)} tasks, whose frames are numbered as one "
            "video; export each task by itself"
        )
    if root.find("image") is not None:
        raise UserError(
            f"{source.name!r}: CVAT for images has no tracks; export as CVAT for video 1.1"
        )
    _read_size(root, boxes)
    outside = turned = number = 0
    for track in root.iter("track"):
        for box in track.iter("box"):
            number += 1
            if box.get("outside") == "1":
                outside += 1
                continue
            try:
                x1, y1, x2, y2 = (float(box.attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
                degrees = float(box.get("rotation", 0))
                frame, track_id = box.attrib["frame"], track.attrib["id"]
            except (KeyError, ValueError) as error:
                raise boxes.error(number, f"no usable {error}") from error
            turned += degrees != 0
            corners = enclosing((x1, y1, x2, y2), degrees, ((x1 + x2) / 2, (y1 + y2) / 2))
            boxes.add(number, frame, track_id, corners, None, track.get("label", ""))
    boxes.notes.append(f"{outside:,} boxes outside left out")
    if turned:
        boxes.notes.append(f"{turned:,} turned boxes enclosed")


def _read_size(root: ElementTree.Element, boxes: Boxes) -> None:
    boxes.unit = "box"
    found = root.find(".//original_size")
    if found is not None and (width := found.findtext("width")):
        boxes.size = int(width), int(found.findtext("height") or 0)
