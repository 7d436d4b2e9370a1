"""Opening of videos and of folders of frames."""

import os
from collections.abc import Sequence
from pathlib import Path

from dccc_lightning.data.image_formats import has_image_suffix
from dccc_lightning.data.video.frame_folder import FrameFolder
from dccc_lightning.data.video.frames import FrameSource
from dccc_lightning.data.video.video_file import VideoFile
from dccc_lightning.errors import UserError


def open_frames(path: str | os.PathLike[str], files: Sequence[str] | None = None) -> FrameSource:
    """Open a video, or a folder of frames.

    Args:
        path: File or folder.
        files: Names of the frames of a folder in their order, if the file of boxes names them.

    Raises:
        UserError: It does not exist, is no video, has no frames, or PyAV is missing.
    """
    given = Path(path).expanduser()
    if given.is_dir():
        return FrameFolder(given, files)
    if has_image_suffix(given):
        raise UserError(f"video={os.fspath(path)}: an image; give a video, or a folder of frames")
    return VideoFile(given)
