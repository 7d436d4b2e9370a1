"""State of an epoch interrupted by a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dccc_lightning.errors import UserError

LATER = "change it after the end of an epoch"


@dataclass(frozen=True)
class InterruptedEpoch:
    """Progress of an interrupted epoch, and the settings that determine its batches.

    Attributes:
        epoch: Epoch, from 0; -1 for none.
        steps: Number of completed optimiser steps.
        iterations: Number of optimiser steps of the epoch.
        images: Number of training images.
        settings: Values of the settings that determine the batches, by name.
    """

    epoch: int = -1
    steps: int = 0
    iterations: int = 0
    images: int = 0
    settings: Mapping[str, int] = field(default_factory=dict)

    def first_step(
        self, epoch: int, iterations: int, images: int, settings: Mapping[str, int]
    ) -> int:
        """Return the first step of an epoch: 0 unless it is the interrupted one.

        Args:
            epoch: Epoch to start.
            iterations: Current number of optimiser steps per epoch.
            images: Current number of training images.
            settings: Current values of the settings.

        Raises:
            UserError: The epoch was interrupted and its settings or images have changed.
        """
        if epoch != self.epoch:
            return 0
        if 0 < self.steps < self.iterations:
            if self.steps > iterations:
                raise UserError(
                    f"iterations={iterations}: the interrupted epoch has completed {self.steps} "
                    f"steps; {LATER}"
                )
            for name, started_with in self.settings.items():
                if (now := settings.get(name, started_with)) != started_with:
                    raise UserError(
                        f"{name}={now}: the interrupted epoch was started with {started_with}; "
                        f"{LATER}"
                    )
            if self.images != images:
                raise UserError(
                    f"{images} training images can be read, {self.images} when the interrupted "
                    "epoch started; restore them, or start a new run"
                )
        return min(self.steps, iterations)
