"""States of jobs in SLURM's queue, and why they wait, as squeue tells them."""

import subprocess
from collections import defaultdict
from collections.abc import Mapping

from dccc_lightning.console import CONSOLE

STUCK = (
    "AccountNotAllowed", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount",
    "InvalidQOS", "JobHeldAdmin", "JobHeldUser", "PartitionConfig", "PartitionDown",
    "PartitionInactive", "PartitionNodeLimit", "PartitionTimeLimit", "QOSNotAllowed",
    "launch failed requeued held",
)  # fmt: skip
"""Reasons that do not pass by waiting."""


def read_queue(ids: Mapping[str, int]) -> dict[str, tuple[str, str]]:
    """Return state and reason of jobs by SLURM's number; those that squeue does not know lack."""
    numbers = ",".join(sorted({one.partition("_")[0] for one in ids}))
    command = ["squeue", "--noheader", "--array", "--format=%i|%T|%r", f"--jobs={numbers}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # not installed: sacct tells when they end
        return {}
    rows = [line.strip().split("|") for line in answer.stdout.splitlines()]
    plain = {"None": "", "(null)": ""}
    return {
        row[0]: (row[1], plain.get(row[2], row[2]))
        for row in rows
        if len(row) == 3 and row[0] in ids
    }


class QueueReport:
    """Print how jobs are, each state and reason once."""

    def __init__(self) -> None:
        self._told: set[tuple[int, str, str]] = set()

    def update(self, ids: Mapping[str, int]) -> None:
        """Ask squeue, and print what is new.

        Args:
            ids: Number of each job in the sweep, from 0, by SLURM's number.
        """
        news: dict[tuple[str, str], list[int]] = defaultdict(list)
        for one, (state, reason) in read_queue(ids).items():
            if (ids[one], state, reason) not in self._told:
                self._told.add((ids[one], state, reason))
                news[state, reason].append(ids[one] + 1)
        for (state, reason), numbers in news.items():
            jobs = f"job{'s' if len(numbers) > 1 else ''} {', '.join(map(str, sorted(numbers)))}"
            why = f" ({reason})" if reason else ""
            CONSOLE.print(f"{jobs}: {state.lower()}{why}")
            if reason in STUCK or reason.startswith("ReqNodeNotAvail"):
                CONSOLE.print(
                    f"warning: {reason} does not pass by waiting; Ctrl-C cancels the jobs, then "
                    "ask for less: hydra.launcher.cpus, gpus, memory, minutes or partition",
                    style="yellow",
                )
