"""Refuse writes of this process in a folder, with the errors of a full or read-only disk."""

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
TEMPORARY = re.compile(r"\.(.+)\.\d+")

Judge = Callable[[str, str], bool]
"""Return True to refuse an event, such as ``open xb`` or ``os.link``, on a file of this name."""

_judges: list[tuple[Path, Judge, int]] = []


@contextmanager
def refusing(folder: Path, judge: Judge, number: int = errno.ENOSPC) -> Iterator[None]:
    """Refuse what ``judge`` says in ``folder``: creating, opening to write, renaming, linking."""
    if _hook not in _installed:
        sys.addaudithook(_hook)
        _installed.append(_hook)
    _judges.append((folder, judge, number))
    try:
        yield
    finally:
        _judges.pop()


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _judges or event not in ("open", "os.mkdir", "os.rename", "os.link"):
        return
    target = arguments[1 if event in ("os.rename", "os.link") else 0]
    if not isinstance(target, (str, os.PathLike)):
        return
    if event == "open":
        if not _writes(*arguments[1:3]):
            return
        event = f"open {arguments[1]}"
    path = Path(os.path.abspath(target))  # noqa: PTH100  (os.path makes no event)
    for folder, judge, number in _judges:
        if path.is_relative_to(folder):
            found = TEMPORARY.fullmatch(path.name)
            if judge(event, found[1] if found else path.name):
                raise OSError(number, os.strerror(number), str(path))


_installed: list[object] = []


def _writes(mode: object, flags: object) -> bool:
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & WRITING)
