"""Console of the package, with a progress line below printed lines.

In a pipe, in CI and on a dumb terminal the output is plain: no control codes or bars, and tables of
full width.
"""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from threading import RLock
from typing import Any

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.live import Live

from dccc_lightning.common.progress import PHASES

REFRESHES = 10
"""Refreshes of the display per second."""

PLAIN_WIDTH = 160
"""Width of the output in a pipe or file, in columns."""


def make_console(environ: Mapping[str, str] = os.environ) -> Console:
    """Return a console for the environment, which is plain under CI and TERM=dumb.

    rich respects NO_COLOR, FORCE_COLOR and COLUMNS. Markup and emoji codes are disabled, since
    paths may contain ``[cam1]`` or ``:cat:``.
    """
    is_ci = environ.get("CI", "").lower() not in ("", "0", "false")
    is_plain = is_ci or environ.get("TERM") in ("dumb", "unknown")
    has_window = sys.stdout.isatty() and not is_plain
    return Console(
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
        force_terminal=False if is_plain else None,
        width=None if has_window or "COLUMNS" in environ else PLAIN_WIDTH,
    )


CONSOLE = make_console()

PRINTED: set[str] = set()
"""Remarks printed by this command, which jobs of a sweep do not repeat."""


def print_once(line: str, style: str | None = None) -> None:
    """Print a remark, unless this command has already printed it."""
    if line not in PRINTED:
        CONSOLE.print(line, style=style)
    PRINTED.add(line)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun.

    >>> counted(1, "image"), counted(1200, "image"), counted(0, "query", "queries")
    ('1 image', '1,200 images', '0 queries')
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


@contextmanager
def progress_shown(enabled: bool = True) -> Iterator[None]:
    """Show the current phase on the last line of a terminal.

    Printed and logged lines appear above it.

    Args:
        enabled: False for other ranks than 0.
    """
    if not (enabled and CONSOLE.is_terminal and CONSOLE.file.isatty()):
        yield
        return
    _watch_forks()
    errors = sys.stderr
    handlers: list[logging.StreamHandler[Any]] = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is errors
    ]
    with Live(
        PHASES,
        console=CONSOLE,
        transient=True,
        refresh_per_second=REFRESHES,
        redirect_stderr=errors.isatty(),
    ):
        for handler in handlers:  # they have the stream that Live replaces
            handler.setStream(sys.stderr)
        try:
            yield
        finally:
            for handler in handlers:
                handler.setStream(errors)


def _reset_after_fork() -> None:
    """Restore plain streams in a forked process, such as a loader worker.

    The thread that draws does not exist there, but may have held a lock at the fork, which would
    never be released: the first line that the worker printed would wait forever.
    """
    if not isinstance(sys.stdout, FileProxy):
        return
    PHASES._lock = RLock()
    vars(CONSOLE).update(vars(make_console()))
    for name in ("stdout", "stderr"):
        drawn = getattr(sys, name)
        if isinstance(drawn, FileProxy):
            setattr(sys, name, drawn.rich_proxied_file)
            for handler in logging.getLogger().handlers:
                if isinstance(handler, logging.StreamHandler) and handler.stream is drawn:
                    handler.setStream(drawn.rich_proxied_file)


@cache
def _watch_forks() -> None:
    """Register ``_reset_after_fork``, once: Python cannot unregister it."""
    os.register_at_fork(after_in_child=_reset_after_fork)
