"""End a trial of a search early when it does worse than those before it."""

from pathlib import Path

import pytorch_lightning as pl

from dccc_lightning.common import checks
from dccc_lightning.reports.objective import OBJECTIVES, epoch_objective
from dccc_lightning.training.callbacks.epoch_row import EpochRow


class Pruning(EpochRow):
    """Tell the study how a trial does, and stop the training when Optuna's pruner says so.

    The run ends as if it had been that long: it keeps its checkpoints and results.

    Args:
        study_file: Optuna's journal; it holds one study.
        trial: Number of the trial.
        objective: What is told after each epoch that has it.
        after: Share of the epochs before which nothing is stopped: a schedule that starts high
            does badly at first.
    """

    def __init__(self, study_file: str | Path, trial: int, objective: str, after: float) -> None:
        self.study_file = Path(study_file)
        self.trial = checks.integer("trial", trial, 0)
        self.objective = checks.choice("objective", objective, OBJECTIVES)
        self.after = checks.real("after", after, 0, 1)

    def on_epoch_row(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        """Report the epoch; rank 0 decides for all processes."""
        value = epoch_objective(row, self.objective)
        if value is None or row["epoch"] < 0:
            return
        stops = False
        if trainer.is_global_zero:
            assert trainer.max_epochs is not None
            epochs = int(row["epoch"]) + 1
            is_late = self.after * trainer.max_epochs <= epochs < trainer.max_epochs
            stops = self._report(value, epochs, is_late)
        if trainer.strategy.broadcast(stops):
            trainer.should_stop = True

    def _report(self, value: float, epochs: int, is_late: bool) -> bool:
        """Note the value; return whether the trial should end, and note that too."""
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
        trial = optuna.Trial(study, self.trial)  # with one study, a trial's id is its number
        trial.report(value, epochs)
        stops = is_late and trial.should_prune()
        if stops:
            trial.set_user_attr("pruned", True)
        return stops
