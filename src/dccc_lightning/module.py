"""LightningModule of DCCC: student, teacher, memory, loss, optimiser."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from dccc_lightning.common import collectives
from dccc_lightning.data.batches import TrainBatch
from dccc_lightning.errors import UserError
from dccc_lightning.losses import ContrastiveLoss, NeighborLoss
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.models.batchnorm import (
    broadcast_running_statistics,
    follow_statistics,
    running_statistics,
)
from dccc_lightning.models.network import Embedder
from dccc_lightning.models.teacher import MeanTeacher
from dccc_lightning.training.checkpointing import describe_network
from dccc_lightning.training.optimization import Optimization
from dccc_lightning.training.retrieval_module import EvaluatedModule

_NAMES = {"val": "student", "val_teacher": "teacher"}
"""Networks, by the prefix of their metrics."""


class DCCCModule(EvaluatedModule):
    """LightningModule that trains an embedder with pseudo labels by DCCC.

    A step computes student and teacher logits and the loss with the current centroids, then steps
    the optimiser, then updates the memory (DyCL) and the teacher. The updates use the global batch
    and are therefore identical on all processes.

    Args:
        student: Embedder to train.
        memory: Cluster centroids, rebuilt each epoch by the ``Recluster`` callback.
        loss: L_ss or another loss; a teacher is created only if the loss or the memory uses it.
        optimization: Optimiser and warm-up.
        teacher_start: Step at which the teacher restarts as a copy of the student, see
            ``MeanTeacher``.
        teacher_cap: Maximum decay of the teacher.
        skip_nonfinite: Skip and count steps whose loss is NaN or infinite; every step then
            synchronises with the device.
        compile: Compile student and teacher with ``torch.compile``.
    """

    def __init__(
        self,
        student: Embedder,
        memory: ClusterMemory,
        loss: ContrastiveLoss,
        optimization: Optimization,
        teacher_start: int = 99,
        teacher_cap: float = 0.999,
        skip_nonfinite: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = (
            MeanTeacher(student, teacher_start, teacher_cap)
            if loss.uses_teacher or memory.uses_teacher
            else None
        )
        self.memory = memory
        self.loss = loss
        self.optimization = optimization
        self.skip_nonfinite = skip_nonfinite
        # Sum and number of the epoch's losses over all processes, and number of skipped steps. A
        # buffer, so that a resumed epoch includes the steps before the checkpoint.
        self.register_buffer("loss_sums", torch.zeros(3, dtype=torch.float64))
        self.loss_sums: Tensor
        self._seen: list[list[Tensor]] = []  # features, labels, loss, teacher's features
        self._statistics: list[Tensor] = []
        if compile:  # after the teacher is copied from the student
            for network in self.networks().values():
                network.compile()

    def forward(self, images: Tensor) -> Tensor:
        """Return the student's unit embeddings (B, D) of normalised images (B, 3, H, W)."""
        embeddings: Tensor = self.student(images)
        return embeddings

    def training_step(self, batch: TrainBatch, batch_idx: int) -> Tensor:
        """Return the loss of this process's block of the batch or accumulation step."""
        self._begin_part(batch_idx)
        features = self.student(batch.view1)
        taught: Tensor | None = None
        if self.teacher is not None:
            with torch.no_grad():
                taught = self.teacher(batch.view2)
        needs_indices = isinstance(self.loss, NeighborLoss)
        objective = partial(self.loss, indices=batch.indices) if needs_indices else self.loss
        loss = self.memory.contrast(objective, features, taught, batch.labels)
        seen = [features.detach(), batch.labels, loss.detach()[None]]
        if self.memory.uses_teacher and taught is not None:
            seen.append(taught)
        self._seen.append(seen)
        self.log("train/loss_step", loss.detach(), on_step=True, on_epoch=False)
        return loss

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step the optimiser, then the memory and the teacher.

        Not in ``on_train_batch_end``: checkpoints are written before that hook and would contain a
        teacher one step behind its student. With gradient accumulation, all parts of a batch use
        the same centroids.
        """
        step = self.global_step
        if self.skip_nonfinite:
            assert optimizer_closure is not None
            outcome = optimizer_closure()  # forward and backward
            if self._has_nonfinite_loss():
                self._discard_step(optimizer)
                return
            super().optimizer_step(epoch, batch_idx, optimizer, lambda: outcome)
        else:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        features, labels, losses, *taught = (
            collectives.gather_parts(torch.stack(parts)) for parts in zip(*self._seen, strict=True)
        )
        self._seen.clear()
        ones = torch.ones_like(losses)
        self.loss_sums += torch.stack((losses, ones, 0 * ones)).double().sum(dim=1)
        self.memory.update(features, labels, *taught)
        if self.teacher is not None:
            self.teacher.update(self.student, step)

    def on_train_start(self) -> None:
        """Override settings restored from a checkpoint by those of this run."""
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer)
        assert isinstance(scheduler, LRScheduler)
        self.optimization.renew(optimizer.optimizer, self.current_epoch)
        scheduler.base_lrs = [self.optimization.lr] * len(scheduler.base_lrs)

    def on_train_epoch_end(self) -> None:
        """Log the mean loss and synchronise the running statistics of all processes.

        Raises:
            UserError: The loss was NaN or infinite on every step.
        """
        total, count, skipped = self.loss_sums.unbind()
        if self.skip_nonfinite:
            if count == 0:
                raise UserError(
                    f"epoch {self.current_epoch}: the loss was NaN or infinite on every step; "
                    "try a lower optimizer.lr"
                )
            self.log("train/skipped", skipped, sync_dist=True)
        self.log("train/loss", total / count, sync_dist=True)
        lr = self.optimization.lr * self.optimization.factor(self.current_epoch)
        self.log("train/lr", torch.tensor(lr, dtype=torch.float64), sync_dist=True)
        self.loss_sums.zero_()
        broadcast_running_statistics(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the description of the network beside the weights."""
        data = getattr(self._trainer, "datamodule", None)  # of Recluster: a ReIDDataModule
        described = describe_network(self.student, data)
        better = {} if self.better is None else {"network": _NAMES[self.better]}
        checkpoint["dccc_lightning"] = described | better

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore which network was better at the last evaluation."""
        named = (checkpoint.get("dccc_lightning") or {}).get("network")
        self.better = next((prefix for prefix, name in _NAMES.items() if name == named), None)

    def _begin_part(self, batch_idx: int) -> None:
        """Prepare for a batch, or for a part of it under gradient accumulation."""
        parts = self.trainer.accumulate_grad_batches
        part = batch_idx % parts
        if parts > 1:  # group 0, the source of running statistics, is in the first part
            follow_statistics(self, part == 0)
        if self.skip_nonfinite and part == 0:
            self._statistics = [buffer.clone() for buffer in running_statistics(self)]

    def _has_nonfinite_loss(self) -> bool:
        """Return True if any process has a NaN or infinite loss; synchronises."""
        losses = torch.cat([loss for _, _, loss, *_ in self._seen])
        return not collectives.mean(losses).isfinite().all()

    def _discard_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Discard the gradients and statistics of the step, and count it as skipped."""
        optimizer.zero_grad()
        self._seen.clear()
        for buffer, before in zip(running_statistics(self), self._statistics, strict=True):
            buffer.copy_(before)
        self.loss_sums[2] += 1

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks to evaluate: the student and, if the loss uses it, the teacher."""
        return {"val": self.student} | ({"val_teacher": self.teacher} if self.teacher else {})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the student's optimiser and a learning rate schedule stepped once per epoch."""
        optimizer = self.optimization.optimizer(self.student.parameters())
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": self.optimization.scheduler(optimizer),
                "interval": "epoch",
            },
        }
