"""The one terminal that everything is printed to: lines stay above the progress bars."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

CONSOLE = Console(highlight=False, soft_wrap=True)


def progress_bar(enabled: bool = True) -> Progress:
    """Return a progress bar that vanishes when it is done; silent where there is no terminal."""
    return Progress(
        TextColumn("  {task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
        console=CONSOLE,
        transient=True,
        disable=not (enabled and CONSOLE.is_terminal),
    )


def track(items: Iterable[T], description: str, total: int, enabled: bool = True) -> Iterator[T]:
    """Yield ``items`` while a bar shows how many of ``total`` are done."""
    with progress_bar(enabled) as bar:
        yield from bar.track(items, total=total, description=description)
