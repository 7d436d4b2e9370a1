"""Choice of one video in a file that has boxes of several."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from dccc_lightning.data.datasets.unknown_labels import listed
from dccc_lightning.data.tracks.track_boxes import Boxes
from dccc_lightning.errors import UserError


def chosen_video(boxes: Boxes, names: Sequence[str], video: str | None) -> str:
    """Return the name that ``video`` means: as it stands, or without folders and suffix.

    A file of one video is of that one, whatever its name.

    Args:
        boxes: File, for the message; receives the name as a note.
        names: Names of the videos in the file.
        video: Name or path of the video; None if there is one only.

    Raises:
        UserError: No name or several names fit.

    >>> chosen_video(Boxes("a.json"), ["in/hall.mp4", "in/yard.mp4"], "/data/yard.mp4")
    'in/yard.mp4'
    """
    if not names:
        raise UserError(f"{boxes.path!r}: no video and no frame in this format; is it another one?")
    fitting = list(names)
    if len(names) > 1:
        wanted = (video or "").replace("\\", "/")
        by_rule = [[name for name in names if same(name) == same(wanted)] for same in _RULES]
        fitting = next((found for found in by_rule if wanted and len(found) == 1), [])
    if not fitting:
        problem = "boxes of several videos" if video is None else f"no boxes of the video {video!r}"
        raise UserError(
            f"{boxes.path!r}: {problem}; choose one by video=NAME: {listed(list(map(repr, names)))}"
        )
    if fitting[0]:
        boxes.notes.append(f"video {fitting[0]!r}")
    return fitting[0]


def _as_is(name: str) -> str:
    return name


def _file(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name


def _stem(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem


_RULES = (_as_is, _file, _stem)
"""Parts of names that are compared, the whole first."""
