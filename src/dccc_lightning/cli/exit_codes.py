"""How a command ends: the exit codes, and one line for a mistake of the user's."""

import signal
import sys
import time
from typing import NoReturn

from dccc_lightning.common.ranks import process_name

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 128 + signal.SIGTERM
SILENCE = 3.0
"""Seconds that a process waits for the first one to say what is wrong, before it says it itself."""


def fail(message: str) -> NoReturn:
    """End with one line; of several processes that fail alike, the first one says it.

    Its end, or the launcher, ends the others; one that outlives it fails with its own line.
    """
    if "Original Traceback" in message:  # raised in a loader's worker: torch adds the whole road
        message = message.strip().splitlines()[-1].partition(": ")[2]
    if where := process_name():
        time.sleep(SILENCE)
    line = f"error: {' '.join(message.split())}" + (f" (process with {where})" if where else "")
    print(line, file=sys.stderr, flush=True)
    raise SystemExit(EXIT_USER_ERROR)
