"""Parts of runs that are for comparison only: labels of a ceiling, batch norm that stands still."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytorch_lightning as pl

from dccc_lightning.clustering.dcps import Schedule
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler, PseudoLabels
from dccc_lightning.models.batchnorm import GroupedBatchNorm


@dataclass(frozen=True)
class TrueLabels(PseudoLabeler):
    """The identities in place of clusters: a ceiling of every clustering.

    Attributes:
        identities: Numbers of the identities, in the order of the training images.
    """

    identities: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Leave the checks to the constructor of the real one."""

    def __call__(
        self, features: Any, schedule: Schedule, epoch: int, *others: Any, **more: Any
    ) -> PseudoLabels:
        labels = np.asarray(self.identities, dtype=np.int64)
        if len(labels) != len(features):
            raise ValueError(f"{len(labels)} identities of {len(features)} images")
        return PseudoLabels(labels, schedule(epoch), schedule(epoch), int(labels.max()) + 1)


class FrozenStatistics(pl.Callback):
    """Batch norm by its running statistics, as in evaluation, which do not change."""

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any
    ) -> None:
        for part in pl_module.modules():
            if isinstance(part, GroupedBatchNorm):
                part.eval()
