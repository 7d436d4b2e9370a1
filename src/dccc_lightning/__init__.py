"""Dynamic Clustering and Cluster Contrastive learning (DCCC) for unsupervised person re-ID."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from dccc_lightning.common.public_names import imported_lazily

if TYPE_CHECKING:
    from dccc_lightning.clustering.algorithms import DBSCAN as DBSCAN
    from dccc_lightning.clustering.dcps import CosineSchedule as CosineSchedule
    from dccc_lightning.clustering.dcps import ExponentialSchedule as ExponentialSchedule
    from dccc_lightning.clustering.dcps import FixedSchedule as FixedSchedule
    from dccc_lightning.clustering.dcps import LinearSchedule as LinearSchedule
    from dccc_lightning.clustering.dcps import LogarithmicSchedule as LogarithmicSchedule
    from dccc_lightning.clustering.dcps import StepSchedule as StepSchedule
    from dccc_lightning.clustering.jaccard import jaccard_graph as jaccard_graph
    from dccc_lightning.clustering.pseudo_labels import PseudoLabeler as PseudoLabeler
    from dccc_lightning.data.augmentation import BatchAugmentation as BatchAugmentation
    from dccc_lightning.data.records import Records as Records
    from dccc_lightning.data.records import Splits as Splits
    from dccc_lightning.datamodule import ReIDDataModule as ReIDDataModule
    from dccc_lightning.errors import UserError as UserError
    from dccc_lightning.gallery.gallery_index import GalleryIndex as GalleryIndex
    from dccc_lightning.gallery.store_export import export_gallery as export_gallery
    from dccc_lightning.inference.checked_export import export_embedder as export_embedder
    from dccc_lightning.inference.loading import load_embedder as load_embedder
    from dccc_lightning.losses import ClusterContrastLoss as ClusterContrastLoss
    from dccc_lightning.losses import SoftContrastiveLoss as SoftContrastiveLoss
    from dccc_lightning.losses import SoftOnlyLoss as SoftOnlyLoss
    from dccc_lightning.memory import ClusterMemory as ClusterMemory
    from dccc_lightning.metrics.reid_retrieval import ReIDRetrieval as ReIDRetrieval
    from dccc_lightning.models.embedder import build_embedder as build_embedder
    from dccc_lightning.module import DCCCModule as DCCCModule
    from dccc_lightning.neighbor_loss import NeighborSmoothedLoss as NeighborSmoothedLoss
    from dccc_lightning.neighbors.embeddings import UnitEmbeddings as UnitEmbeddings
    from dccc_lightning.neighbors.nearest import knn as knn
    from dccc_lightning.proxy_memory import ProxyMemory as ProxyMemory
    from dccc_lightning.training.callbacks.recluster import Recluster as Recluster
    from dccc_lightning.training.optimization import Optimization as Optimization

try:
    __version__ = version("dccc-lightning")
except PackageNotFoundError:  # source tree on PYTHONPATH, not installed
    __version__ = "0+source"

_PUBLIC = {
    "BatchAugmentation": "data.augmentation",
    "ClusterContrastLoss": "losses",
    "ClusterMemory": "memory",
    "CosineSchedule": "clustering.dcps",
    "DBSCAN": "clustering.algorithms",
    "DCCCModule": "module",
    "ExponentialSchedule": "clustering.dcps",
    "FixedSchedule": "clustering.dcps",
    "GalleryIndex": "gallery.gallery_index",
    "LinearSchedule": "clustering.dcps",
    "LogarithmicSchedule": "clustering.dcps",
    "NeighborSmoothedLoss": "neighbor_loss",
    "Optimization": "training.optimization",
    "ProxyMemory": "proxy_memory",
    "PseudoLabeler": "clustering.pseudo_labels",
    "ReIDDataModule": "datamodule",
    "ReIDRetrieval": "metrics.reid_retrieval",
    "Recluster": "training.callbacks.recluster",
    "Records": "data.records",
    "SoftContrastiveLoss": "losses",
    "SoftOnlyLoss": "losses",
    "Splits": "data.records",
    "StepSchedule": "clustering.dcps",
    "UnitEmbeddings": "neighbors.embeddings",
    "UserError": "errors",
    "build_embedder": "models.embedder",
    "export_embedder": "inference.checked_export",
    "export_gallery": "gallery.store_export",
    "jaccard_graph": "clustering.jaccard",
    "knn": "neighbors.nearest",
    "load_embedder": "inference.loading",
}

__getattr__, __dir__ = imported_lazily(__name__, _PUBLIC)
