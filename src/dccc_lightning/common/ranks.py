"""Which of several processes this is, and of which job, by the variables of what started them."""

import logging
import os
import signal
import subprocess
import threading
import time

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What schedulers send before they take a machine away."""

WATCH_EVERY = 5.0
"""Seconds between two looks at whether the process that began this one is still there."""

_FIRST = "DCCC_FIRST_PROCESS"


def is_first_process() -> bool:
    """Tell whether this process speaks for all, or is alone."""
    return process_name() == ""


def process_name() -> str:
    """Return which of several processes this is; nothing for the first, or a single one."""
    names = ("LOCAL_RANK", "NODE_RANK", "RANK", *(("SLURM_PROCID",) if _in_slurm() else ()))
    return ", ".join(f"{n}={os.environ[n]}" for n in names if os.environ.get(n, "0") != "0")


def started_from_outside() -> bool:
    """Tell whether torchrun, SLURM or a user on several nodes started this process beside others.

    Lightning tells the processes that it starts itself from those by ``LOCAL_RANK``.
    """
    by_hand = "NODE_RANK" in os.environ and "LOCAL_RANK" not in os.environ
    return "TORCHELASTIC_RUN_ID" in os.environ or _in_slurm() or by_hand


def end_with_first() -> None:
    """Let a process that Lightning starts end once the first one, which started it, is gone.

    If that is killed before they have met, the other would wait for it for half an hour, and hold a
    GPU. Only the first process writes, so there is nothing to finish.
    """
    if is_first_process():
        os.environ[_FIRST] = str(os.getpid())  # Lightning's processes inherit it
        return
    first = os.getppid()
    if os.environ.get(_FIRST) != str(first):
        return

    def watch() -> None:
        while os.getppid() == first:
            time.sleep(WATCH_EVERY)
        os._exit(1)

    threading.Thread(target=watch, name=_FIRST, daemon=True).start()


def requeue_job() -> None:
    """Ask SLURM to start this job again; outside SLURM, say that there is no job."""
    job = os.environ.get("SLURM_JOB_ID")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if job is None:
        log.warning("checkpoint.requeue=true, but this is no SLURM job; not put into the queue")
        return
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        log.warning("SLURM job %s was not put into the queue again: %s", job, error)


def _in_slurm() -> bool:
    """Tell whether SLURM started several processes; ``SLURM_PROCID`` alone can be a shell's."""
    return int(os.environ.get("SLURM_NTASKS", "1")) > 1
