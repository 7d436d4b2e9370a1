"""Choice of one video in a file that has boxes of several."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from dccc_lightning.data.datasets.unknown_labels import listed
from dccc_lightning.errors import UserError


def chosen_video(place: str, names: Sequence[str], video: str | None) -> str:
    """Return the name that ``video`` means: as it stands, or without folders and suffix.

    Args:
        place: File, for the message.
        names: Names of the videos in the file.
        video: Name or path of the video; None if there is one only.

    Raises:
        UserError: No name or several names fit.

    >>> chosen_video("a.json", ["in/hall.mp4", "in/yard.mp4"], "/data/yard.mp4")
    'in/yard.mp4'
    """
    if not names:
        raise UserError(f"{place!r}: no video and no frame in this format; is it another one?")
    if len(names) == 1 and (video is None or not names[0]):
        return names[0]
    wanted = (video or "").replace("\\", "/")
    for same in (_as_is, _file, _stem):
        if len(found := [name for name in names if wanted and same(name) == same(wanted)]) == 1:
            return found[0]
    problem = "boxes of several videos" if video is None else f"no boxes of the video {video!r}"
    raise UserError(
        f"{place!r}: {problem}; choose one by video=NAME: {listed(list(map(repr, names)))}"
    )


def _as_is(name: str) -> str:
    return name


def _file(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name


def _stem(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem
