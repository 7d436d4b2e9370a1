"""Standard streams that are closed, or whose reader leaves."""

import errno
import os
import sys
from typing import Any, TextIO

_WITHOUT_READER = (errno.EPIPE, errno.EIO)
"""Errors of a pipe whose reader has ended and of a terminal that was closed."""


def keep_streams() -> None:
    """Let this process outlive the readers of its output.

    A stream closed by ``>&-`` becomes the null device, since its descriptor would otherwise go to
    the next file that is opened. Output to a pipe or terminal that has closed is dropped: the
    results of a run are in its folder.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            stream = _null(number)
        if number > 0 and stream is not None and _is_standard(stream, number):
            setattr(sys, name, _Lasting(stream))
        else:
            setattr(sys, name, stream)


def _null(number: int) -> TextIO | None:
    """Open the null device as a standard stream; None if a file has its descriptor already."""
    null = os.open(os.devnull, os.O_RDWR)
    if null == number:
        os.set_inheritable(null, True)
    else:
        try:
            os.fstat(number)
        except OSError:
            os.dup2(null, number)
            os.close(null)
        else:
            os.close(null)
            return None
    if number == 0:
        return open(number, encoding="utf-8", closefd=False)
    return open(number, "w", encoding="utf-8", closefd=False)


def _is_standard(stream: TextIO, number: int) -> bool:
    """Return False for a stream that a caller or a test has put in place, or already kept."""
    try:
        return not isinstance(stream, _Lasting) and stream.fileno() == number
    except (OSError, ValueError, AttributeError):
        return False


class _Lasting:
    """Text stream that continues on the null device once its reader has left.

    Args:
        stream: Text stream with a descriptor.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, or drop it."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _drop(self, error: OSError) -> None:
        """Connect the descriptor to the null device, so that Python's last flush succeeds too.

        Raises:
            OSError: The stream is a file, on a disk that is full for example.
        """
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)
        if error.errno not in _WITHOUT_READER:
            raise error
