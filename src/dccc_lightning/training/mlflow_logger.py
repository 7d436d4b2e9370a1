"""MLflow logger whose resumed runs keep the settings that they were begun with."""

from argparse import Namespace
from typing import Any

from pytorch_lightning.loggers import MLFlowLogger
from pytorch_lightning.utilities import rank_zero_only


class RunMLFlowLogger(MLFlowLogger):
    """Lightning's MLflow logger, also for resumed runs: MLflow refuses to change a parameter."""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log the settings of a new run."""
        if not self.experiment.get_run(self.run_id).data.params:
            super().log_hyperparams(params)
