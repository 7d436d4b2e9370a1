"""A Hydra launcher: several jobs at once on this machine, each on GPUs of its own."""

import os
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from dccc_lightning import checks
from dccc_lightning.console import CONSOLE
from dccc_lightning.construction import checked
from dccc_lightning.errors import UserError
from dccc_lightning.sweeping.job_commands import Job, failure, start, varying

Slot = tuple[str, ...]
"""The GPUs that a job sees; none on the processor."""


class LocalLauncher(Launcher):
    """Start each job as a process; jobs wait until a slot is free.

    A slot is ``trainer.devices`` GPUs of those that this process sees (``CUDA_VISIBLE_DEVICES``).
    What a job prints goes to ``logs/NUMBER.txt`` of the sweep.

    Args:
        jobs: At once; None: as many as the GPUs allow, one on the processor.
    """

    __module__ = "hydra_plugins.dccc_lightning"  # Hydra accepts plugins by such a name alone

    def __init__(self, jobs: int | None) -> None:
        self.jobs = jobs and checked("hydra.launcher", lambda: checks.integer("jobs", jobs, 1))

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra gives before a sweep."""
        self.hydra_context, self.config = hydra_context, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs, and return how each ended, in their order.

        Raises:
            UserError: No GPU, or fewer than a job needs.
        """
        setup_globals()
        returns = [
            self._composed(arguments, initial_job_idx + position)
            for position, arguments in enumerate(job_overrides)
        ]
        slots = gpu_slots(self.config.trainer.accelerator, self.config.trainer.devices, self.jobs)
        sweep = Path(self.config.hydra.sweep.dir)
        free: SimpleQueue[Slot] = SimpleQueue()
        for slot in slots:
            free.put(slot)
        with ThreadPoolExecutor(len(slots)) as pool, _Processes() as processes:
            positions = {}
            for position, (arguments, outcome) in enumerate(
                zip(job_overrides, returns, strict=True)
            ):
                number = initial_job_idx + position
                assert outcome.hydra_cfg is not None
                folder = Path(outcome.hydra_cfg.hydra.runtime.output_dir)
                job = Job(number, tuple(arguments), folder, sweep / "logs" / f"{number}.txt")
                future = pool.submit(self._run, job, free, processes, len(slots))
                positions[future] = (position, job)
            try:
                for done, future in enumerate(as_completed(positions), 1):
                    position, job = positions[future]
                    reason = future.result()
                    outcome = returns[position]
                    outcome.status = JobStatus.FAILED if reason else JobStatus.COMPLETED
                    failed = f"job {job.number} failed: {reason}"
                    outcome.return_value = UserError(failed) if reason else None
                    ended = failed if reason else f"job {job.number} done"
                    what = varying(job_overrides, job.arguments)
                    CONSOLE.print(f"{ended} ({done} of {len(returns)}) {what}", markup=False)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return returns

    def _run(
        self, job: Job, free: "SimpleQueue[Slot]", processes: "_Processes", at_once: int
    ) -> str | None:
        slot = free.get()
        try:
            process = processes.start(job, variables(slot, at_once))
            return failure(job, process.wait())
        finally:
            free.put(slot)

    def _composed(self, arguments: Sequence[str], number: int) -> JobReturn:
        """Return what Hydra wants to know of a job, its folder above all."""
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(arguments))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        HydraConfig.instance().set_config(config)
        folder = Path(config.hydra.sweep.dir) / str(config.hydra.sweep.subdir)
        with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
            config.hydra.runtime.output_dir = str(folder.absolute())
        outcome = JobReturn(overrides=list(arguments), cfg=config)
        outcome.hydra_cfg = OmegaConf.masked_copy(config, ["hydra"])
        return outcome


class _Processes:
    """The jobs that run; whatever ends the sweep ends them."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._is_over = False

    def __enter__(self) -> "_Processes":
        return self

    def start(self, job: Job, extra: dict[str, str]) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._is_over:
                raise RuntimeError("the sweep is over")
            process = start(job, extra)
            self._running.append(process)
        return process

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_over = True
            for process in self._running:
                if process.poll() is None:
                    process.terminate()


def gpu_slots(accelerator: str, devices: object, jobs: int | None) -> list[Slot]:
    """Share the GPUs out.

    Args:
        accelerator: ``trainer.accelerator``; on ``cpu`` no slot has a GPU.
        devices: ``trainer.devices``, of one job.
        jobs: At most so many slots; None: as many as there can be.

    Raises:
        UserError: There are too few GPUs for one job, or for ``jobs`` of them.
    """
    gpus = [] if accelerator == "cpu" else visible_gpus()
    if not gpus:
        return [()] * (jobs or 1)
    each = checked("trainer", lambda: checks.integer("devices", devices, 1))
    possible = len(gpus) // each
    if possible < (jobs or 1):
        raise UserError(
            f"hydra.launcher.jobs={jobs or 1}: {len(gpus)} GPUs are enough for {possible} jobs of "
            f"{each}; the jobs do not share a GPU"
        )
    return [tuple(gpus[i * each : (i + 1) * each]) for i in range(jobs or possible)]


def visible_gpus() -> list[str]:
    """Return the names by which a process may be given the GPUs that this one sees."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    if given is None:
        return [str(index) for index in range(count)]
    return [name.strip() for name in given.split(",")][:count]


def variables(slot: Slot, at_once: int) -> dict[str, str]:
    """Return the environment of a job: its GPUs, and its share of the cores as threads."""
    threads = str(max(1, (os.cpu_count() or 1) // at_once))
    shares = {n: threads for n in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS") if n not in os.environ}
    return {"CUDA_VISIBLE_DEVICES": ",".join(slot)} | shares
