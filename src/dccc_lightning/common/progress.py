"""Phases of long computations and their progress, displayed by ``console.progress_shown``."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

T = TypeVar("T")

PATIENCE = 0.2
"""Seconds before a phase is shown, so that short ones do not flicker."""

_RATE_WINDOW = 600.0
"""Seconds over which the rate is averaged, since a step can take minutes."""


def duration(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds.

    >>> duration(75), duration(3661)
    ('1:15', '1:01:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Figures(ProgressColumn):
    """Column of count, rate and remaining time, or of the elapsed time if the total is unknown."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(duration(task.elapsed or 0))
        parts = [f"{task.completed:,.0f}/{task.total:,.0f} {task.fields['unit']}"]
        if task.speed:
            parts.append(f"{task.speed:,.{0 if task.speed >= 10 else 1}f}/s")
            parts.append(f"{duration(task.time_remaining or 0)} left")
        return Text(", ".join(parts))


class _Innermost(Progress):
    """Progress display with one line for the innermost phase that has lasted ``PATIENCE``."""

    def get_renderables(self) -> Iterable[RenderableType]:
        lasting = [task for task in self.tasks if (task.elapsed or 0) >= PATIENCE]
        yield self.make_tasks_table(lasting[-1:]) if lasting else Text("")


PHASES = _Innermost(
    TextColumn("  {task.description}", markup=False),
    BarColumn(None, table_column=Column(max_width=30)),
    _Figures(Column(no_wrap=True)),
    speed_estimate_period=_RATE_WINDOW,
)
"""Phases in progress, outermost first, and their display, started by the console."""


class Phase:
    """Work in progress, until ``end``.

    Args:
        name: Displayed name.
        total: Amount of work; None if unknown.
        unit: Plural of the unit of ``total``.
        done: Amount of work completed before the phase.
    """

    def __init__(
        self, name: str, total: int | None = None, unit: str = "images", done: int = 0
    ) -> None:
        self._task = PHASES.add_task(name, total=total, completed=done, unit=unit)
        self.advance(0)  # the rate counts from here

    def advance(self, number: float = 1) -> None:
        """Add ``number`` to the completed work."""
        PHASES.advance(self._task, number)

    def end(self) -> None:
        """Remove the phase from the display."""
        PHASES.remove_task(self._task)


@contextmanager
def announced(
    name: str, total: int | None = None, unit: str = "images", done: int = 0
) -> Iterator[Phase]:
    """Display a phase while the block runs; see ``Phase`` for the arguments.

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
    """Yield ``items`` and count them in a phase, if ``enabled``."""
    if not enabled:
        yield from items
        return
    with announced(name, total, unit) as phase:
        for item in items:
            yield item
            phase.advance()


def blocks(name: str, total: int, size: int, unit: str = "images") -> Iterator[slice]:
    """Yield slices of ``range(total)`` of at most ``size``, and count each after its use.

    >>> list(blocks("searching", total=5, size=2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    with announced(name, total, unit) as phase:
        for first in range(0, total, size):
            part = slice(first, min(total, first + size))
            yield part
            phase.advance(part.stop - part.start)
