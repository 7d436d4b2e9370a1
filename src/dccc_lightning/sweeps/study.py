"""Optuna study of a sweep, with the same trials after an interruption."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dccc_lightning.errors import UserError
from dccc_lightning.sweeps.search_space import SearchSpace

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

STUDY_FILE = "study.log"
"""Optuna's journal in the sweep's folder, one JSON object per line."""

STUDY_NAME = "dccc"
RETRY_OF = "retry_of"
PRUNED = "pruned"


def open_study(path: Path) -> "Study":
    """Open or create the study in a file.

    Raises:
        UserError: Optuna is not installed, or the file is not one of its journals.
    """
    try:
        import optuna  # noqa: PLC0415  an extra
        from optuna.storages import JournalStorage  # noqa: PLC0415
        from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415
    except ImportError as error:
        raise UserError("hydra/sweeper=optuna: pip install 'dccc-lightning[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = JournalStorage(JournalFileBackend(str(path)))
        return optuna.create_study(
            storage=storage,
            study_name=STUDY_NAME,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
        )
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise UserError(f"{path}: not a readable Optuna study ({error})") from error


class TrialSource:
    """Source of trials of a study.

    Each trial is drawn by a new sampler seeded by (seed, number of earlier trials), so that a
    resumed study draws the same trials as an uninterrupted one. Interrupted trials are repeated
    first.

    Args:
        study: Study that stores the trials.
        space: Search space.
        objective: Metric to maximise, which must not change within a study.
        seed: Seed of the samplers.
        startup: Number of random trials before TPE starts.
    """

    def __init__(
        self, study: "Study", space: SearchSpace, objective: str, seed: int, startup: int
    ) -> None:
        self.study, self.space, self.seed, self.startup = study, space, seed, startup
        self._check_same(objective)
        self._retry_interrupted()

    @property
    def drawn(self) -> int:
        """Number of trials, without interrupted ones and those waiting to be repeated."""
        trials = self.study.get_trials(deepcopy=False)
        begun = sum(trial.state.name != "WAITING" for trial in trials)
        return begun - sum(RETRY_OF in trial.user_attrs for trial in trials)

    def draw(self) -> "Trial":
        """Return the next trial."""
        import numpy as np  # noqa: PLC0415  a third of the imports of --help
        from optuna.samplers import TPESampler  # noqa: PLC0415  an extra

        seed = int(np.random.SeedSequence([self.seed, self.drawn]).generate_state(1)[0])
        self.study.sampler = TPESampler(n_startup_trials=self.startup, seed=seed)
        return self.study.ask(self.space.ranges)

    def tell(self, number: int, value: float | None) -> "FrozenTrial":
        """Record a trial's objective, None for a failure, or that it was pruned."""
        from optuna.trial import TrialState  # noqa: PLC0415  an extra

        if value is None:
            return self.study.tell(number, state=TrialState.FAIL)
        if self.study.get_trials(deepcopy=False)[number].user_attrs.get(PRUNED):
            return self.study.tell(number, state=TrialState.PRUNED)
        return self.study.tell(number, value)

    def _check_same(self, objective: str) -> None:
        """Raise an error if ranges, arguments or objective differ from those of the study."""
        from optuna.distributions import distribution_to_json  # noqa: PLC0415  an extra

        ours: dict[str, Any] = {
            "ranges": {
                k: json.loads(distribution_to_json(r)) for k, r in self.space.ranges.items()
            },
            "arguments": sorted(self.space.fixed),
            "objective": objective,
        }
        theirs: Mapping[str, Any] = self.study.user_attrs
        for key, value in ours.items():
            if key in theirs and theirs[key] != value:
                raise UserError(
                    f"{STUDY_FILE} contains a study with other {key} ({theirs[key]}, not {value}); "
                    "choose another hydra.sweep.dir"
                )
            self.study.set_user_attr(key, value)

    def _retry_interrupted(self) -> None:
        from optuna.trial import TrialState  # noqa: PLC0415  an extra

        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            self.study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number})
            self.study.tell(trial.number, state=TrialState.FAIL)
