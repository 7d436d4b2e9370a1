"""Numba decorators: kernels release the GIL and are cached on disk if a folder is writable.

A kernel calls kernels of its own file only, since its cached code does not notice a change in
another file. ``parallel`` kernels are called from Python and may be imported.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import torch

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_REORDERED = {"reassoc", "contract"}
"""Fast-math flags that allow vectorised sums; NaN, infinities and signed zeros stay exact."""


def compiled(kernel: Kernel) -> Kernel:
    """Compile a serial kernel."""
    return _compile(kernel)


def parallel(kernel: Kernel) -> Kernel:
    """Compile a kernel whose ``numba.prange`` loops run on all threads; call it from Python only.

    Starting its threads, Numba changes the number of OpenMP threads of the process, and thereby
    the order of torch's sums. The number is restored after each call; otherwise a resumed run would
    not reproduce an uninterrupted one bit for bit.
    """
    dispatcher = _compile(kernel, parallel=True)

    @functools.wraps(kernel)
    def call(*arguments: Any) -> Any:
        threads = torch.get_num_threads()
        try:
            return dispatcher(*arguments)
        finally:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)

    return cast(Kernel, call)


def reduction(kernel: Kernel) -> Kernel:
    """Compile a kernel that is one long sum, vectorised.

    The order of summation depends on the length only, so equal inputs give equal results.
    """
    return _compile(kernel, fastmath=_REORDERED)


def _compile(kernel: Kernel, **options: Any) -> Kernel:
    options["nogil"] = True  # the progress display and loader threads keep running
    try:
        return cast(Kernel, numba.njit(cache=True, **options)(kernel))
    except RuntimeError:  # neither the package's folder nor the user's cache is writable
        return cast(Kernel, numba.njit(**options)(kernel))
