"""Time that idle threads keep a core busy, for processes of the command line."""

import os

_SHORT = {"GOMP_SPINCOUNT": "2000", "OPENBLAS_THREAD_TIMEOUT": "4"}
"""Turns of a waiting thread of GNU's OpenMP, some 50 microseconds, before it sleeps; and the base-2
logarithm of those of OpenBLAS, whose least is 4."""

_CHOSEN = ("OMP_WAIT_POLICY", *_SHORT)
"""Variables by which users choose how threads wait; they stay in force."""


def sleep_when_idle() -> bool:
    """Let the threads of GNU's OpenMP and of OpenBLAS sleep soon when they have no work.

    By default they keep a core busy for milliseconds after each operation, which is longer than the
    pauses between the operations of a small network, and than the steps of a neighbour search,
    which are matrix products of OpenBLAS and kernels of OpenMP by turns: each has threads of its
    own, so that one half waits in the way of the other.

    Call it before NumPy and torch are imported.

    Returns:
        True if the settings were made: unless the environment has its own.
    """
    if any(os.environ.get(name) for name in _CHOSEN):
        return False
    os.environ.update(_SHORT)
    return True
