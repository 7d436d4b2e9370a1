"""Base LightningModule with validation by retrieval."""

from abc import abstractmethod

import pytorch_lightning as pl
from torch import Tensor, nn

from dccc_lightning.common.faults import SMALLER_EVAL_BATCH, explain_out_of_memory
from dccc_lightning.data.batches import EvalBatch
from dccc_lightning.errors import UserError
from dccc_lightning.metrics.reid_retrieval import ReIDRetrieval
from dccc_lightning.models.batchnorm import broadcast_running_statistics
from dccc_lightning.models.turned_images import embed_turns


class EvaluatedModule(pl.LightningModule):
    """LightningModule whose networks are evaluated on the query and gallery splits.

    Subclasses return their networks by prefix. Metrics are logged as ``val/mAP`` etc. with that
    prefix, and the best mAP among the networks as ``val_best/mAP``.

    Attributes:
        retrieval: Metric of each network during an evaluation, with this process's shard.
        camera_center: Centre embeddings by camera before ranking.
        protocol: Name of the evaluation protocol.
        better: Prefix of the network with the highest mAP (the first of equals) at the last
            evaluation in training; None before the first.
        collapse_warned: True after a warning about collapsed embeddings, which is not repeated.
    """

    camera_center = False
    protocol = "market1501"
    collapse_warned = False
    better: str | None = None

    retrieval: dict[str, ReIDRetrieval]

    @property
    def _aligned(self) -> bool:
        """True if the quarter turns of images are compared aligned."""
        return getattr(getattr(self._trainer, "datamodule", None), "match", "mean") == "aligned"

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """Return the embedding networks by the prefix of their metrics."""

    def on_validation_epoch_start(self) -> None:
        """Broadcast the running statistics of rank 0."""
        broadcast_running_statistics(self)
        self.retrieval = {  # not registered as submodules, so not in checkpoints
            name: ReIDRetrieval(camera_center=self.camera_center, protocol=self.protocol).to(
                self.device
            )
            for name in self.networks()
        }

    def validation_step(self, batch: EvalBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collect the embeddings of a batch of query or gallery images."""
        with explain_out_of_memory(SMALLER_EVAL_BATCH):
            for name, network in self.networks().items():
                self.retrieval[name].update(
                    embed_turns(network, batch.images, self._aligned),
                    batch.identities,
                    batch.cameras,
                    batch.is_query,
                    batch.indices,
                    batch.labels,
                )

    def on_validation_epoch_end(self) -> None:
        """Log mAP, mINP and CMC of every network, and the best mAP."""
        try:
            scores: dict[str, Tensor] = {}
            for name, metric in self.retrieval.items():
                metric.warn = not self.collapse_warned
                found = metric.compute()
                self.collapse_warned |= metric.collapsed
                scores |= {f"{name}/{key}": value for key, value in found.items()}
        except ValueError as error:
            raise UserError(f"evaluation: {error}") from error
        best = max(self.retrieval, key=lambda name: float(scores[f"{name}/mAP"]))
        scores["val_best/mAP"] = scores[f"{best}/mAP"]
        if self._trainer is None or self._trainer.state.fn != "validate":  # before training
            self.better = best
        self.retrieval.clear()
        self.log_dict(scores, sync_dist=True)
