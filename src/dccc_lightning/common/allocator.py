"""Settings of the C library's allocator for processes of the command line and their workers."""

import ctypes
import os
import platform

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Numbers of mallopt's parameters (malloc.h)."""

_LARGEST_KEPT = 256 << 20
"""Bytes of a block above which its memory is returned to the system when it is freed."""

_CHOSEN = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Variables by which users choose an allocator or its settings; they stay in force."""


def keep_freed_memory() -> bool:
    """Keep freed blocks of up to 256 MiB in this process and its children, for the next allocation.

    glibc maps every block above 32 MiB anew and unmaps it when it is freed, and the kernel clears
    the pages again each time. Networks on a processor allocate such blocks in every layer: with
    MobileNetV2 at 128 x 128 more than half of the processor time (docs/performance.md).

    Returns:
        True if the settings were made: on Linux with glibc, unless the environment has its own.
    """
    if platform.libc_ver()[0] != "glibc" or any(os.environ.get(name) for name in _CHOSEN):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))


def release_freed_memory() -> None:
    """Return freed blocks of this process to the system, on Linux with glibc.

    A forked process inherits those of its parent, and keeps a copy when the parent uses them; and
    work with blocks of other sizes, such as a page after training steps, would add to them.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
