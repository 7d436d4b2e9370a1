"""Atomic creation of folders: written under a temporary name, then renamed."""

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
"""File in a draft that its process keeps locked; contains the machine's name."""

ABANDONED_AFTER = 24 * 3600.0
"""Seconds without a new file after which a draft of another machine counts as abandoned.

Some file systems do not show locks to other machines.
"""

_DRAFT = re.compile(r"\..+\.[0-9a-f]{32}")


@contextmanager
def drafted(folder: Path, siblings: str) -> Iterator[Path]:
    """Create an empty draft folder that is renamed to ``folder`` when the block ends.

    If the block raises, the draft is removed. The draft of a killed process is removed by the next
    call.

    Args:
        folder: Final folder; its parents are created.
        siblings: Glob pattern of folders beside it whose abandoned drafts are removed.

    Raises:
        OSError: The disk is full, permission is denied, or ``folder`` exists.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder.parent, siblings)
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


def _remove_abandoned(folder: Path, names: str) -> None:
    """Remove drafts whose process has ended; on file systems without locks, none."""
    for draft in folder.glob(f".{names}.*"):
        owner = draft / OWNER
        with suppress(OSError):  # removed by another process at the same time, or not permitted
            is_over = _DRAFT.fullmatch(draft.name) and (
                _is_of_this_machine(owner) or _is_abandoned(draft)
            )
            if is_over and lock.take(owner, without_locks=False):
                shutil.rmtree(draft, ignore_errors=True)
                lock.release(owner)


def _is_of_this_machine(owner: Path) -> bool:
    """Return True if the draft was created on this machine, where locks are reliable."""
    return owner.is_file() and owner.read_text() == _machine()


def _is_abandoned(draft: Path) -> bool:
    written = max(path.stat().st_mtime for path in (draft, *draft.iterdir()))
    return time.time() - written > ABANDONED_AFTER


def _machine() -> str:
    """Return the kernel's boot id, which containers of a machine share, unlike the host name."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:  # not Linux
        return socket.gethostname()
