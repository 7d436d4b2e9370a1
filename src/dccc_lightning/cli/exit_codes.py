"""Exit codes, and termination with a one-line error."""

import signal
import sys
import time
from typing import NoReturn

from dccc_lightning.common.ranks import nonzero_ranks

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 128 + signal.SIGTERM
RANK_DELAY = 3.0
"""Seconds that other processes wait before they print an error that rank 0 may print."""


def fail(message: str) -> NoReturn:
    """Exit with a one-line error, printed by rank 0 if all processes fail.

    The end of rank 0, or the launcher, ends the other processes; after ``RANK_DELAY`` they print
    their errors.
    """
    if "Original Traceback" in message:  # from a loader worker: torch adds the traceback
        message = message.strip().splitlines()[-1].partition(": ")[2]
    if where := nonzero_ranks():
        time.sleep(RANK_DELAY)
    line = f"error: {' '.join(message.split())}" + (f" (process with {where})" if where else "")
    print(line, file=sys.stderr, flush=True)
    raise SystemExit(EXIT_USER_ERROR)
