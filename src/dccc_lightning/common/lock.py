"""File locks (flock) that the kernel releases when the process ends."""

import fcntl
import os
from functools import cache
from pathlib import Path
from typing import BinaryIO

_held: dict[Path, BinaryIO] = {}


def take(path: Path, without_locks: bool = True) -> bool:
    """Lock a file, creating it if needed.

    Args:
        path: File to lock.
        without_locks: Return value on a file system without locks, such as NFS mounted with
            ``nolock``.

    Returns:
        False if another process holds the lock.

    Raises:
        OSError: The file cannot be opened or created.
    """
    _release_in_forks()
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        except OSError:  # no locks here
            if not without_locks:
                file.close()
                return False
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            _held[path] = file
            return True
        file.close()  # removed between open and lock by a run that could not start


def is_held(path: Path) -> bool:
    """Return True if another process holds the lock on a file; False without file or locks."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def release(path: Path | None = None) -> None:
    """Release the lock on a file, or all locks of this process."""
    for taken in list(_held) if path is None else [path]:
        if file := _held.pop(taken, None):
            file.close()


@cache
def _release_in_forks() -> None:
    """Release locks in forked processes: a loader worker may outlive its run by seconds."""
    os.register_at_fork(after_in_child=release)
