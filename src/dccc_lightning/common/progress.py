"""Progress of long work: kernels announce phases and count; ``console.progress_shown`` draws.

Kernels know no terminal: where nothing is drawn, announcing a phase only counts.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

T = TypeVar("T")

PATIENCE = 0.2
"""Seconds that a phase lasts before it is shown: shorter ones would only flicker."""

_RATE_WINDOW = 600.0
"""Seconds over which the rate is averaged: single steps can take minutes."""


def duration(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds.

    >>> duration(75), duration(3661)
    ('1:15', '1:01:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Figures(ProgressColumn):
    """Count, rate and time left; time elapsed where the total is unknown."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(duration(task.elapsed or 0))
        parts = [f"{task.completed:,.0f}/{task.total:,.0f} {task.fields['unit']}"]
        if task.speed:
            parts.append(f"{task.speed:,.{0 if task.speed >= 10 else 1}f}/s")
            parts.append(f"{duration(task.time_remaining or 0)} left")
        return Text(", ".join(parts))


class _Innermost(Progress):
    """Progress of nested phases on one line: the innermost that has lasted a moment."""

    def get_renderables(self) -> Iterable[RenderableType]:
        lasting = [task for task in self.tasks if (task.elapsed or 0) >= PATIENCE]
        yield self.make_tasks_table(lasting[-1:]) if lasting else Text("")


PHASES = _Innermost(
    TextColumn("  {task.description}", markup=False),
    BarColumn(None, table_column=Column(max_width=30)),
    _Figures(Column(no_wrap=True)),
    speed_estimate_period=_RATE_WINDOW,
)
"""The phases in progress, the outermost first, and their drawing; never started by itself."""


class Phase:
    """Work in progress, until ``end``.

    Args:
        name: Name on the screen.
        total: Amount of work; None if unknown.
        unit: Plural of the unit of ``total``.
        done: Amount that was done before the phase began.
    """

    def __init__(
        self, name: str, total: int | None = None, unit: str = "images", done: int = 0
    ) -> None:
        self._task = PHASES.add_task(name, total=total, completed=done, unit=unit)
        self.advance(0)  # the rate counts from here

    def advance(self, number: float = 1) -> None:
        """Count ``number`` more as done."""
        PHASES.advance(self._task, number)

    def end(self) -> None:
        """Take the phase off the screen."""
        PHASES.remove_task(self._task)


@contextmanager
def announced(
    name: str, total: int | None = None, unit: str = "images", done: int = 0
) -> Iterator[Phase]:
    """Announce a phase for as long as the block runs; see ``Phase`` for the arguments.

    >>> with announced("searching", total=3, unit="queries") as phase:
    ...     phase.advance(2)
    ...     [(task.description, task.completed, task.total) for task in PHASES.tasks]
    [('searching', 2, 3)]
    >>> PHASES.tasks
    []
    """
    phase = Phase(name, total, unit, done)
    try:
        yield phase
    finally:
        phase.end()


def track(
    items: Iterable[T], name: str, total: int, enabled: bool = True, unit: str = "images"
) -> Iterator[T]:
    """Yield and count ``items``, ``total`` in all; announce the phase if ``enabled``."""
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
