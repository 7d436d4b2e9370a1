"""Position of a job in its sweep, and the time that the others may take."""

import time
from collections.abc import Sequence

from dccc_lightning.common.progress import duration


class JobClock:
    """Number the jobs of a sweep for people, from 1, and estimate the time left.

    Args:
        total: Jobs of the sweep; None: those of the first call of its launcher.
    """

    def __init__(self, total: int | None = None) -> None:
        self.total = total
        self._began = 0.0
        self._remaining: int | None = None
        self._done = 0

    def begin(self, jobs: int, first: int, finished: int = 0) -> None:
        """Note that a launcher begins with some of the jobs.

        Args:
            jobs: Of this call.
            first: Number of the first of them.
            finished: Those that an earlier sweep has done.
        """
        if self._remaining is None:
            self._remaining = (self.total or first + jobs) - first - finished
            self._began = time.monotonic()
        elif self.total is not None and first + jobs > self.total:  # Hydra hands out batches
            self._remaining += first + jobs - self.total
        self.total = max(self.total or 0, first + jobs)

    def name(self, number: int) -> str:
        """Return how to call the job whose folder has a number.

        >>> JobClock(4).name(1)
        'job 2 of 4'
        """
        return f"job {number + 1} of {self.total}"

    def tick(self) -> None:
        """Note that a job has ended."""
        self._done += 1

    def left(self) -> str:
        """Return the time left at the pace so far, in parentheses; nothing before the first end."""
        remaining = (self._remaining or 0) - self._done
        if not self._done or remaining <= 0:
            return ""
        seconds = (time.monotonic() - self._began) / self._done * remaining
        return f" ({duration(seconds)} left)"


def varying(jobs: Sequence[Sequence[str]], arguments: Sequence[str]) -> str:
    """Return those of a job's arguments that not all jobs have, by the last word of their names.

    >>> jobs = [["epochs=3", "memory.tau_w=0.6"], ["epochs=3", "memory.tau_w=0.9"]]
    >>> varying(jobs, jobs[0])
    'tau_w=0.6'
    """
    shared = set.intersection(*(set(job) for job in jobs)) if len(jobs) > 1 else set()
    own = [a for a in arguments if a not in shared and not a.startswith("+callbacks.")]
    names = [argument.partition("=")[0] for argument in own]
    last = [name.rpartition(".")[2] for name in names]
    return " ".join(
        argument.removeprefix(name.removesuffix(short) if last.count(short) == 1 else "")
        for argument, name, short in zip(own, names, last, strict=True)
    )
