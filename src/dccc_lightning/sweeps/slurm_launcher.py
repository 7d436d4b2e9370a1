"""Hydra launcher that submits the jobs of a sweep as SLURM job arrays through submitit."""

import os
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dccc_lightning.common import checks
from dccc_lightning.common.console import CONSOLE
from dccc_lightning.common.files import write_atomically
from dccc_lightning.config.instantiate import checked
from dccc_lightning.errors import UserError
from dccc_lightning.sweeps.command_launcher import CommandLauncher
from dccc_lightning.sweeps.job_commands import Job
from dccc_lightning.sweeps.slurm_nodes import Node, check_fit, default_cpus, read_nodes
from dccc_lightning.sweeps.slurm_queue import (
    ENDED,
    FORGOTTEN_SECONDS,
    QueueReport,
    read_queue,
    read_records,
)  # fmt: skip

if TYPE_CHECKING:  # an extra
    from submitit import Job as SubmittedJob
    from submitit import SlurmExecutor

POLL_SECONDS = 15.0
"""Interval of queries to SLURM, each one ``sacct`` and one ``squeue`` for all jobs."""


class Resources(NamedTuple):
    """Resources of a job by submitit's names; the jobs of an array have the same."""

    nodes: int
    ntasks_per_node: int
    gpus_per_node: int | None
    cpus_per_task: int | None

    def srun_arguments(self) -> list[str]:
        """Return the arguments of srun, which since SLURM 22.05 does not inherit cores."""
        cores = [f"--cpus-per-task={self.cpus_per_task}"] if self.cpus_per_task else []
        return [*cores, "--kill-on-bad-exit=1"]


class Submitted(NamedTuple):
    """A submitted job with its SLURM log and submitit's job object."""

    job: Job
    slurm: "SubmittedJob[Any]"

    @classmethod
    def of(cls, job: Job, slurm: "SubmittedJob[Any]") -> "Submitted":
        """Build from a job and submitit's job object."""
        return cls(job._replace(log=Path(slurm.paths.stdout)), slurm)

    def has_ended(self, state: str) -> bool:
        """Return True by the recorded state, or by the job's results if SLURM has none."""
        return state in ENDED or (state == "UNKNOWN" and self.job.is_finished())


class SlurmLauncher(CommandLauncher):
    """Launcher that submits jobs to SLURM and waits for them and for those of earlier calls.

    srun starts each job's command once per ``trainer.devices`` and ``trainer.num_nodes``. The
    command replaces submitit's process, so that SLURM's signals reach the run, which saves a
    checkpoint and requeues the job (``checkpoint.requeue``).

    Args:
        partition: SLURM partition; here and below, None for the cluster's default.
        account: Account to charge.
        constraint: Required features of the nodes.
        minutes: Time limit of a job, after which it is requeued and resumes.
        warning_seconds: Time before the limit at which the run is told to save; must exceed the
            duration of a step.
        gpus: GPUs per node; None for ``trainer.devices``, or none with ``trainer=cpu``.
        cpus: CPUs per process; None for a node's share, at most ``slurm_nodes.MOST_CPUS``.
        memory: Memory per node, such as ``64GB``.
        at_once: Maximum number of concurrent jobs.
        setup: Shell commands before the job, such as ``module load cuda``.
        sbatch: Further options of sbatch, without dashes.
    """

    __module__ = "hydra_plugins.dccc_lightning"  # required by Hydra

    def __init__(
        self,
        partition: str | None,
        account: str | None,
        constraint: str | None,
        minutes: int,
        warning_seconds: int,
        gpus: int | None,
        cpus: int | None,
        memory: str | None,
        at_once: int,
        setup: Sequence[str],
        sbatch: Mapping[str, Any],
    ) -> None:
        super().__init__()
        place = "hydra.launcher"
        self.gpus = gpus and checked(place, lambda: checks.integer("gpus", gpus, 0))
        self.cpus = cpus and checked(place, lambda: checks.integer("cpus", cpus, 1))
        self.parameters: dict[str, Any] = {
            "job_name": "dccc",
            "partition": partition,
            "account": account,
            "constraint": constraint,
            "time": checked(place, lambda: checks.integer("minutes", minutes, 1)),
            "mem": memory,
            "array_parallelism": checked(place, lambda: checks.integer("at_once", at_once, 1)),
            "setup": list(setup),
            "stderr_to_stdout": True,
            "wckey": None,
        }
        seconds = checked(place, lambda: checks.integer("warning_seconds", warning_seconds, 1))
        self.sbatch = {"requeue": True, "signal": f"USR1@{seconds}", **sbatch}

    def _ended(self, jobs: Sequence[Job]) -> Generator[tuple[Job, str | None], None, None]:
        logs = Path(self.config.hydra.sweep.dir).absolute() / "logs"
        executor = _executor(logs)
        nodes = read_nodes(self.parameters["partition"])
        running: list[Submitted] = []
        arrays: dict[Resources, list[Job]] = defaultdict(list)
        for job in jobs:
            earlier = _earlier(job)
            if earlier is None:
                arrays[self._resources(job, nodes)].append(job)
            else:
                running.append(earlier)
        try:
            with _nothing_left(logs):
                for resources, array in arrays.items():
                    executor.update_parameters(
                        **self.parameters,
                        **resources._asdict(),
                        srun_args=resources.srun_arguments(),
                        additional_parameters=self.sbatch,
                    )
                    running += _submit(executor, array)
            yield from _endings(running)
        except BaseException:
            for started in running:
                started.slurm.cancel(check=False)
            raise

    def _resources(self, job: Job, available: Sequence[Node]) -> Resources:
        trainer, place = job.trainer, "trainer"
        devices = checked(place, lambda: checks.integer("devices", trainer["devices"], 1))
        nodes = checked(place, lambda: checks.integer("num_nodes", trainer["num_nodes"], 1))
        gpus = self.gpus
        if gpus is None:
            gpus = 0 if trainer["accelerator"] == "cpu" else devices
        cpus = self.cpus or default_cpus(available, devices)
        check_fit(available, nodes, devices, cpus or 1, gpus, self.parameters["mem"])
        return Resources(nodes, devices, gpus or None, cpus)


