"""Time that OpenMP's threads spend on waiting for work, for processes of the command line."""

import os

_SPINS = 2000
"""Turns of a waiting thread, some 50 microseconds, before it sleeps."""

_CHOSEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""Variables by which users choose how threads wait; they stay in force."""


def sleep_when_idle() -> bool:
    """Let the threads of GNU's OpenMP sleep soon when they have no work.

    By default they keep a core busy for milliseconds after each operation of torch, which is longer
    than the pauses between the operations of a small network: processor time that other processes
    of the machine lack, and where they run, that threads with work lack too.

    Call it before torch is imported.

    Returns:
        True if the setting was made: unless the environment has its own.
    """
    if any(os.environ.get(name) for name in _CHOSEN):
        return False
    os.environ["GOMP_SPINCOUNT"] = str(_SPINS)
    return True
