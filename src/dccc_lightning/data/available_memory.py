"""Available memory of the machine, within the limits of Linux control groups (v1 and v2).

Containers, SLURM and systemd set such limits. The page cache, which the kernel can reclaim, does
not count as used.
"""

from collections.abc import Iterator
from pathlib import Path

_CACHE = ("inactive_file", "active_file")
_CACHE_BELOW = ("total_inactive_file", "total_active_file")
"""Page cache of a v1 group including its descendants, as in its usage."""


def available_memory(root: Path = Path("/")) -> int:
    """Return the number of bytes that can be allocated.

    Args:
        root: Folder that contains ``proc`` and ``sys``.
    """
    machine = _table(root / "proc/meminfo")["MemAvailable:"] * 1024
    return max(0, min([machine, *_left(root)]))


def _left(root: Path) -> Iterator[int]:
    """Yield the bytes left by the limits of this process's group and of its ancestors."""
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
        # In a container the path may be the host's, with the container's group mounted as root.
        group = top / path.lstrip("/")
        while group.is_relative_to(top):
            limit, used = (_number(group / name) for name in files)
            if limit is not None and used is not None:
                held = _table(group / "memory.stat")
                yield limit - used + sum(held.get(name, 0) for name in cache)
            group = group.parent


def _number(path: Path) -> int | None:
    """Return the number in a control group's file; None for ``max`` or a missing file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _table(path: Path) -> dict[str, int]:
    """Return the numbers of a file with lines "name number", by name."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
