"""Lightning callbacks: re-clustering, evaluation, checkpoints and records of a run."""

from dccc_lightning.training.callbacks.recluster import Recluster

__all__ = ["Recluster"]
