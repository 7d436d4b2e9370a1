"""Warnings on the terminal: one line each, once, on rank 0."""

import logging
import sys
import warnings
from typing import Any

from dccc_lightning.common.console import CONSOLE, PRINTED
from dccc_lightning.common.ranks import is_first_process

# Warnings of Lightning and Python about internals or intended choices, which need no action.
_NOISE = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    "`broadcast_buffers` is deprecated",
    "The .*dataloader.* does not have many workers",
    "Checkpoint directory .* exists and is not empty",
    "You're resuming from a checkpoint that ended before the epoch ended",  # the sampler resumes
    r"This process \(pid=\d+\) is multi-threaded, use of fork",  # Python 3.12, of each loader
    "The `srun` command is available on your system but is not used",
)


class _Once(logging.Filter):
    """Logging filter that drops lines printed by earlier jobs of a sweep."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the line is new."""
        return record.levelno < logging.WARNING or _is_new(record.getMessage())


def quiet() -> None:
    """Print warnings as one line each, and tables and remarks, on rank 0 only.

    ``warnings.showwarning`` is replaced, not ``formatwarning``, which Lightning sets on import.
    """
    CONSOLE.quiet = not is_first_process()
    terminals = [h for h in logging.getLogger().handlers if not isinstance(h, logging.FileHandler)]
    for handler in terminals:
        if not is_first_process():
            handler.setLevel(logging.CRITICAL)
        if not any(isinstance(known, _Once) for known in handler.filters):
            handler.addFilter(_Once())
    warnings.showwarning = _show
    if not is_first_process():
        warnings.simplefilter("ignore")
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)


def _show(message: Warning | str, *_: Any, **__: Any) -> None:
    if _is_new(str(message)):
        print(f"warning: {message}", file=sys.stderr)


def _is_new(line: str) -> bool:
    is_new = line not in PRINTED
    PRINTED.add(line)
    return is_new
