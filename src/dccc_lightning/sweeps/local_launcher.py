"""Hydra launcher that runs several jobs at once on this machine, on separate GPUs."""

import os
import subprocess
import threading
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue
from typing import Any

from dccc_lightning.common import checks
from dccc_lightning.config.instantiate import checked
from dccc_lightning.errors import UserError
from dccc_lightning.sweeps.command_launcher import CommandLauncher
from dccc_lightning.sweeps.job_commands import Job, failure, start

Slot = tuple[str, ...]
"""GPUs visible to a job; empty on the CPU."""


class LocalLauncher(CommandLauncher):
    """Launcher that starts each job as a process as soon as a slot is free.

    A slot is a set of GPUs visible to this process (``CUDA_VISIBLE_DEVICES``), as many as the
    largest ``trainer.devices`` of the jobs. Output is written to ``logs/NUMBER.txt`` of the sweep.

    Args:
        jobs: Number of concurrent jobs; None for as many as the GPUs allow, or one on the CPU.
    """

    __module__ = "hydra_plugins.dccc_lightning"  # required by Hydra

    def __init__(self, jobs: int | None) -> None:
        super().__init__()
        if jobs is not None:
            checked("hydra.launcher", lambda: checks.integer("jobs", jobs, 1))
        self.jobs = jobs

    def _ended(self, jobs: Sequence[Job]) -> Generator[tuple[Job, str | None], None, None]:
        slots = gpu_slots([job.trainer for job in jobs], self.jobs)
        free: SimpleQueue[Slot] = SimpleQueue()
        for slot in slots:
            free.put(slot)
        with ThreadPoolExecutor(len(slots)) as pool, _Processes() as processes:
            running = {
                pool.submit(self._run, job, free, processes, len(slots)): job for job in jobs
            }
            try:
                for future in as_completed(running):
                    yield running[future], future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _run(
        self, job: Job, free: "SimpleQueue[Slot]", processes: "_Processes", at_once: int
    ) -> str | None:
        slot = free.get()
        try:
            process = processes.start(job, variables(slot, at_once))
            return failure(job, process.wait())
        finally:
            free.put(slot)


class _Processes:
    """Running jobs, which are ended together with the sweep."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._is_over = False

    def __enter__(self) -> "_Processes":
        return self

    def start(self, job: Job, extra: dict[str, str]) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._is_over:
                raise RuntimeError("the sweep has ended")
            process = start(job, extra)
            self._running.append(process)
        return process

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_over = True
            for process in self._running:
                if process.poll() is None:
                    process.terminate()


def gpu_slots(trainers: Sequence[Mapping[str, Any]], jobs: int | None) -> list[Slot]:
    """Divide the GPUs into slots.

    Args:
        trainers: ``trainer`` settings of each job; a slot has as many GPUs as the largest
            ``devices``, and none if every ``accelerator`` is ``cpu``.
        jobs: Maximum number of slots; None for as many as possible.

    Raises:
        UserError: The GPUs do not suffice for one job, or for ``jobs`` jobs.
    """
    devices = [trainer["devices"] for trainer in trainers if trainer["accelerator"] != "cpu"]
    gpus = visible_gpus() if devices else []
    if not gpus:
        return [()] * (jobs or 1)
    each = checked("trainer", lambda: max(checks.integer("devices", d, 1) for d in devices))
    possible = len(gpus) // each
    if possible < (jobs or 1):
        raise UserError(
            f"hydra.launcher.jobs={jobs or 1}: {len(gpus)} GPUs suffice for {possible} jobs of "
            f"{each}; jobs do not share GPUs"
        )
    return [tuple(gpus[i * each : (i + 1) * each]) for i in range(jobs or possible)]


def visible_gpus() -> list[str]:
    """Return the visible GPUs as entries of ``CUDA_VISIBLE_DEVICES``."""
    import torch  # noqa: PLC0415  (slow to import, and needed by sweeps only)

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    if given is None:
        return [str(index) for index in range(count)]
    return [name.strip() for name in given.split(",")][:count]


def variables(slot: Slot, at_once: int) -> dict[str, str]:
    """Return the environment variables of a job: its GPUs and number of threads."""
    threads = str(max(1, (os.cpu_count() or 1) // at_once))
    shares = {n: threads for n in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS") if n not in os.environ}
    return {"CUDA_VISIBLE_DEVICES": ",".join(slot)} | shares