@contextmanager
def _nothing_left(logs: Path) -> Iterator[None]:
    """Remove files in the log folder that a failed submission has created."""
    before = set(logs.iterdir()) if logs.is_dir() else set()
    try:
        yield
    except BaseException:
        for path in set(logs.iterdir()) - before if logs.is_dir() else ():
            path.unlink()
        if logs.is_dir() and not any(logs.iterdir()):
            logs.rmdir()
        raise


def _executor(logs: Path) -> "SlurmExecutor":
    """Return submitit's executor.

    Raises:
        UserError: Submitit is not installed, or SLURM is missing or has no accounting.
    """
    try:
        from submitit import SlurmExecutor  # noqa: PLC0415  an extra
    except ImportError as error:
        raise UserError("hydra/launcher=slurm: pip install 'dccc-lightning[slurm]'") from error
    missing = [name for name in ("sbatch", "srun", "sacct", "squeue") if shutil.which(name) is None]
    if missing:
        raise UserError(
            f"hydra/launcher=slurm: no {', '.join(missing)} here; start it on a login node of the "
            "cluster, or use hydra/launcher=local"
        )
    answer = subprocess.run(["sacct", "-X", "-n"], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        said = answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"]
        raise UserError(
            f"hydra/launcher=slurm: sacct does not answer ({said[-1]}), which is needed to detect "
            "the end of jobs; use a cluster with accounting, or hydra/launcher=local"
        )
    return SlurmExecutor(logs)


def _submit(executor: "SlurmExecutor", jobs: Sequence[Job]) -> list[Submitted]:
    """Submit jobs as an array and write their SLURM numbers to their folders."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError  # noqa: PLC0415  an extra

    commands = [[*job.repeatable_command(), "checkpoint.requeue=true"] for job in jobs]
    try:
        # Replace submitit's process by the run, which then receives SLURM's signals.
        array = executor.map_array(os.execv, [command[0] for command in commands], commands)
    except (FailedJobError, FailedSubmissionError) as error:
        said = str(error).strip().splitlines()[-1].removeprefix("sbatch: error: ")
        raise UserError(f"sbatch: {said}") from error
    for job, part in zip(jobs, array, strict=True):
        write_atomically(_note(job), part.job_id.encode())
        job.clear_failure()
    numbers = ", ".join(str(job.number + 1) for job in jobs)
    number = array[0].job_id.partition("_")[0]
    CONSOLE.print(f"submitted sweep jobs {numbers} as SLURM job {number}")
    return [Submitted.of(job, part) for job, part in zip(jobs, array, strict=True)]


def _note(job: Job) -> Path:
    """Return the file with the SLURM number of a job."""
    return job.log.with_suffix(".slurm")


def _earlier(job: Job) -> Submitted | None:
    """Return the job submitted by an earlier call, if it has not ended.

    Raises:
        UserError: SLURM does not know the job.
    """
    from submitit import SlurmJob  # noqa: PLC0415  an extra

    note = _note(job)
    if not note.exists():
        return None
    slurm: SlurmJob[Any] = SlurmJob(note.parent, note.read_text())
    earlier = Submitted.of(job, slurm)
    number = earlier.slurm.job_id
    state = read_records([number])[number]
    queue = read_queue({number: job.number})
    if queue is None:
        raise UserError(f"squeue does not answer; SLURM job {number} may still run; try later")
    if number in queue:
        state, _ = queue[number]
    if state == "UNKNOWN":
        raise UserError(
            f"SLURM does not know job {number}, which is job {job.number + 1} of the sweep; if it "
            f"is not running any more, remove {note}"
        )
    if state in ENDED:
        return None
    job.clear_failure()
    CONSOLE.print(f"job {job.number + 1} is already SLURM job {number}, {state.lower()}")
    return earlier


def _endings(
    running: Sequence[Submitted],
) -> Generator[tuple[Job, str | None], None, None]:
    """Yield each job when it ends, with a one-line error or None."""
    running = list(running)
    report = QueueReport()
    while running:
        ids = {one.slurm.job_id: one.job.number for one in running}
        states = read_records(ids)  # before the queue, which lists what is requeued meanwhile
        gone = report.update(ids)
        ended = [
            one
            for one in running
            if one.slurm.job_id in gone
            or (one.slurm.job_id not in report.active and one.has_ended(states[one.slurm.job_id]))
        ]
        for one in ended:
            running.remove(one)
            yield one.job, _failure(one.job, states[one.slurm.job_id])
        if running and not ended:
            time.sleep(POLL_SECONDS)


def _failure(job: Job, state: str) -> str | None:
    """Return a one-line error of a job, after writing it to its folder, or None.

    A job that left the queue without an end in SLURM's records has failed unless it has results.
    """
    is_forgotten = state not in ENDED
    if state == "COMPLETED" or (is_forgotten and job.is_finished()):
        return None
    ranks = job.log.parent.glob(job.log.name.replace("_0_log.", "_[1-9]*_log."))
    reason = (job.error_line(ranks) if state == "FAILED" else None) or f"SLURM says {state}"
    if is_forgotten:
        reason = (
            f"not in SLURM's queue for {FORGOTTEN_SECONDS / 60:.0f} minutes, no end in sacct, and "
            "no results"
        )
    job.write_failure(reason)
    return reason
