"""Numba compilation as every kernel here wants it: cached on disk where there is a place for it."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import torch

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_REORDERED = {"reassoc", "contract"}
"""Sums may be vectorised. NaN, infinities and signed zeros keep their meaning."""


def compiled(kernel: Kernel) -> Kernel:
    """Compile a serial kernel."""
    return _compile(kernel)


def parallel(kernel: Kernel) -> Kernel:
    """Compile a kernel whose ``numba.prange`` loops run on all threads; for callers in Python.

    Numba sets the number of OpenMP threads of the whole process when it starts its own, and torch
    shares it: it would round sums otherwise from then on, and a resumed run, which starts without a
    clustering, would not follow the uninterrupted one to the last bit.
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
    """Compile a kernel that is one long sum, in an order the machine likes.

    The order depends on the length alone, so equal inputs give equal results.
    """
    return _compile(kernel, fastmath=_REORDERED)


def _compile(kernel: Kernel, **options: Any) -> Kernel:
    options["nogil"] = True  # other threads go on meanwhile: the display, the loader's
    try:
        return cast(Kernel, numba.njit(cache=True, **options)(kernel))
    except RuntimeError:  # neither the package's folder nor the user's cache can be written to
        return cast(Kernel, numba.njit(**options)(kernel))
