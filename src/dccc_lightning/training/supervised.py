"""Supervised training on identities, to pre-train weights for adaptation."""

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from dccc_lightning.common import callback_ranges
from dccc_lightning.data.batches import TrainBatch
from dccc_lightning.models.batchnorm import broadcast_running_statistics
from dccc_lightning.models.network import Embedder
from dccc_lightning.training.optimization import Optimization
from dccc_lightning.training.retrieval_module import EvaluatedModule


def batch_hard_triplet(features: Tensor, labels: Tensor) -> Tensor:
    """Return the soft-margin triplet loss of the hardest positive and negative of each image.

    Source: Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017.

    Args:
        features: (B, D).
        labels: (B,) identities.

    >>> x = torch.tensor([[0.0], [1.0], [3.0], [4.0]])
    >>> round(batch_hard_triplet(x, torch.tensor([0, 0, 1, 1])).item(), 4)
    0.2201
    """
    distances = torch.cdist(features, features)
    same = labels[:, None] == labels
    positive = distances.masked_fill(~same, -torch.inf).amax(dim=1)
    negative = distances.masked_fill(same, torch.inf).amin(dim=1)
    return F.softplus(positive - negative).mean()


class SupervisedModule(EvaluatedModule):
    """LightningModule with smoothed identity cross entropy and a batch-hard triplet loss.

    Source: Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-identification",
    2019. The triplet loss uses features before the neck, the classifier features after it.

    Args:
        embedder: Embedder to train.
        identities: Number of identities in the training split.
        optimization: Optimiser and warm-up.
        label_smoothing: Label smoothing of the cross entropy.
    """

    def __init__(
        self,
        embedder: Embedder,
        identities: int,
        optimization: Optimization,
        label_smoothing: float = 0.1,
    ) -> None:
        super().__init__()
        self.embedder = embedder
        self.classifier = nn.Linear(embedder.feature_dim, identities, bias=False)
        self.optimization = optimization
        callback_ranges.supervised(label_smoothing)
        self.label_smoothing = float(label_smoothing)

    def networks(self) -> dict[str, nn.Module]:
        """Return the embedder."""
        return {"val": self.embedder}

    def training_step(self, batch: TrainBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch; its labels are identities."""
        features = self.embedder.pool(batch.view1)
        logits = self.classifier(self.embedder.neck(features))
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)
        loss = loss + batch_hard_triplet(features, batch.labels)
        self.log("train/loss", loss.detach(), on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def on_train_epoch_end(self) -> None:
        """Broadcast the running statistics of rank 0."""
        broadcast_running_statistics(self)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimiser and a learning rate schedule stepped once per epoch."""
        optimizer = self.optimization.optimizer(self.parameters())
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": self.optimization.scheduler(optimizer),
                "interval": "epoch",
            },
        }
