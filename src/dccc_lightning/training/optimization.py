"""Optimiser and learning rate schedule."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from torch import nn, optim

from dccc_lightning.common import ranges


@dataclass(frozen=True)
class Optimization:
    """Optimiser with a linear warm-up and a schedule of the learning rate per epoch.

    Epoch t has ``lr * (warmup_start + (1 - warmup_start) * min(t, W) / W)`` with W =
    ``warmup_epochs``. The defaults are published: Adam with an L2 term in the gradient (not AdamW;
    including batch norm), 3.5e-4, weight decay 5e-4, W = 10 from 0.1.

    Attributes:
        algorithm: ``adam``, ``adamw`` or ``sgd``.
        lr: Learning rate after the warm-up.
        weight_decay: Weight of the L2 term (adam, sgd) or of the decay (adamw).
        warmup_epochs: W; 0 for no warm-up.
        warmup_start: Factor of ``lr`` in epoch 0.
        momentum: Momentum of sgd.
        nesterov: Use Nesterov's momentum in sgd.
        schedule: Learning rate after the warm-up: ``constant``; ``step``, times ``step_factor``
            every ``step_epochs`` epochs, as StepLR; or ``cosine``, half a cosine from the end of
            the warm-up to 0 at ``epochs``.
        step_epochs: Epochs between the steps, counted from epoch 0.
        step_factor: Factor of each step.
        epochs: Epochs of the run; needed by ``cosine`` alone.

    >>> Optimization().factor(0), Optimization().factor(10), Optimization().factor(50)
    (0.1, 1.0, 1.0)
    """

    algorithm: str = "adam"
    lr: float = 3.5e-4
    weight_decay: float = 5e-4
    warmup_epochs: int = 10
    warmup_start: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    schedule: str = "constant"
    step_epochs: int = 20
    step_factor: float = 0.1
    epochs: int | None = None

    def __post_init__(self) -> None:
        ranges.optimization(**asdict(self))

    def factor(self, epoch: int) -> float:
        """Return the factor of ``lr`` in ``epoch``."""
        if epoch < self.warmup_epochs:
            warmup = self.warmup_start + (1.0 - self.warmup_start) * epoch / self.warmup_epochs
        else:
            warmup = 1.0
        if self.schedule == "step":
            return warmup * self.step_factor ** (epoch // self.step_epochs)
        if self.schedule == "cosine" and self.epochs and epoch > self.warmup_epochs:
            share = (epoch - self.warmup_epochs) / max(1, self.epochs - self.warmup_epochs)
            return (1.0 + math.cos(math.pi * min(share, 1.0))) / 2
        return warmup

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
        """Return an optimiser of the parameters that require gradients."""
        trained = [p for p in parameters if p.requires_grad]
        if self.algorithm == "adam":
            return optim.Adam(trained, lr=self.lr, weight_decay=self.weight_decay, fused=True)
        if self.algorithm == "adamw":
            return optim.AdamW(trained, lr=self.lr, weight_decay=self.weight_decay, fused=True)
        return optim.SGD(
            trained, lr=self.lr, weight_decay=self.weight_decay, momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0, fused=True,
        )  # fmt: skip

    def renew(self, optimizer: optim.Optimizer, epoch: int) -> None:
        """Override the settings of an optimiser restored from a checkpoint."""
        for group in optimizer.param_groups:
            group["initial_lr"] = self.lr
            group["lr"] = self.lr * self.factor(epoch)
            group["weight_decay"] = self.weight_decay
            if "momentum" in group:
                group["momentum"] = self.momentum
                group["nesterov"] = self.nesterov and self.momentum > 0

    def scheduler(self, optimizer: optim.Optimizer) -> optim.lr_scheduler.LambdaLR:
        """Return the learning rate schedule, to be stepped at the end of each epoch."""
        return optim.lr_scheduler.LambdaLR(optimizer, self.factor)
