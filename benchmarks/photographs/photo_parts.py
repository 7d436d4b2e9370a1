"""Labels of a ceiling, a part of runs that is for comparison only."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dccc_lightning.clustering.dcps import Schedule
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler, PseudoLabels


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
