"""States of jobs in SLURM's queue and accounting, and the reasons why they wait."""

import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping

from dccc_lightning.common.console import CONSOLE

ENDED = (
    "COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL",
    "DEADLINE", "REVOKED",
)  # fmt: skip
"""SLURM states of a job that has ended, unless the queue lists it; PREEMPTED jobs return to it."""

STUCK = (
    "AccountNotAllowed", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount",
    "InvalidQOS", "JobHeldAdmin", "JobHeldUser", "PartitionConfig", "PartitionDown",
    "PartitionInactive", "PartitionNodeLimit", "PartitionTimeLimit", "QOSNotAllowed",
    "launch failed requeued held",
)  # fmt: skip
"""Reasons for which a job never starts."""

FORGOTTEN_SECONDS = 600.0
"""Time without a job in the queue after which it counts as lost."""

_UNKNOWN = "Invalid job id specified"
"""Message of squeue for a single unknown job; of several jobs it lists the known ones."""


def read_records(ids: Iterable[str]) -> dict[str, str]:
    """Return the states of jobs in accounting, UNKNOWN for jobs that it does not have.

    Until a requeued job starts again, its state may be the end of its last attempt, such as
    NODE_FAIL.
    """
    from submitit.slurm.slurm import SlurmInfoWatcher  # noqa: PLC0415  an extra

    watcher = SlurmInfoWatcher()  # a used one does not query ended jobs again
    for one in ids:
        watcher.register_job(one)
    watcher.update()
    states = {one: watcher.get_state(one, "cache") for one in ids}
    return {one: state.split()[0] for one, state in states.items()}  # CANCELLED by 1000


def read_queue(ids: Mapping[str, int]) -> dict[str, tuple[str, str]] | None:
    """Return state and reason of the jobs that squeue lists, by SLURM number.

    They wait, run or are about to leave. None if squeue does not answer.
    """
    numbers = ",".join(sorted({one.partition("_")[0] for one in ids}))
    command = ["squeue", "--noheader", "--array", "--format=%i|%T|%r", f"--jobs={numbers}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0 and _UNKNOWN not in answer.stderr:
        return None
    rows = [line.strip().split("|") for line in answer.stdout.splitlines()]
    plain = {"None": "", "(null)": ""}
    return {
        row[0]: (row[1], plain.get(row[2], row[2]))
        for row in rows
        if len(row) == 3 and row[0] in ids
    }


class QueueReport:
    """Printer of states and reasons of jobs, each once, that detects lost jobs.

    Attributes:
        active: SLURM numbers of the jobs in the queue; of all jobs while squeue does not answer.
    """

    def __init__(self) -> None:
        self.active: set[str] = set()
        self._printed: set[tuple[int, str, str]] = set()
        self._gone: dict[str, float] = {}

    def update(self, ids: Mapping[str, int]) -> set[str]:
        """Query squeue, print changes, and return the jobs that are lost.

        Args:
            ids: Number of each job in the sweep, from 0, by SLURM number.
        """
        queue = read_queue(ids)
        self.active = set(ids if queue is None else queue)
        if queue is None:
            return set()
        self._print_news(queue, ids)
        now = time.monotonic()
        self._gone = {one: self._gone.get(one, now) for one in ids if one not in queue}
        return {one for one, since in self._gone.items() if now - since >= FORGOTTEN_SECONDS}

    def _print_news(self, queue: Mapping[str, tuple[str, str]], ids: Mapping[str, int]) -> None:
        news: dict[tuple[str, str], list[int]] = defaultdict(list)
        for one, (state, reason) in queue.items():
            if (ids[one], state, reason) not in self._printed:
                self._printed.add((ids[one], state, reason))
                news[state, reason].append(ids[one] + 1)
        for (state, reason), numbers in news.items():
            jobs = f"job{'s' if len(numbers) > 1 else ''} {', '.join(map(str, sorted(numbers)))}"
            why = f" ({reason})" if reason else ""
            CONSOLE.print(f"{jobs}: {state.lower()}{why}")
            if reason in STUCK or reason.startswith("ReqNodeNotAvail"):
                CONSOLE.print(
                    f"warning: with {reason} the job never starts; cancel it by Ctrl-C and lower "
                    "hydra.launcher.cpus, gpus, memory or minutes, or change partition",
                    style="yellow",
                )
