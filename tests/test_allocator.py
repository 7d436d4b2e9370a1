"""The allocator's settings: what they save, and when they are left alone."""

import subprocess
import sys

import pytest

from dccc_lightning.common import allocator

FAULTS = """
import resource, sys
from dccc_lightning.common.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(20):
    b"x" * (sys.maxsize.bit_length() << 20)  # 63 MiB, above glibc's own threshold
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def page_faults(mode: str) -> int:
    command = [sys.executable, "-c", FAULTS, mode]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_a_freed_block_is_used_again_without_new_pages() -> None:
    assert page_faults("keep") < page_faults("leave") / 5


RELEASED = """
import os
from pathlib import Path
from dccc_lightning.common.allocator import keep_freed_memory, release_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

assert keep_freed_memory()
block = b"x" * (64 << 20)
del block
before = resident()
release_freed_memory()
print(before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_freed_blocks_that_were_kept_can_be_returned() -> None:
    command = [sys.executable, "-c", RELEASED]
    returned = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert int(returned) > 60 << 20


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_settings_of_the_user_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: pytest.fail("mallopt was called"))
    assert not allocator.keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    assert not allocator.keep_freed_memory()
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: pytest.fail("malloc_trim was called"))
    allocator.release_freed_memory()
