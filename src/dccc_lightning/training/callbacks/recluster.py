"""Re-clustering before every epoch: embeddings, distances, eps, clusters and memory."""

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F

from dccc_lightning.clustering.constraint_file import constraints_of
from dccc_lightning.clustering.constraints import Constraints
from dccc_lightning.clustering.dcps import Choice, Schedule
from dccc_lightning.clustering.label_alarms import label_alarms, schedule_alarms
from dccc_lightning.clustering.outliers import outliers_to_clusters
from dccc_lightning.clustering.pseudo_labels import (
    NOT_ALIGNED,
    ONE_EMBEDDING,
    NoClustersError,
    PseudoLabeler,
    PseudoLabels,
)
from dccc_lightning.common import collectives
from dccc_lightning.common.faults import LostProcessError
from dccc_lightning.common.progress import announced
from dccc_lightning.common.tensors import mean_of_turns
from dccc_lightning.datamodule import ReIDDataModule
from dccc_lightning.errors import UserError
from dccc_lightning.inference.split_embedding import embed_split, require_finite
from dccc_lightning.losses import NeighborLoss
from dccc_lightning.metrics.cluster_summary import summarize
from dccc_lightning.metrics.overall_silhouette import overall_silhouette
from dccc_lightning.module import DCCCModule
from dccc_lightning.neighbors.camera_normalization import any_camera_repeats
from dccc_lightning.neighbors.collapse import sampled, warn_of_collapse
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.training.lightning_internals import shuffles_batches

log = logging.getLogger(__name__)

Watcher = Callable[[int, UnitEmbeddings, NDArray[np.int64], NDArray[np.int64] | None, float], None]
"""Function of epoch, embeddings (N, D), labels, previous labels and eps."""


class Embedded(NamedTuple):
    """Embeddings of the training split.

    Attributes:
        made: (N, D) by the network, of turned images their mean; the memory's centroids are means
            of these.
        unit: Normalised embeddings, which are clustered.
        context: Keyword arguments for the labeler.
        taught: (N, D) by the teacher, if it was needed.
    """

    made: Tensor
    unit: UnitEmbeddings
    context: dict[str, Any]
    taught: Tensor | None = None


