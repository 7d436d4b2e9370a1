"""DCCC as a LightningModule: student, teacher, memory, loss, optimiser."""

from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from dccc_lightning import distributed
from dccc_lightning.data.batches import TrainBatch
from dccc_lightning.evaluated import EvaluatedModule
from dccc_lightning.losses import ContrastiveLoss
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.models.batchnorm import broadcast_running_statistics
from dccc_lightning.models.embedder import Embedder
from dccc_lightning.models.teacher import MeanTeacher
from dccc_lightning.optimization import Optimization


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
    """

    def __init__(
        self,
        student: Embedder,
        memory: ClusterMemory,
        loss: ContrastiveLoss,
        optimization: Optimization,
        teacher_start: int = 99,
        teacher_cap: float = 0.999,
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = (
            MeanTeacher(student, teacher_start, teacher_cap) if loss.uses_teacher else None
        )
        self.memory = memory
        self.loss = loss
        self.optimization = optimization
        # Sum and number of this epoch's losses: a buffer, so that a resumed epoch has both halves.
        self.register_buffer("loss_sums", torch.zeros(2, dtype=torch.float64))
        self.loss_sums: Tensor
        self._seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        """Embed normalised (B, 3, H, W) images with the student: (B, D), length 1."""
        embeddings: Tensor = self.student(images)
        return embeddings

    def training_step(self, batch: TrainBatch, batch_idx: int) -> Tensor:
        """Return the loss of this process's block of the global batch."""
        features = self.student(batch.view1)
        teacher_logits = None
        if self.teacher is not None:
            with torch.no_grad():
                teacher_logits = self.memory.logits(self.teacher(batch.view2))
        loss: Tensor = self.loss(self.memory.logits(features), teacher_logits, batch.labels)
        self._seen.append((features.detach(), batch.labels))
        self.loss_sums += torch.stack((loss.detach().double(), self.loss_sums.new_ones(())))
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
        the module, and would hold a teacher that lags one step behind its student.
        """
        step = self.global_step
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        features, labels = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        self._seen.clear()
        self.memory.update(distributed.gather_blocks(features), distributed.gather_blocks(labels))
        if self.teacher is not None:
            self.teacher.update(self.student, step)

    def on_train_epoch_end(self) -> None:
        """Report the mean loss and make the running statistics the same on all processes."""
        total, count = distributed.mean(self.loss_sums).unbind()
        self.log("train/loss", total / count, sync_dist=True)
        lr = self.optimization.lr * self.optimization.factor(self.current_epoch)
        self.log("train/lr", torch.tensor(lr, dtype=torch.float64), sync_dist=True)
        self.loss_sums.zero_()
        broadcast_running_statistics(self)

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
