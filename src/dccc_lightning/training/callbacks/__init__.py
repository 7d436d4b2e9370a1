"""What happens around training: re-clustering, evaluation, records of the run."""

from dccc_lightning.training.callbacks.recluster import Recluster

__all__ = ["Recluster"]