class Recluster(Callback):
    """Callback that computes the pseudo labels and centroids of every epoch.

    All processes embed a shard of the training split, rank 0 clusters, and labels and centroids are
    broadcast. It is called by the datamodule when it needs the labels of an epoch.

    Centroids are means of the network's embeddings; camera normalisation affects distances only.
    With ``outliers="single"`` the memory also has a centroid per outlier, but batches contain no
    outliers: K copies of one image have little variance for a batch-norm group.

    Args:
        schedule: Schedule of eps (DCPS).
        labeler: Clustering of embeddings into pseudo labels.

    Attributes:
        summary: Metrics of the last clustering.
        choice: Choice of eps by an adaptive schedule, otherwise None.
        seconds: Durations of ``embedding`` and ``clustering``.
        watchers: Functions called after every clustering, on all processes.
    """

    def __init__(self, schedule: Schedule, labeler: PseudoLabeler) -> None:
        self.schedule = schedule
        self.labeler = labeler
        self.summary: dict[str, float] = {}
        self.choice: Choice | None = None
        self.seconds: dict[str, float] = {}
        self.watchers: list[Watcher] = []
        self._warned = False
        self._constraints: Constraints | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Register as the label source of the datamodule.

        Raises:
            TypeError: The module or datamodule has the wrong type.
            ValueError: The trainer does not reload the loader every epoch, or replaces the sampler.
            UserError: The labeler needs a teacher or cameras that do not exist, or constraints are
                invalid.
        """
        datamodule = getattr(trainer, "datamodule", None)
        if not isinstance(datamodule, ReIDDataModule) or not isinstance(pl_module, DCCCModule):
            raise TypeError("Recluster works with a DCCCModule and a ReIDDataModule")
        if vars(trainer)["reload_dataloaders_every_n_epochs"] != 1:
            raise ValueError("Recluster needs Trainer(reload_dataloaders_every_n_epochs=1)")
        if trainer.world_size > 1 and shuffles_batches(trainer):
            raise ValueError("Recluster needs Trainer(use_distributed_sampler=False)")
        if self._networks()[-1] == "teacher" and pl_module.teacher is None:
            raise UserError(
                "clustering: features and refine need the teacher, but this loss has none; "
                "choose another loss, or features=student and refine=0"
            )
        if self.labeler.camera != "none" and not any_camera_repeats(
            datamodule.splits.train.cameras
        ):
            raise UserError(
                f"clustering.camera={self.labeler.camera}: no camera has two training images; "
                "choose clustering.camera=none"
            )
        if datamodule.match == "aligned" and self.labeler.camera in ONE_EMBEDDING:
            raise UserError(f"clustering.camera={self.labeler.camera} {NOT_ALIGNED}")
        self._constraints = constraints_of(self.labeler.constraints, datamodule.splits.train)
        if stage == "fit" and collectives.world()[0] == 0:
            for alarm in schedule_alarms(self.schedule, trainer.max_epochs or 1):
                log.warning("scheduler: %s", alarm)
        if stage == "fit" and datamodule.labels_epoch >= trainer.current_epoch:
            datamodule.discard_labels()  # those of a checkpoint are restored later
        datamodule.label_source = lambda epoch: self.refresh(pl_module, datamodule, epoch)

    def refresh(self, module: DCCCModule, datamodule: ReIDDataModule, epoch: int) -> None:
        """Embed and cluster the training split with the current student.

        Raises:
            NoClustersError: No eps within reach gives two clusters, and no earlier labels exist.
            UserError: An embedding is NaN or infinite; the message names the image.
        """
        start = time.perf_counter()
        records = datamodule.splits.train
        embeddings, unit, context, taught = self.embed(module, datamodule, epoch)
        if not getattr(module, "collapse_warned", False):
            rows = sampled(embeddings)
            module.collapse_warned = warn_of_collapse(rows, "training images", log)
        embedded = time.perf_counter()
        previous = datamodule.labels
        labels, figures, near = self._cluster(unit, context, previous, epoch)
        if near is not None and isinstance(module.loss, NeighborLoss):
            module.loss.set_neighbors(near, epoch)
        single = self.labeler.outliers == "single"
        clusters = outliers_to_clusters(labels) if single else labels
        module.memory.rebuild(embeddings, clusters, taught, epoch)
        for proxies in module.memory.buffers():
            if proxies.numel():
                collectives.broadcast(proxies)
        datamodule.set_pseudo_labels(labels, epoch)
        with announced("describing the clusters"):
            quality = summarize(labels, records.identities, previous, records.cameras, unit)
        self.summary = {  # agreement with identities only if they are known
            f"cluster/{name}": float(value)
            for name, value in quality.items()
            if not np.isnan(value)
        }
        self.summary["cluster/overall_silhouette"] = overall_silhouette(self.summary)
        self.summary |= figures
        self._warn(len(labels))
        self.seconds = {
            "embedding": embedded - start, "clustering": time.perf_counter() - embedded,
        }  # fmt: skip
        for watch in self.watchers:
            watch(epoch, unit, labels, previous, figures["cluster/eps"])

    def _warn(self, images: int) -> None:
        """Log what is wrong with the first labels of this process."""
        if not self._warned and collectives.world()[0] == 0:
            for alarm in label_alarms(self.summary, images):
                log.warning("pseudo labels: %s", alarm)
        self._warned = True

    def _networks(self) -> tuple[str, ...]:
        """Return the names of the networks whose embeddings are needed, the teacher last."""
        if self.labeler.refine > 0 or self.labeler.features == "average":
            return "student", "teacher"
        return (self.labeler.features,)

    def embed(self, module: DCCCModule, datamodule: ReIDDataModule, epoch: int) -> Embedded:
        """Embed the training split by the networks that the labeler needs."""
        records = datamodule.splits.train
        embeddings = {}
        if "student" in self._networks():
            embeddings["student"] = embed_split(module, datamodule, "train")
        if "teacher" in self._networks() or module.memory.rebuilds_with_teacher(epoch):
            embeddings["teacher"] = embed_split(module, datamodule, "train", module.teacher)
        views = list(embeddings.values())
        for view in views:
            require_finite(view, records, epoch)  # synchronises
        context: dict[str, Any] = {}
        if self.labeler.camera != "none":
            context["cameras"] = records.cameras
        if self._constraints is not None:
            context["constraints"] = self._constraints
        if isinstance(module.loss, NeighborLoss):
            context["neighbors_within"] = module.loss.neighbors_within
        chosen = self.labeler.features
        if chosen == "average":
            embeddings[chosen] = F.normalize(views[0] + views[1], dim=-1)
        made, taught = embeddings[chosen], embeddings.get("teacher")
        if datamodule.match == "aligned":
            unit_of, made = UnitEmbeddings.of_turns, mean_of_turns(made)
            taught = None if taught is None else mean_of_turns(taught)
        else:
            unit_of = UnitEmbeddings.of
        unit = unit_of(embeddings[chosen])
        if self.labeler.refine > 0:
            context["views"] = [
                unit if name == chosen else unit_of(embeddings[name]) for name in self._networks()
            ]
        return Embedded(made, unit, context, taught)

    def _cluster(
        self,
        embeddings: UnitEmbeddings,
        context: dict[str, Any],
        previous: NDArray[np.int64] | None,
        epoch: int,
    ) -> tuple[NDArray[np.int64], dict[str, float], csr_matrix | None]:
        """Cluster on rank 0 and broadcast the outcome or the error.

        Returns:
            The labels; a summary: the eps used, the scheduled eps, a flag for labels of the last
            epoch, and, if enabled, the numbers of attached and refined images; neighbours, if the
            loss requires them and the labels are new.
        """
        outcome: list[Any] = [None]
        if collectives.world()[0] == 0:
            try:
                with announced("clustering"):
                    outcome[0] = self.labeler(embeddings, self.schedule, epoch, **context)
            except ValueError as error:
                outcome[0] = UserError(f"clustering: {error}")
            except Exception as error:
                outcome[0] = error
        if collectives.world()[1] > 1:
            told = [_sendable(outcome[0])]
            torch.distributed.broadcast_object_list(told, src=0)
            outcome = outcome if collectives.world()[0] == 0 else told
        found: PseudoLabels | Exception = outcome[0]
        scheduled, self.choice, near = self.schedule(epoch), None, None
        if isinstance(found, PseudoLabels):
            labels, eps, kept = found.labels, found.eps, 0.0
            scheduled, self.choice, near = found.scheduled_eps, found.choice, found.neighbors
            attached, refined = found.attached, found.refined
        elif isinstance(found, NoClustersError) and previous is not None:
            log.warning("epoch %d: %s; the labels of the last epoch are kept", epoch, found)
            labels, eps, kept = previous, self.summary["cluster/eps"], 1.0
            attached, refined = 0, 0
        else:
            raise found
        figures = {
            "cluster/eps": eps, "cluster/scheduled_eps": scheduled, "cluster/kept": kept,
        }  # fmt: skip
        if self.labeler.outliers == "attach":
            figures["cluster/attached"] = float(attached)
        if self.labeler.refine > 0:
            figures["cluster/refined"] = float(refined)
        return labels, figures, near

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the metrics of this epoch's clustering.

        Not at the epoch's start, whose hook is not called when a run resumes within the epoch.
        """
        for name, value in self.summary.items():
            pl_module.log(name, torch.tensor(value, dtype=torch.float64), sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the metrics of this epoch's clustering, to resume in mid-epoch."""
        return {"summary": self.summary}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the metrics of the clustering."""
        self.summary = state_dict["summary"]


def _sendable(found: Any) -> Any:
    """Return the outcome to broadcast; other errors are sent as text, as not all can be pickled."""
    if isinstance(found, Exception) and not isinstance(found, (UserError, NoClustersError)):
        return LostProcessError(f"clustering failed with {type(found).__name__}: {found}")
    return found
