"""Garbage collection while modules are imported."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lasting_imports() -> Iterator[None]:
    """Import modules without collecting garbage, and exempt them from later collections.

    Half a million objects of torch and Lightning stay until the process ends; each full collection
    would visit all of them. A second use in the process exempts nothing, since what an earlier run
    left behind is garbage.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
        if was_enabled:
            gc.enable()
