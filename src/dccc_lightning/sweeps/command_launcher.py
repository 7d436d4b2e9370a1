"""Base class of launchers that run each job of a sweep as a separate command."""

from abc import abstractmethod
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from dccc_lightning.common.console import CONSOLE
from dccc_lightning.common.overrides import config_dir_flags
from dccc_lightning.errors import UserError
from dccc_lightning.sweeps.job_clock import JobClock, varying
from dccc_lightning.sweeps.job_commands import Job


class CommandLauncher(Launcher):
    """Launcher that runs unfinished jobs as commands and prints how each ended.

    Attributes:
        clock: Numbering of the jobs and estimate of the remaining time.
    """

    def __init__(self) -> None:
        self.clock = JobClock()

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store the context that Hydra passes before a sweep."""
        self.hydra_context, self.config = hydra_context, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs and return their outcomes in order.

        Raises:
            UserError: The jobs cannot be started.
        """
        setup_globals()
        logs = Path(self.config.hydra.sweep.dir) / "logs"
        returns, jobs = {}, []
        for number, arguments in enumerate(job_overrides, initial_job_idx):
            returns[number] = outcome = self._composed(arguments, number)
            assert outcome.cfg is not None
            assert outcome.hydra_cfg is not None
            folder = Path(outcome.hydra_cfg.hydra.runtime.output_dir)
            trainer = dict(outcome.cfg.trainer)
            flags = tuple(config_dir_flags(outcome.hydra_cfg.hydra.runtime.config_sources))
            log = logs / f"{number}.txt"
            jobs.append(Job(number, tuple(arguments), folder, log, trainer, flags))
        waiting = [job for job in jobs if not job.is_finished()]
        for outcome in returns.values():
            outcome.status = JobStatus.COMPLETED
        if len(waiting) < len(jobs):
            CONSOLE.print(f"{len(jobs) - len(waiting)} of {len(jobs)} jobs are already done")
        self.clock.begin(len(jobs), initial_job_idx, len(jobs) - len(waiting))
        with closing(self._ended(waiting)) as ended:
            for job, reason in ended:
                self.clock.tick()
                name = self.clock.name(job.number)
                told = f"{name} failed: {reason}" if reason else f"{name} done"
                if reason:
                    returns[job.number].status = JobStatus.FAILED
                    returns[job.number].return_value = UserError(told)
                what = varying(job_overrides, job.arguments)
                CONSOLE.print(f"{told}: {what}{self.clock.left()}")
        return list(returns.values())

    @abstractmethod
    def _ended(self, jobs: Sequence[Job]) -> Generator[tuple[Job, str | None], None, None]:
        """Run the jobs; yield each when it ends, with a one-line error or None."""

    def _composed(self, arguments: Sequence[str], number: int) -> JobReturn:
        """Compose a job and return Hydra's record of it, with its folder."""
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
