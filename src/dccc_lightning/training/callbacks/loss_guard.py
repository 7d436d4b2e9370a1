"""Detection of NaN and infinite losses."""

import io
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback
from torch import Tensor

from dccc_lightning.common import callback_ranges, collectives
from dccc_lightning.common.faults import LostProcessError
from dccc_lightning.common.files import write_atomically
from dccc_lightning.data.batches import TrainBatch
from dccc_lightning.errors import UserError

MAX_WAITING = 4
"""Maximum number of steps whose loss is still being copied; their batches stay on the GPU."""


class Outcome(NamedTuple):
    """Loss of a step, being copied to the CPU."""

    loss: Tensor
    arrival: torch.cuda.Event | None
    batch: TrainBatch
    epoch: int
    step: int

    def has_arrived(self) -> bool:
        """Return True if the copy has finished, without synchronising."""
        return self.arrival is None or bool(self.arrival.query())  # type: ignore[no-untyped-call]


class LossGuard(Callback):
    """Callback that stops a run after a NaN or infinite loss and saves the batch.

    Losses are checked asynchronously, on a GPU a few steps later.

    Args:
        folder: Run folder, in which the batch is saved as ``nonfinite_batch.pt``.
        policy: ``stop``, or ``skip`` to do nothing, since the module skips such steps.
    """

    def __init__(self, folder: str | Path, policy: str = "stop") -> None:
        self.folder = Path(folder)
        callback_ranges.loss_guard(folder, policy)
        self.policy = policy
        self._waiting: deque[Outcome] = deque()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: TrainBatch,
        batch_idx: int,
    ) -> None:
        """Start copying the loss, and check losses that have arrived.

        Raises:
            UserError: A loss is NaN or infinite.
        """
        if self.policy == "skip":
            return
        loss, arrival = outputs["loss"], None
        if loss.is_cuda:
            loss = torch.empty_like(loss, device="cpu", pin_memory=True).copy_(
                loss, non_blocking=True
            )
            arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrival.record()
        step = batch_idx // trainer.accumulate_grad_batches
        self._waiting.append(Outcome(loss, arrival, batch, trainer.current_epoch, step))
        while self._waiting:
            if len(self._waiting) <= MAX_WAITING and not self._waiting[0].has_arrived():
                break
            self._look(trainer, self._waiting.popleft())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wait for the remaining losses and check them."""
        while self._waiting:
            self._look(trainer, self._waiting.popleft())

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Prevent a checkpoint with NaN parameters, on all processes.

        Raises:
            UserError: A parameter is NaN or infinite.
        """
        self.on_train_epoch_end(trainer, pl_module)
        finite = torch.stack([value.isfinite().all() for value in pl_module.parameters()])
        if not finite.all():
            raise LostProcessError(
                f"epoch {trainer.current_epoch}: the network has become NaN or infinite, so it is "
                "not saved; try a lower optimizer.lr"
            )

    def _look(self, trainer: pl.Trainer, outcome: Outcome) -> None:
        if outcome.arrival:
            outcome.arrival.synchronize()
        if outcome.loss.isfinite():
            return
        self._waiting.clear()
        rank, processes = collectives.world()
        name = "nonfinite_batch.pt" if processes == 1 else f"nonfinite_batch_{rank}.pt"
        content = io.BytesIO()
        tensors = {field: value.cpu() for field, value in outcome.batch._asdict().items()}
        torch.save({**tensors, "epoch": outcome.epoch, "step": outcome.step}, content)
        write_atomically(self.folder / name, content.getbuffer())
        raise UserError(
            f"epoch {outcome.epoch}, step {outcome.step}: the loss is {float(outcome.loss)}; its "
            f"batch is saved in {self.folder / name}; try a lower optimizer.lr, or "
            "on_nonfinite_loss=skip to skip such steps"
        )
