"""Validation as retrieval, shared by every LightningModule of the package."""

from abc import abstractmethod

import pytorch_lightning as pl
from torch import Tensor, nn

from dccc_lightning.common.faults import SMALLER_EVAL_BATCH, enough_memory
from dccc_lightning.data.batches import EvalBatch
from dccc_lightning.errors import UserError
from dccc_lightning.metrics.reid_retrieval import ReIDRetrieval
from dccc_lightning.models.batchnorm import broadcast_running_statistics


class EvaluatedModule(pl.LightningModule):
    """A module whose networks are evaluated on the query and gallery splits.

    A subclass names its networks; ``val/mAP`` and the like are logged under those names, and the
    best mAP among them as ``val_best/mAP``.

    Attributes:
        retrieval: The metric of each network while it is evaluated, this process's shard.
        camera_center: Whether embeddings are centred by camera before they are ranked.
        better: Prefix of the network with the highest mAP of the last evaluation in training, the
            first of equals; None before there is one.
        collapse_told: A warning has said that the networks have collapsed; one is enough.
    """

    camera_center = False
    collapse_told = False
    better: str | None = None

    retrieval: dict[str, ReIDRetrieval]

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """Return the embedding networks by the prefix of their metrics."""

    def on_validation_epoch_start(self) -> None:
        """Evaluate with the running statistics that rank 0 collected."""
        broadcast_running_statistics(self)
        self.retrieval = {  # not registered: no part of a checkpoint
            name: ReIDRetrieval(camera_center=self.camera_center).to(self.device)
            for name in self.networks()
        }

    def validation_step(self, batch: EvalBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collect the embeddings of a batch of query or gallery images."""
        with enough_memory(SMALLER_EVAL_BATCH):
            for name, network in self.networks().items():
                self.retrieval[name].update(
                    network(batch.images),
                    batch.identities,
                    batch.cameras,
                    batch.is_query,
                    batch.indices,
                )

    def on_validation_epoch_end(self) -> None:
        """Log mAP, mINP and CMC of every network, and the best mAP of them."""
        try:
            scores: dict[str, Tensor] = {}
            for name, metric in self.retrieval.items():
                metric.warn = not self.collapse_told
                found = metric.compute()
                self.collapse_told |= metric.collapsed
                scores |= {f"{name}/{key}": value for key, value in found.items()}
        except ValueError as error:
            raise UserError(f"evaluation: {error}") from error
        best = max(self.retrieval, key=lambda name: float(scores[f"{name}/mAP"]))
        scores["val_best/mAP"] = scores[f"{best}/mAP"]
        if self._trainer is None or self._trainer.state.fn != "validate":  # before training
            self.better = best
        self.retrieval.clear()
        self.log_dict(scores, sync_dist=True)
