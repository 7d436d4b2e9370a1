"""Memory that is free to take: of the machine, and within the limits of control groups.

Containers, SLURM and systemd limit processes by control groups, of version 1 or 2. What is in use
counts against a limit, but for the cache of files, which the kernel gives back.
"""

from collections.abc import Iterator
from pathlib import Path

_CACHE = ("inactive_file", "active_file")
_CACHE_BELOW = ("total_inactive_file", "total_active_file")
"""In version 1, those of the group with all groups below it, as its usage counts."""


def available_memory(root: Path = Path("/")) -> int:
    """Return the bytes that new processes may fill.

    Args:
        root: Where ``proc`` and ``sys`` lie.
    """
    machine = _table(root / "proc/meminfo")["MemAvailable:"] * 1024
    return max(0, min([machine, *_left(root)]))


def _left(root: Path) -> Iterator[int]:
    """Yield the bytes that each limit leaves: of the group of this process, and of those above."""
    memberships = root / "proc/self/cgroup"
    lines = memberships.read_text().splitlines() if memberships.is_file() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, files, cache = "sys/fs/cgroup", ("memory.max", "memory.current"), _CACHE
        elif "memory" in controllers.split(","):
            mount, cache = "sys/fs/cgroup/memory", _CACHE_BELOW
            files = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        top = root / mount
        # A container may see the path of its host, and its own group as the top.
        group = top / path.lstrip("/")
        while group.is_relative_to(top):
            limit, used = (_number(group / name) for name in files)
            if limit is not None and used is not None:
                held = _table(group / "memory.stat")
                yield limit - used + sum(held.get(name, 0) for name in cache)
            group = group.parent


def _number(path: Path) -> int | None:
    """Return what a file of a control group says; None for ``max``, or where it is not there."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _table(path: Path) -> dict[str, int]:
    """Return the numbers of a file by the words before them."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
