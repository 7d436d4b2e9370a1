"""A lock on a file, which ends with the process that holds it."""

import fcntl
import os
from functools import cache
from pathlib import Path
from typing import BinaryIO

_held: dict[Path, BinaryIO] = {}


def take(path: Path, without_locks: bool = True) -> bool:
    """Lock a file, which is made if there is none; False while another process holds it.

    The kernel keeps the lock (flock) and gives it up when the process ends, however it does.

    Args:
        path: The file.
        without_locks: What is returned on a file system without locks, such as NFS mounted with
            ``nolock``: True lets every process go on.

    Raises:
        OSError: The file can be neither opened nor made.
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
        file.close()  # removed in between, by a run that was refused


def release(path: Path | None = None) -> None:
    """Give up what this process has locked: one file, or all."""
    for taken in list(_held) if path is None else [path]:
        if file := _held.pop(taken, None):
            file.close()


@cache
def _release_in_forks() -> None:
    """Let forked processes give up the locks: a loader's worker may outlive its run by seconds."""
    os.register_at_fork(after_in_child=release)
