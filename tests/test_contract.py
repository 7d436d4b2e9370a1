"""The public names: what others build on, importable and callable as documented."""

import inspect

import numpy as np
import pytest
import torch

from dccc_lightning.clustering import dcps
from dccc_lightning.clustering.algorithms import DBSCAN
from dccc_lightning.clustering.jaccard import jaccard_graph
from dccc_lightning.datamodule import ReIDDataModule
from dccc_lightning.losses import ClusterContrastLoss, SoftContrastiveLoss, SoftOnlyLoss
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.metrics.reid_retrieval import ReIDRetrieval
from dccc_lightning.module import DCCCModule
from dccc_lightning.neighbors.nearest import knn
from dccc_lightning.training.callbacks import Recluster


def test_schedules_take_the_documented_arguments() -> None:
    schedules = [
        dcps.FixedSchedule(start=0.6),
        dcps.StepSchedule(start=0.6, floor=0.4, rate=0.006, every=5),
        dcps.LinearSchedule(start=0.6, floor=0.4, rate=0.005),
        dcps.ExponentialSchedule(start=0.6, floor=0.4, rate=0.99),
        dcps.LogarithmicSchedule(start=0.6, epochs=50),
        dcps.CosineSchedule(start=0.6, floor=0.4, epochs=50),
    ]
    for schedule in schedules:
        assert type(schedule(3)) is float


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_the_road_from_features_to_scores(kind) -> None:
    rng = np.random.default_rng(0)
    identities = np.repeat(np.arange(8), 10)
    features = rng.normal(size=(8, 32))[identities] + 0.3 * rng.normal(size=(80, 32))
    features = kind(features.astype(np.float32))
    distances, indices = knn(features, 12, backend="auto")
    assert np.asarray(indices)[:, 0].tolist() == list(range(80))
    graph = jaccard_graph(features, k1=12, k2=4, max_distance=0.8, neighbors=(distances, indices))
    assert graph.max_distance == 0.8
    assert graph.distances.diagonal().tolist() == [0.0] * 80
    labels = DBSCAN(min_samples=4).fit_predict(graph, eps=0.6)
    assert labels.dtype == np.int64
    with pytest.raises(ValueError, match="eps"):
        DBSCAN(min_samples=4).fit_predict(graph, eps=0.9)
    for rule in ("dycl", "mean", "hard", "instance"):
        memory = ClusterMemory(
            feature_dim=32, momentum=0.1, temperature=0.05, update=rule, tau_w=0.09
        )
        memory.rebuild(features, labels)
        batch = torch.as_tensor(features)[labels >= 0][:16]
        chosen = torch.as_tensor(labels[labels >= 0][:16])
        logits = memory.logits(batch)
        memory.update(batch, chosen)
        for loss in (SoftContrastiveLoss(0.3, weight=1.0), SoftOnlyLoss(), ClusterContrastLoss()):
            assert loss(logits, logits, chosen).ndim == 0
    metric = ReIDRetrieval(ap="oxford", ranks=(1, 5, 10))
    order = torch.arange(80)
    metric.update(
        torch.as_tensor(features), torch.as_tensor(identities), order % 2, order % 5 == 0,
        indices=order,
    )  # fmt: skip
    assert set(metric.compute()) == {"mAP", "mINP", "rank1", "rank5", "rank10"}


def test_the_lightning_classes_are_where_they_are_said_to_be() -> None:
    assert {"train_dataloader", "val_dataloader", "setup"} <= set(dir(ReIDDataModule))
    assert {"training_step", "validation_step"} <= set(dir(DCCCModule))
    assert list(inspect.signature(Recluster).parameters)[:2] == ["schedule", "labeler"]
