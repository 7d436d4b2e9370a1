"""DCCC as a LightningModule: student, teacher, memory, loss, optimiser."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from dccc_lightning.common import collectives
from dccc_lightning.data.batches import TrainBatch
from dccc_lightning.errors import UserError
from dccc_lightning.losses import ContrastiveLoss
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.models.batchnorm import (
    broadcast_running_statistics,
    follow_statistics,
    running_statistics,
)
from dccc_lightning.models.embedder import Embedder
from dccc_lightning.models.teacher import MeanTeacher
from dccc_lightning.training.optimization import Optimization
from dccc_lightning.training.retrieval_module import EvaluatedModule

_NAMES = {"val": "student", "val_teacher": "teacher"}
"""Networks by the prefix of their metrics."""


class DCCCModule(EvaluatedModule):
    """The network side of DCCC (METHOD, one epoch, step 5).

    A step sees the centroids from before it: student and teacher logits and the loss come first,
    then the optimiser, then the memory (DyCL) and the teacher. Both updates follow from the global
    batch, so every process makes the same ones.

    Args:
        student: The embedder that is trained.
        memory: Centroids of the clusters, rebuilt each epoch by the ``Recluster`` callback.
        loss: L_ss or one of its ablations; without need of a teacher none is made.
        optimization: Optimiser and warm-up.
        teacher_start: Step at which the teacher begins to follow the student.
        teacher_cap: Largest decay of the teacher.
        skip_nonfinite: Leave out a step whose loss is NaN or infinite, and count it; every step
            then waits for the device.
        compile: Compile student and teacher with ``torch.compile``.
        description: Plain containers, kept in every checkpoint beside the weights: what built them.
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
        description: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = (
            MeanTeacher(student, teacher_start, teacher_cap) if loss.uses_teacher else None
        )
        self.memory = memory
        self.loss = loss
        self.optimization = optimization
        self.skip_nonfinite = skip_nonfinite
        self.description = dict(description or {})
        # Sum and number of this epoch's losses, of all processes, and number of steps left out: a
        # buffer, so that a resumed epoch has both halves.
        self.register_buffer("loss_sums", torch.zeros(3, dtype=torch.float64))
        self.loss_sums: Tensor
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []
        self._statistics: list[Tensor] = []
        if compile:  # after the teacher has copied the student
            for network in self.networks().values():
                network.compile()

    def forward(self, images: Tensor) -> Tensor:
        """Embed normalised (B, 3, H, W) images with the student: (B, D), length 1."""
        embeddings: Tensor = self.student(images)
        return embeddings

    def training_step(self, batch: TrainBatch, batch_idx: int) -> Tensor:
        """Return the loss of this process's block of the global batch, or of a part of it."""
        self._begin_part(batch_idx)
        features = self.student(batch.view1)
        teacher_logits = None
        if self.teacher is not None:
            with torch.no_grad():
                teacher_logits = self.memory.logits(self.teacher(batch.view2))
        loss: Tensor = self.loss(self.memory.logits(features), teacher_logits, batch.labels)
        self._seen.append((features.detach(), batch.labels, loss.detach()[None]))
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

        Here and not in a hook at the end of the batch: checkpoints are written before that hook of
        the module, and would hold a teacher that lags one step behind its student. With gradient
        accumulation it comes after all parts of the batch, which have seen the same centroids.
        """
        step = self.global_step
        if self.skip_nonfinite:
            assert optimizer_closure is not None
            outcome = optimizer_closure()  # forward and backward
            if self._has_nonfinite_loss():
                self._forget_step(optimizer)
                return
            super().optimizer_step(epoch, batch_idx, optimizer, lambda: outcome)
        else:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        features, labels, losses = (
            collectives.gather_parts(torch.stack(parts)) for parts in zip(*self._seen, strict=True)
        )
        self._seen.clear()
        ones = torch.ones_like(losses)
        self.loss_sums += torch.stack((losses, ones, 0 * ones)).double().sum(dim=1)
        self.memory.update(features, labels)
        if self.teacher is not None:
            self.teacher.update(self.student, step)

    def on_train_start(self) -> None:
        """Let the settings of this run win over those in the checkpoint that it goes on from."""
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer)
        assert isinstance(scheduler, LRScheduler)
        self.optimization.renew(optimizer.optimizer, self.current_epoch)
        scheduler.base_lrs = [self.optimization.lr] * len(scheduler.base_lrs)

    def on_train_epoch_end(self) -> None:
        """Report the mean loss and make the running statistics the same on all processes.

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
        """Add what the weights belong to, so that they can be used without the run's folder."""
        better = {} if self.better is None else {"network": _NAMES[self.better]}
        checkpoint["dccc_lightning"] = self.description | better

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back which network was the better one of the last evaluation."""
        named = (checkpoint.get("dccc_lightning") or {}).get("network")
        self.better = next((prefix for prefix, name in _NAMES.items() if name == named), None)

    def _begin_part(self, batch_idx: int) -> None:
        """Prepare for a part of a batch; without gradient accumulation the whole of it."""
        parts = self.trainer.accumulate_grad_batches
        part = batch_idx % parts
        if parts > 1:  # the batch's group 0 is in its first part
            follow_statistics(self, part == 0)
        if self.skip_nonfinite and part == 0:
            self._statistics = [buffer.clone() for buffer in running_statistics(self)]

    def _has_nonfinite_loss(self) -> bool:
        """Tell whether any process has a NaN or infinite loss; this waits for the device."""
        losses = torch.cat([loss for _, _, loss in self._seen])
        return not collectives.mean(losses).isfinite().all()

    def _forget_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Leave everything as it was before the step, but for the count."""
        optimizer.zero_grad()
        self._seen.clear()
        for buffer, before in zip(running_statistics(self), self._statistics, strict=True):
            buffer.copy_(before)
        self.loss_sums[2] += 1

    def networks(self) -> dict[str, nn.Module]:
        """Name the networks that are evaluated: student and, if there is one, teacher."""
        return {"val": self.student} | ({"val_teacher": self.teacher} if self.teacher else {})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimiser over the student and its learning rate, stepped once an epoch."""
        optimizer = self.optimization.optimizer(self.student.parameters())
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": self.optimization.scheduler(optimizer),
                "interval": "epoch",
            },
        }
