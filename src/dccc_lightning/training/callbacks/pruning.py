"""Pruning of a study's unpromising trials."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl

from dccc_lightning.common import checks
from dccc_lightning.errors import UserError
from dccc_lightning.reports.objective import OBJECTIVES, epoch_objective
from dccc_lightning.training.callbacks.epoch_row import EpochRow

if TYPE_CHECKING:
    from optuna import Study


class Pruning(EpochRow):
    """Callback that reports a trial's objective to Optuna and stops the training when pruned.

    A pruned run ends normally, with its checkpoints and results.

    Args:
        study_file: Optuna's journal file with one study.
        trial: Number of the trial.
        objective: Metric to report after each epoch that has it.
        after: Share of the epochs before which no trial is pruned: schedules that start with a high
            eps score low at first.
    """

    def __init__(self, study_file: str | Path, trial: int, objective: str, after: float) -> None:
        self.study_file = Path(study_file)
        self.trial = checks.integer("trial", trial, 0)
        self.objective = checks.choice("objective", objective, OBJECTIVES)
        self.after = checks.real("after", after, 0, 1)

    def on_epoch_row(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        """Report the epoch on rank 0 and broadcast the decision."""
        value = epoch_objective(row, self.objective)
        if value is None or row["epoch"] < 0:
            return
        stops = False
        if trainer.is_global_zero:
            assert trainer.max_epochs is not None
            epochs = int(row["epoch"]) + 1
            is_late = self.after * trainer.max_epochs <= epochs < trainer.max_epochs
            protocol = getattr(trainer.lightning_module, "protocol", "")
            stops = self._report(value, epochs, is_late, protocol)
        if trainer.strategy.broadcast(stops):
            trainer.should_stop = True

    def _report(self, value: float, epochs: int, is_late: bool, protocol: str = "") -> bool:
        """Report the value and return True, after recording it, if the trial is pruned.

        Raises:
            UserError: Another trial was evaluated by another protocol.
        """
        import optuna  # noqa: PLC0415  an extra
        from optuna.storages import JournalStorage  # noqa: PLC0415
        from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(str(self.study_file)))
        study = optuna.load_study(
            study_name=None,
            storage=storage,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
        )
        trial = optuna.Trial(study, self.trial)  # in a journal of one study, id == number
        if self.objective == "mAP":
            _check_protocol(study, protocol)
        trial.report(value, epochs)
        stops = is_late and trial.should_prune()
        if stops:
            trial.set_user_attr("pruned", True)
        return stops


def _check_protocol(study: "Study", protocol: str) -> None:
    """Record the evaluation protocol of a study, and refuse another one."""
    first = study.user_attrs.get("protocol", protocol)
    if first != protocol:
        raise UserError(
            f"evaluate.protocol: this trial is evaluated by {protocol}, the study by {first}, and "
            "scores of two protocols are not comparable; search with one of them"
        )
    if "protocol" not in study.user_attrs:
        study.set_user_attr("protocol", protocol)
