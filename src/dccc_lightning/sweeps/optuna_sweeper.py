"""Hydra sweeper with Optuna: TPE, pruning and resumable studies.

Hydra's published plugin requires Optuna of 2022 and supports neither pruning nor exact resuming.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from dccc_lightning.common import checks
from dccc_lightning.common.console import CONSOLE
from dccc_lightning.common.files import write_atomically
from dccc_lightning.config.instantiate import checked
from dccc_lightning.errors import UserError
from dccc_lightning.reports.objective import OBJECTIVES, folder_objective
from dccc_lightning.sweeps.job_clock import JobClock
from dccc_lightning.sweeps.search_space import SearchSpace, parse_space
from dccc_lightning.sweeps.study import STUDY_FILE, TrialSource, open_study


class OptunaSweeper(Sweeper):
    """Sweeper that runs trials until the study in the sweep's folder has ``trials``.

    Args:
        trials: Total number of trials, including earlier calls.
        objective: Metric to maximise, ``mAP`` or ``overall_silhouette``.
        at_once: Number of trials drawn together, for launchers that run several jobs at once.
        seed: Seed of the sampler, not of the trainings.
        startup: Number of random trials before TPE starts.
        prune_after: Share of the epochs after which trials below the median of earlier trials are
            pruned; None to disable pruning.
        params: Ranges by argument in Hydra's syntax; overridden by the command line.
    """

    __module__ = "hydra_plugins.dccc_lightning"  # required by Hydra

    def __init__(
        self,
        trials: int,
        objective: str,
        at_once: int,
        seed: int,
        startup: int,
        prune_after: float | None,
        params: Mapping[str, Any],
    ) -> None:
        place = "hydra.sweeper"
        self.trials = checked(place, lambda: checks.integer("trials", trials, 1))
        self.objective = checked(place, lambda: checks.choice("objective", objective, OBJECTIVES))
        self.at_once = checked(place, lambda: checks.integer("at_once", at_once, 1))
        self.seed = checked(place, lambda: checks.integer("seed", seed, 0))
        self.startup = checked(place, lambda: checks.integer("startup", startup, 1))
        self.prune_after = checked(
            place,
            lambda: checks.real("prune_after", 1 if prune_after is None else prune_after, 0, 1),
        )
        self.params = dict(params)
        self.launcher: Launcher | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store the context that Hydra passes before a sweep."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Run the missing trials.

        Raises:
            UserError: The ranges are invalid or differ from those of the study, or trials failed
                (after all have been run).
        """
        assert self.launcher is not None
        assert self.config is not None
        space = self._space(arguments)
        self.validate_batch_is_legal([space.corner()])
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        study = open_study(folder / STUDY_FILE)
        source = TrialSource(study, space, self.objective, self.seed, self.startup)
        returns: list[JobReturn] = []
        clock = getattr(self.launcher, "clock", None)
        if isinstance(clock, JobClock):
            clock.total = self.trials
        while (missing := self.trials - source.drawn) > 0:
            drawn = [source.draw() for _ in range(min(missing, self.at_once))]
            jobs = [
                [*space.arguments(trial.params), *self._pruning(folder, trial.number)]
                for trial in drawn
            ]
            outcomes = self.launcher.launch(jobs, initial_job_idx=drawn[0].number)
            for trial, outcome in zip(drawn, outcomes, strict=True):
                self._note(source, trial.number, outcome)
            returns += outcomes
        self._summarize(source)
        failed = sum(outcome.status == JobStatus.FAILED for outcome in returns)
        if failed:
            raise UserError(f"{failed} of {len(returns)} trials failed; see error.txt of each")
        return returns

    def _space(self, arguments: list[str]) -> SearchSpace:
        assert self.hydra_context is not None
        ranges = [f"{key}={value}" for key, value in self.params.items()]
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        return parse_space(parser, [*ranges, *arguments])

    def _pruning(self, folder: Path, number: int) -> list[str]:
        """Return the arguments of the pruning callback of a job."""
        if self.prune_after == 1:
            return []
        key = "+callbacks.pruning"
        path = str((folder / STUDY_FILE).absolute()).replace("'", r"\'")
        return [
            f"{key}._target_=dccc_lightning.training.callbacks.pruning.Pruning",
            f"{key}.study_file='{path}'",
            f"{key}.trial={number}",
            f"{key}.objective={self.objective}",
            f"{key}.after={self.prune_after}",
        ]

    def _note(self, source: TrialSource, number: int, outcome: JobReturn) -> None:
        value = None
        if outcome.status == JobStatus.COMPLETED:
            assert outcome.hydra_cfg is not None
            output = Path(outcome.hydra_cfg.hydra.runtime.output_dir)
            value = folder_objective(output, self.objective)
            if value is None:
                outcome.status = JobStatus.FAILED
                text = f"{self.objective}: missing in the results of this run"
                write_atomically(output / "error.txt", f"{text}\n".encode())
        told = source.tell(number, value)
        shown = "" if value is None else f", {self.objective} {value:.4g}"
        CONSOLE.print(f"trial {number}: {told.state.name.lower()}{shown}")

    def _summarize(self, source: TrialSource) -> None:
        finished = [t for t in source.study.get_trials() if t.state.name == "COMPLETE"]
        if finished:
            best = max(finished, key=lambda trial: trial.value or 0.0)
            drawn = " ".join(source.space.arguments(best.params)[len(source.space.fixed) :])
            CONSOLE.print(f"best: trial {best.number}, {self.objective} {best.value:.4g}, {drawn}")
