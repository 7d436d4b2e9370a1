"""An epoch that a checkpoint has interrupted, and what it cannot go on without."""

from dataclasses import dataclass

from dccc_lightning.errors import UserError

LATER = "change it after the end of an epoch"


@dataclass(frozen=True)
class BegunEpoch:
    """How far an epoch had come, and with which settings.

    Attributes:
        epoch: Counted from 0; -1 for none.
        steps: Optimiser steps made.
        iterations: Optimiser steps that it was to have.
        parts: Parts of a batch (gradient accumulation).
        images: Training images, one pseudo label each.
    """

    epoch: int = -1
    steps: int = 0
    iterations: int = 0
    parts: int = 1
    images: int = 0

    def first_step(self, epoch: int, iterations: int, parts: int, images: int) -> int:
        """Return the step with which ``epoch`` begins here: 0 unless it is the one interrupted.

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
            if self.parts != parts:
                raise UserError(
                    f"trainer.accumulate_grad_batches={parts}: the epoch to go on with was begun "
                    f"with {self.parts}; {LATER}"
                )
            if self.images != images:
                raise UserError(
                    f"{images} training images can be read, {self.images} when the epoch to go on "
                    "with began; restore them, or start anew"
                )
        return min(self.steps, iterations)
