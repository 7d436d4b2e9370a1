"""Rank of this process and its SLURM job, from environment variables."""

import logging
import os
import signal
import subprocess
import threading
import time

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""Signals that schedulers send before they end a job, and the one of a terminal that closes."""

WATCH_EVERY = 1.0
"""Seconds between checks of the parent process."""

_FIRST = "DCCC_FIRST_PROCESS"


def stop_signals() -> list[signal.Signals]:
    """Return ``STOP_SIGNALS`` except ignored ones, as SIGHUP is under ``nohup``."""
    return [n for n in STOP_SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]


class ShareDone(Exception):  # noqa: N818  no error
    """End of a process that has done its share of a task, which rank 0 finishes."""


def is_first_process() -> bool:
    """Return True for rank 0 and for a single process."""
    return nonzero_ranks() == ""


def nonzero_ranks() -> str:
    """Return the rank variables that are not 0, such as ``LOCAL_RANK=1``; empty for rank 0."""
    names = ["LOCAL_RANK", "NODE_RANK", "RANK"]
    if started_by_srun() and "TORCHELASTIC_RUN_ID" not in os.environ:  # else of the agent
        names.append("SLURM_PROCID")
    return ", ".join(f"{n}={os.environ[n]}" for n in names if os.environ.get(n, "0") != "0")


def started_from_outside() -> bool:
    """Return True if torchrun, SLURM or a command per node started the processes, not Lightning.

    Lightning sets ``LOCAL_RANK`` in the processes that it starts.
    """
    by_hand = "NODE_RANK" in os.environ and "LOCAL_RANK" not in os.environ
    return "TORCHELASTIC_RUN_ID" in os.environ or started_by_srun() is not None or by_hand


def started_by_srun() -> int | None:
    """Return the number of processes that srun started; None for a single one.

    A batch script that does not use srun runs in a job of several tasks too.
    """
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    return tasks if tasks > 1 else None


def is_restartable() -> bool:
    """Return True in processes that torchrun starts again if one of them fails.

    Its count of restarts does not tell: an agent that joins others again does not count it.
    """
    return os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"


def started_by_torchrun() -> int | None:
    """Return the number of processes that torchrun started; None without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else None


def processes_here() -> int:
    """Return the number of processes that share this machine, at most."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or 1)


def end_with_first() -> None:
    """Exit this process as soon as its starter has ended: rank 0 of Lightning, or torchrun.

    If rank 0 is killed before the process group exists, the others would wait for half an hour and
    occupy their GPUs. If torchrun is killed, its processes would go on, and the same command would
    be refused while they write. A run continues from its last checkpoint.
    """
    first = os.getppid()
    if started_by_torchrun() is None:
        if is_first_process():
            os.environ[_FIRST] = str(os.getpid())  # Lightning's processes inherit it
            return
        if os.environ.get(_FIRST) != str(first):
            return

    def watch() -> None:
        while os.getppid() == first:
            time.sleep(WATCH_EVERY)
        os._exit(1)

    threading.Thread(target=watch, name=_FIRST, daemon=True).start()


def requeue_job() -> None:
    """Requeue this SLURM job; outside SLURM, log a warning."""
    job = os.environ.get("SLURM_JOB_ID")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if job is None:
        log.warning("checkpoint.requeue=true, but this is not a SLURM job; not requeued")
        return
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        log.warning("SLURM job %s was not requeued: %s", job, error)
