"""Decoding of a video with PyAV: in order, upright, with counted frames."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dccc_lightning.data.video.frames import Ending, Frame, Pixels
from dccc_lightning.errors import UserError

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer

SHORT = 0.95
"""Share of the length in the header below which a video has ended early."""

SLACK = 0.5
"""Seconds by which a video may end before its header says so."""


class VideoFile:
    """Video decoded once, in order.

    The number of a frame is the count of frames decoded before it: numbers in headers, and times
    multiplied by a rate, differ from it in videos of variable rate, with edit lists or damage.

    Args:
        path: Video.

    Raises:
        UserError: The file is missing, has no picture that can be decoded, or PyAV is missing.
    """

    def __init__(self, path: Path) -> None:
        self.name = os.fspath(path)
        self.ending = Ending()
        self.record: dict[str, Any] = {}
        with self._opened() as container:
            try:
                first = next(container.decode(container.streams.video[0]))
            except (StopIteration, OSError, ValueError) as error:
                raise UserError(
                    f"{self.name!r}: no frame can be decoded ({_reason(error)})"
                ) from error
            self.coded_size = first.width, first.height
            height, width = np.rot90(np.empty(self.coded_size[::-1]), first.rotation // 90).shape
            self.size = width, height
            self.record |= {
                "codec": container.streams.video[0].codec_context.name,
                "container": container.format.name,
                "rotation": first.rotation,
                "color_space": int(first.colorspace),
                "color_range": int(first.color_range),
            }

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order; what cannot be decoded is left out and noted at the end."""
        self.ending = ending = Ending()
        origin, latest, damaged = None, 0.0, 0
        with self._opened() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for packet in _packets(container):
                # Decoders in several threads leave damaged packets out without an error.
                damaged += packet.is_corrupt
                try:
                    decoded = packet.decode()
                except (OSError, ValueError):
                    damaged += not packet.is_corrupt
                    continue
                for frame in decoded:
                    seconds = None
                    if frame.pts is not None and frame.time_base is not None:
                        origin = frame.pts if origin is None else origin
                        seconds = latest = float((frame.pts - origin) * frame.time_base)
                    ending.count += 1
                    yield Frame(ending.count - 1, seconds, frame.pts, _Upright(frame))
            length = (container.duration or 0) / 1e6
            has_edits = "mp4" in container.format.name  # of the formats, its family alone
            ending.notes += _remarks(
                ending.count, stream.frames, latest, length, damaged, has_edits
            )

    def _opened(self) -> "InputContainer":
        """Open the file.

        Raises:
            UserError: The file is missing or no video, or PyAV is missing.
        """
        try:
            import av  # noqa: PLC0415  # an extra
        except ImportError as error:
            raise UserError(
                'decoding videos needs PyAV: pip install "dccc-lightning[video]"'
            ) from error
        if not os.path.isfile(self.name):  # noqa: PTH113  # Path.is_file raises for names too long
            raise UserError(f"video={self.name}: no such file or folder")
        try:
            container = av.open(self.name)
        except (OSError, ValueError) as error:
            raise UserError(f"{self.name!r}: not a video ({_reason(error)})") from error
        if container.format.name == "tty":  # FFmpeg draws the letters
            container.close()
            raise UserError(f"{self.name!r}: a text, no video; are video= and tracks= exchanged?")
        if not container.streams.video:
            container.close()
            raise UserError(f"{self.name!r} has no pictures, only sound or text")
        self.record["decoder"] = f"PyAV {av.__version__}"
        self.record["libavcodec"] = ".".join(map(str, av.library_versions["libavcodec"]))
        return container


class _Upright:
    """Pixels of a decoded frame, converted when they are asked for.

    Args:
        frame: Decoded frame.
    """

    def __init__(self, frame: "VideoFrame") -> None:
        self.frame = frame

    def __call__(self) -> Pixels:
        """Return upright RGB (H, W, 3)."""
        turned: Pixels = np.rot90(self.frame.to_ndarray(format="rgb24"), self.frame.rotation // 90)
        return turned


def _packets(container: "InputContainer") -> Iterator["Packet[VideoStream]"]:
    """Yield the packets of the picture; an unreadable rest of the file ends them."""
    with suppress(OSError, ValueError):
        yield from container.demux(container.streams.video[0])


def _remarks(
    count: int, header: int, latest: float, length: float, damaged: int, has_edits: bool
) -> list[str]:
    """Return remarks on a video that has other frames than its header says.

    Args:
        count: Frames decoded.
        header: Frames in the header, 0 if unknown.
        latest: Seconds of the last frame.
        length: Seconds in the header, 0 if unknown.
        damaged: Packets that cannot be decoded.
        has_edits: True for a format with edit lists.
    """
    total = f"{count:,} of {header:,} frames" if header else f"{count:,} frames"
    if damaged:
        return [f"{total}: the file is damaged"]
    if latest < min(SHORT * length, length - SLACK):
        times = f"{latest:.1f} of {length:.1f} s"
        if header and count >= header:
            return [f"{total}, {times}: the picture ends before the sound"]
        return [f"{total}, {times}: the file is damaged"]
    if count < header:
        reason = "an edit list hides the others" if has_edits else "the others are empty"
        return [f"{total}: {reason}"]
    return []


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
