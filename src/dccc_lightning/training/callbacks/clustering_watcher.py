"""Base of the callbacks that follow the clusterings of a training."""

from typing import TypeVar

import pytorch_lightning as pl
from pytorch_lightning import Callback

from dccc_lightning.training.callbacks.recluster import Recluster, Watcher

C = TypeVar("C", bound=Callback)


def first_of(trainer: pl.Trainer, kind: type[C]) -> C | None:
    """Return the first callback of a kind that a trainer has, or None."""
    found: list[Callback] = vars(trainer)["callbacks"]
    return next((callback for callback in found if isinstance(callback, kind)), None)


class ClusteringWatcher(Callback):
    """Callback that is told of every clustering of ``Recluster``.

    Attributes:
        recluster: The callback that is watched; None before ``watch``, or if the trainer has none.
    """

    recluster: Recluster | None = None

    def watch(self, trainer: pl.Trainer, watcher: Watcher) -> None:
        """Subscribe ``watcher`` to the clusterings of ``Recluster``, if there is one, once."""
        if self.recluster is None:
            self.recluster = first_of(trainer, Recluster)
            if self.recluster is not None:
                self.recluster.watchers.append(watcher)
