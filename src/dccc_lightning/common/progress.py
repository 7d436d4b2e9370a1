"""How far long work has come: whoever does it says so here, and a display may look.

Like logging, and without a thought for terminals: kernels announce phases and count, nothing more.
``console.progress_shown`` draws what is announced; where nobody looks, nothing is drawn.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class Phase:
    """Work in progress.

    Attributes:
        name: What is done, for people.
        total: How much there is to do; None where nobody can tell.
        unit: What is counted.
        done: How much is done.
        before: How much of that was done before the phase began here.
        since: When it began (``time.monotonic``).
    """

    name: str
    total: int | None = None
    unit: str = "images"
    done: float = 0
    before: float = 0
    since: float = field(default_factory=time.monotonic)

    def advance(self, number: float = 1) -> None:
        """Count ``number`` more as done."""
        self.done += number

    def rate(self, now: float) -> float | None:
        """Return what is done in a second; None before anything is."""
        done, seconds = self.done - self.before, now - self.since
        return done / seconds if done > 0 and seconds > 0 else None

    def seconds_left(self, now: float) -> float | None:
        """Return how long the rest takes at the rate so far; None where nobody can tell."""
        rate = self.rate(now)
        return max(0.0, self.total - self.done) / rate if self.total and rate else None


_in_progress: list[Phase] = []


def phases() -> tuple[Phase, ...]:
    """Return what is in progress, the outermost first."""
    return tuple(_in_progress)


def begin(name: str, total: int | None = None, unit: str = "images", done: float = 0) -> Phase:
    """Announce a phase that ``end`` ends; see ``Phase`` for the arguments."""
    phase = Phase(name, total, unit, done, done)
    _in_progress.append(phase)
    return phase


def end(phase: Phase) -> None:
    """End a phase; one that has ended already stays so."""
    if phase in _in_progress:
        _in_progress.remove(phase)


@contextmanager
def announced(
    name: str, total: int | None = None, unit: str = "images", done: float = 0
) -> Iterator[Phase]:
    """Announce a phase for as long as the block runs.

    >>> with announced("searching", total=3, unit="queries") as phase:
    ...     phase.advance(2)
    ...     [(p.name, p.done, p.total) for p in phases()]
    [('searching', 2, 3)]
    >>> phases()
    ()
    """
    phase = begin(name, total, unit, done)
    try:
        yield phase
    finally:
        end(phase)


def track(
    items: Iterable[T], name: str, total: int, enabled: bool = True, unit: str = "images"
) -> Iterator[T]:
    """Yield ``items``, of which there are ``total``, and count them; announce it if ``enabled``."""
    if not enabled:
        yield from items
        return
    with announced(name, total, unit) as phase:
        for item in items:
            yield item
            phase.advance()


def blocks(name: str, total: int, size: int, unit: str = "images") -> Iterator[slice]:
    """Cut ``range(total)`` into slices of at most ``size``, each counted once it is worked off.

    >>> list(blocks("searching", total=5, size=2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    with announced(name, total, unit) as phase:
        for first in range(0, total, size):
            part = slice(first, min(total, first + size))
            yield part
            phase.advance(part.stop - part.start)
