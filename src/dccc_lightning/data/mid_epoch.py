"""An epoch that a checkpoint has interrupted, and what it cannot go on without."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dccc_lightning.errors import UserError

LATER = "change it after the end of an epoch"


@dataclass(frozen=True)
class BegunEpoch:
    """How far an epoch had come, and with which settings.

    Attributes:
        epoch: Counted from 0; -1 for none.
        steps: Optimiser steps made.
        iterations: Optimiser steps that it was to have.
        images: Training images, one pseudo label each.
        settings: What its batches are drawn by, by the names of the settings.
    """

    epoch: int = -1
    steps: int = 0
    iterations: int = 0
    images: int = 0
    settings: Mapping[str, int] = field(default_factory=dict)

    def first_step(
        self, epoch: int, iterations: int, images: int, settings: Mapping[str, int]
    ) -> int:
        """Return the step with which ``epoch`` begins here: 0 unless it is the one interrupted.

        Args:
            epoch: The one that begins.
            iterations: Optimiser steps that an epoch has now.
            images: Training images now.
            settings: As the attribute, now.

        Raises:
            UserError: It is, and the settings or the images are others than it was begun with.
        """
        if epoch != self.epoch:
            return 0
        if 0 < self.steps < self.iterations:
            if self.steps > iterations:
                raise UserError(
                    f"iterations={iterations}: the epoch to go on with has made {self.steps} steps "
                    f"already; {LATER}"
                )
            for name, begun_with in self.settings.items():
                if (now := settings.get(name, begun_with)) != begun_with:
                    raise UserError(
                        f"{name}={now}: the epoch to go on with was begun with {begun_with}; "
                        f"{LATER}"
                    )
            if self.images != images:
                raise UserError(
                    f"{images} training images can be read, {self.images} when the epoch to go on "
                    "with began; restore them, or start anew"
                )
        return min(self.steps, iterations)
