"""Numbering of the jobs of a sweep and estimate of the remaining time."""

import time
from collections.abc import Sequence

from dccc_lightning.common.progress import duration


class JobClock:
    """Numbering of jobs from 1 and estimate of the remaining time.

    Args:
        total: Number of jobs; None for the number in the first call of the launcher.
    """

    def __init__(self, total: int | None = None) -> None:
        self.total = total
        self._began = 0.0
        self._remaining: int | None = None
        self._done = 0

    def begin(self, jobs: int, first: int, finished: int = 0) -> None:
        """Start timing the jobs of a launcher's call.

        Args:
            jobs: Number of jobs in this call.
            first: Number of the first job, from 0.
            finished: Number of jobs finished by an earlier sweep.
        """
        if self._remaining is None:
            self._remaining = (self.total or first + jobs) - first - finished
            self._began = time.monotonic()
        elif self.total is not None and first + jobs > self.total:  # Hydra launches in batches
            self._remaining += first + jobs - self.total
        self.total = max(self.total or 0, first + jobs)

    def name(self, number: int) -> str:
        """Return the name of the job with a folder number, counted from 1.

        >>> JobClock(4).name(1)
        'job 2 of 4'
        """
        return f"job {number + 1} of {self.total}"

    def tick(self) -> None:
        """Count a job that has ended."""
        self._done += 1

    def left(self) -> str:
        """Return the estimated remaining time in parentheses; empty before the first job ends."""
        remaining = (self._remaining or 0) - self._done
        if not self._done or remaining <= 0:
            return ""
        seconds = (time.monotonic() - self._began) / self._done * remaining
        return f" ({duration(seconds)} left)"


def varying(jobs: Sequence[Sequence[str]], arguments: Sequence[str]) -> str:
    """Return the arguments in which a job differs from others, with shortened names.

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
