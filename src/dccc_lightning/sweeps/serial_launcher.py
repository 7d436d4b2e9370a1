"""Hydra launcher that runs jobs one after the other in this process."""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn

from dccc_lightning.common.console import CONSOLE
from dccc_lightning.sweeps.job_clock import JobClock, varying


class SerialLauncher(BasicLauncher):
    """Hydra's basic launcher with a line per job and an estimate of the remaining time."""

    __module__ = "hydra_plugins.dccc_lightning"  # required by Hydra

    def __init__(self) -> None:
        super().__init__()
        self.clock = JobClock()

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs and return their outcomes."""
        self.clock.begin(len(job_overrides), initial_job_idx)
        returns: list[JobReturn] = []
        for number, arguments in enumerate(job_overrides, initial_job_idx):
            what = varying(job_overrides, arguments)
            CONSOLE.print(f"{self.clock.name(number)}: {what}{self.clock.left()}", style="bold")
            returns += super().launch([arguments], number)
            self.clock.tick()
        return returns
