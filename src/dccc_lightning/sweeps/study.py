"""The study of a sweep: trials in a file, drawn so that a resumed study draws the same ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dccc_lightning.errors import UserError
from dccc_lightning.sweeps.search_space import SearchSpace

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

STUDY_FILE = "study.log"
"""In the sweep's folder: Optuna's journal, one JSON object a line."""

STUDY_NAME = "dccc"
RETRY_OF = "retry_of"
PRUNED = "pruned"


def open_study(path: Path) -> "Study":
    """Open the study in a file, or begin one.

    Raises:
        UserError: Optuna is not installed, or the file is none of its journals.
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
        raise UserError(f"{path}: not a study of Optuna's that can be read ({error})") from error


class TrialSource:
    """Draw trials from a study and take their outcomes.

    Every trial is drawn by a sampler of its own, seeded by (seed, how many were drawn before), so
    that a study that was stopped goes on with the draws that it would have made. Trials that were
    cut short are drawn again first.

    Args:
        study: Where the trials are kept.
        space: What they vary.
        objective: What is maximised; kept to refuse another one later.
        seed: Of the draws.
        startup: Number of trials drawn at random before TPE begins.
    """

    def __init__(
        self, study: "Study", space: SearchSpace, objective: str, seed: int, startup: int
    ) -> None:
        self.study, self.space, self.seed, self.startup = study, space, seed, startup
        self._check_same(objective)
        self._retry_interrupted()

    @property
    def drawn(self) -> int:
        """Number of trials so far, without those that were cut short or wait to be drawn again."""
        trials = self.study.get_trials(deepcopy=False)
        begun = sum(trial.state.name != "WAITING" for trial in trials)
        return begun - sum(RETRY_OF in trial.user_attrs for trial in trials)

    def draw(self) -> "Trial":
        """Return the next trial."""
        from optuna.samplers import TPESampler  # noqa: PLC0415  an extra

        seed = int(np.random.SeedSequence([self.seed, self.drawn]).generate_state(1)[0])
        self.study.sampler = TPESampler(n_startup_trials=self.startup, seed=seed)
        return self.study.ask(self.space.ranges)

    def tell(self, number: int, value: float | None) -> "FrozenTrial":
        """Note a trial's objective; None: it failed. What pruning ended is noted as such."""
        from optuna.trial import TrialState  # noqa: PLC0415  an extra

        if value is None:
            return self.study.tell(number, state=TrialState.FAIL)
        if self.study.get_trials(deepcopy=False)[number].user_attrs.get(PRUNED):
            return self.study.tell(number, state=TrialState.PRUNED)
        return self.study.tell(number, value)

    def _check_same(self, objective: str) -> None:
        """Refuse to go on with other ranges, arguments or another objective."""
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
                    f"{STUDY_FILE} holds a study with other {key} ({theirs[key]}, not {value}); "
                    "choose another hydra.sweep.dir"
                )
            self.study.set_user_attr(key, value)

    def _retry_interrupted(self) -> None:
        from optuna.trial import TrialState  # noqa: PLC0415  an extra

        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            self.study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number})
            self.study.tell(trial.number, state=TrialState.FAIL)
