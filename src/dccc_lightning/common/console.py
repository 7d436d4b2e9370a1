"""The one terminal that everything is printed to: lines stay above what says how far work is.

In a pipe, in CI and on a dumb terminal it is plain: no control codes, no bars, wide tables whole.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from dccc_lightning.common.progress import Phase, phases

REFRESHES = 10
"""Updates of the display, a second."""

PATIENCE = 0.2
"""Seconds that a phase lasts before it is shown: what comes and goes would only flicker."""

PLAIN_WIDTH = 160
"""Columns of what nobody's window is too narrow for."""

_BAR, _LEAST_BAR = 30, 4
_RATE_AND_TIME = len(" , 9,999/s, 59:59 left") + 1


def make_console(environ: Mapping[str, str] = os.environ) -> Console:
    """Return a console as the environment wants it: CI and TERM=dumb are plain on a terminal too.

    NO_COLOR, FORCE_COLOR and COLUMNS are heeded by rich. Strings are printed as they are, in tables
    too: in paths and names of the user's, rich would take ``[cam1]`` for a style and ``:cat:`` for
    a picture.
    """
    is_ci = environ.get("CI", "").lower() not in ("", "0", "false")
    is_plain = is_ci or environ.get("TERM") in ("dumb", "unknown")
    is_watched = sys.stdout.isatty() and not is_plain
    return Console(
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
        force_terminal=False if is_plain else None,
        width=None if is_watched or "COLUMNS" in environ else PLAIN_WIDTH,
    )


CONSOLE = make_console()

SAID: set[str] = set()
"""Remarks that a command has printed: the jobs of a sweep do not repeat them."""


def print_once(line: str, style: str | None = None) -> None:
    """Print a remark, unless this command has printed it already."""
    if line not in SAID:
        CONSOLE.print(line, style=style)
    SAID.add(line)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number of things.

    >>> counted(1, "image"), counted(1200, "image"), counted(0, "query", "queries")
    ('1 image', '1,200 images', '0 queries')
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


@contextmanager
def progress_shown(enabled: bool = True) -> Iterator[None]:
    """Show on the last line of the terminal what is in progress; silent where there is none.

    Whatever is printed or logged in the meantime stands above that line.

    Args:
        enabled: False for all processes but the first.
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
        _Line(),
        console=CONSOLE,
        transient=True,
        refresh_per_second=REFRESHES,
        redirect_stderr=errors.isatty(),
    ):
        for handler in handlers:  # they have kept the stream that is now another
            handler.setStream(sys.stderr)
        try:
            yield
        finally:
            for handler in handlers:
                handler.setStream(errors)


def _draw_nothing() -> None:
    """Give a forked process, a worker of a loader, the plain streams and a console without display.

    The thread that draws stays behind, perhaps with the console's lock, which nobody would release:
    the first line that the worker printed would wait for ever.
    """
    if not isinstance(sys.stdout, FileProxy):
        return
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
    """Register ``_draw_nothing``, which Python cannot take back: once, when a display begins."""
    os.register_at_fork(after_in_child=_draw_nothing)


class _Line:
    """The innermost phase that lasts, on one line: name, bar, count, rate, time left."""

    def __init__(self) -> None:
        self._spinner = Spinner("dots")
        self._last: Phase | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now = time.monotonic()
        phase = self._pick(now)
        if phase is None:
            yield Text("")
            return
        name = f"  {phase.name} "
        yield Text(name, end="", no_wrap=True, overflow="ellipsis")
        if phase.total is None:
            yield Text.assemble(self._spinner.render(now), end="")  # type: ignore[arg-type]
        else:  # as wide whatever the figures beside it
            count = f"{phase.total:,}/{phase.total:,} {phase.unit}"
            room = options.max_width - cell_len(name) - len(count) - _RATE_AND_TIME
            if room >= _LEAST_BAR:
                yield _bar(phase.done / max(phase.total, 1), min(_BAR, room), options.ascii_only)
        yield Text(f" {describe(phase, now)}", end="", no_wrap=True, overflow="ellipsis")

    def _pick(self, now: float) -> Phase | None:
        """Return the phase to show; a young one leaves the line to the one before it."""
        current = phases()
        if not current:
            self._last = None
        for phase in reversed(current):
            if now - phase.since >= PATIENCE:
                self._last = phase
                break
        return self._last


def _bar(share: float, width: int, ascii_only: bool) -> Text:
    full = round(min(1.0, share) * width)
    done, left = ("#", "-") if ascii_only else ("━", "─")
    return Text.assemble((done * full, "bar.complete"), (left * (width - full), "dim"), end="")


def describe(phase: Phase, now: float) -> str:
    """Say how far a phase is, in words.

    >>> describe(Phase("training", total=30, unit="steps", done=12, since=0.0), now=6.0)
    '12/30 steps, 2.0/s, 0:09 left'
    >>> describe(Phase("clustering", since=0.0), now=75.0)
    '1:15'
    """
    if phase.total is None:
        return duration(now - phase.since)
    parts = [f"{phase.done:,.0f}/{phase.total:,} {phase.unit}"]
    rate, left = phase.rate(now), phase.seconds_left(now)
    if rate is not None:
        parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s")
    if left is not None:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds.

    >>> duration(75), duration(3661)
    ('1:15', '1:01:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
