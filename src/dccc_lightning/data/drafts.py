"""Folders that are complete or absent: written under another name, then renamed."""

import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dccc_lightning.common import lock

OWNER = ".owner"
"""File in a draft that its process holds locked, with the machine's name."""

SILENCE = 24 * 3600.0
"""Seconds without a new file, after which a draft of another machine is left over.

Not every file system shows locks to other machines.
"""

_DRAFT = re.compile(r"\..+\.[0-9a-f]{32}")


@contextmanager
def drafted(folder: Path, siblings: str) -> Iterator[Path]:
    """Make an empty folder that takes the place of ``folder`` at the end.

    An exception leaves nothing, a killed process its draft, which the next one removes.

    Args:
        folder: What is written; its parents are made.
        siblings: Pattern of the folders beside it whose left drafts are removed.

    Raises:
        OSError: There is no room or no right to write, or ``folder`` is there already.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(folder.parent, siblings)
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    owner = draft / OWNER
    try:
        draft.mkdir()
        lock.take(owner)
        owner.write_text(_machine())
        yield draft
        owner.unlink()
        draft.rename(folder)
    finally:
        lock.release(owner)
        shutil.rmtree(draft, ignore_errors=True)


def _remove_left(folder: Path, names: str) -> None:
    """Remove the drafts without a process; without locks nothing is known, and they stay."""
    for draft in folder.glob(f".{names}.*"):
        owner = draft / OWNER
        with suppress(OSError):  # another process removes it too, or it is another user's
            is_over = _DRAFT.fullmatch(draft.name) and (_is_of_here(owner) or _is_silent(draft))
            if is_over and lock.take(owner, without_locks=False):
                shutil.rmtree(draft, ignore_errors=True)
                lock.release(owner)


def _is_of_here(owner: Path) -> bool:
    """Tell whether a lock is held by this kernel alone, so that it tells everything."""
    return owner.is_file() and owner.read_text() == _machine()


def _is_silent(draft: Path) -> bool:
    written = max(path.stat().st_mtime for path in (draft, *draft.iterdir()))
    return time.time() - written > SILENCE


def _machine() -> str:
    """Return the name of the running kernel: containers have other host names, and the same."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:  # not Linux
        return socket.gethostname()
