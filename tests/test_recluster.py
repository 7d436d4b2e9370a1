"""Re-clustering without a trainer: what it tells the user and the log."""

import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dccc_lightning.clustering.dcps import FixedSchedule, LinearSchedule
from dccc_lightning.clustering.pseudo_labels import NoClustersError, PseudoLabeler
from dccc_lightning.common.faults import LostProcessError
from dccc_lightning.data.records import Records
from dccc_lightning.errors import UserError
from dccc_lightning.losses import ClusterContrastLoss
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.metrics import cluster_quality
from dccc_lightning.neighbor_loss import NeighborSmoothedLoss
from dccc_lightning.proxy_memory import ProxyMemory
from dccc_lightning.training.callbacks import recluster
from dccc_lightning.training.callbacks.recluster import Recluster

IDENTITIES = np.arange(90) // 9
CAMERAS = np.arange(90) % 3


class World:
    """A module and a datamodule as far as ``refresh`` knows them."""

    def __init__(self, embeddings: torch.Tensor) -> None:
        paths = tuple(Path(f"/images/{number:04}.jpg") for number in range(len(embeddings)))
        self.embeddings = embeddings
        self.splits = SimpleNamespace(train=Records(paths, IDENTITIES, CAMERAS))
        self.labels = None
        self.epoch = None
        self.match = "mean"
        self.loss = ClusterContrastLoss()
        self.memory = ClusterMemory(16)

    def set_pseudo_labels(self, labels: np.ndarray, epoch: int) -> None:
        self.labels, self.epoch = labels, epoch


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(10, 16, generator=generator)
    noise = torch.randn(90, 16, generator=generator)
    rows = torch.nn.functional.normalize(centers[torch.from_numpy(IDENTITIES)] + 0.4 * noise)
    monkeypatch.setattr(recluster, "embed_split", lambda module, data, split: data.embeddings)
    return World(rows)


def refresh(world: World, epoch: int = 0) -> Recluster:
    callback = Recluster(FixedSchedule(0.6), PseudoLabeler(k1=9, k2=3))
    callback.refresh(world, world, epoch)  # type: ignore[arg-type]
    return callback


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_embedding_that_is_not_finite_names_the_image(world: World, value: float) -> None:
    world.embeddings[17, 3] = value
    with pytest.raises(UserError, match=r"epoch 4: .* of /images/0017\.jpg is NaN or infinite"):
        refresh(world, epoch=4)
    assert world.labels is None


def test_several_such_embeddings_are_counted(world: World) -> None:
    world.embeddings[[5, 17, 60]] = np.nan
    with pytest.raises(
        UserError, match=r"/images/0005\.jpg and those of 2 more of 90 is"
    ) as caught:
        refresh(world)
    assert "\n" not in str(caught.value)


def test_the_log_holds_what_labels_cameras_and_embeddings_tell(world: World) -> None:
    first = refresh(world, 0).summary
    second = refresh(world, 1).summary
    labels = world.labels
    assert first["cluster/ari"] == cluster_quality.adjusted_rand_index(labels, IDENTITIES) > 0.9
    assert first["cluster/camera_entropy"] == cluster_quality.camera_entropy(labels, CAMERAS) > 1
    assert first["cluster/intra_distance"] < 0.3
    assert first["cluster/inter_distance"] > 0.8
    assert first["cluster/silhouette"] > 0.4
    assert sum(first[f"cluster/size_{bin}"] for bin in ("8_15", "4_7")) >= 9
    assert "cluster/churn" not in first
    assert second["cluster/churn"] == 0
    assert world.epoch == 1


def test_without_identities_and_cameras_the_log_leaves_them_out(world: World) -> None:
    unknown = np.full(90, -1)
    world.splits.train = Records(world.splits.train.paths, unknown, unknown)
    summary = refresh(world).summary
    assert not {"cluster/ari", "cluster/purity", "cluster/camera_entropy"} & set(summary)
    assert "cluster/silhouette" in summary


def test_a_loss_with_neighbours_gets_those_of_the_graph(world: World) -> None:
    world.loss = NeighborSmoothedLoss(0.4)
    refresh(world, epoch=2)
    graph = PseudoLabeler(k1=9, k2=3).distances(world.embeddings, None, 0.65, 2).distances
    assert len(world.loss.keys) == (graph.data < 0.4).sum() > 90
    assert world.loss.images == 90
    assert world.loss.ramp == pytest.approx(np.exp(-5 * (1 - 3 / 50) ** 2))


def test_a_memory_of_instances_gets_the_embeddings_of_the_teacher(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = torch.nn.functional.normalize(world.embeddings.flip(1))
    embedded = []

    def embed_split(
        module: object, data: World, split: str, network: object = None
    ) -> torch.Tensor:
        embedded.append(network)
        return taught if network else data.embeddings

    monkeypatch.setattr(recluster, "embed_split", embed_split)
    world.teacher, world.memory = "teacher", ProxyMemory(16, instances=2, instances_from=1)
    refresh(world, epoch=0)
    assert embedded == [None]
    refresh(world, epoch=1)
    assert embedded == [None, None, "teacher"]
    first = world.memory.instances[0, 0]
    assert ((taught - first).abs() < 1e-6).all(dim=1).any()


def test_every_error_can_be_told_to_the_other_processes() -> None:
    class LocalError(Exception):
        """Cannot be pickled."""

    told = pickle.loads(pickle.dumps(recluster._sendable(LocalError("no room"))))
    assert isinstance(told, LostProcessError)
    assert "LocalError: no room" in str(told)
    for error in (UserError("a"), NoClustersError("b")):
        assert recluster._sendable(error) is error


def test_labels_of_the_last_epoch_are_kept_where_nothing_clusters(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    class Fickle(PseudoLabeler):
        """Finds clusters in the first epoch alone."""

        def __call__(self, features, schedule, epoch):
            if epoch > 0:
                raise NoClustersError("no eps gives two clusters")
            return super().__call__(features, schedule, epoch)

    callback = Recluster(LinearSchedule(0.6, rate=0.01), Fickle(k1=9, k2=3))
    callback.refresh(world, world, 0)  # type: ignore[arg-type]
    first, eps = world.labels, callback.summary["cluster/eps"]
    assert callback.summary["cluster/kept"] == 0
    callback.refresh(world, world, 1)  # type: ignore[arg-type]
    assert np.array_equal(world.labels, first)
    assert world.epoch == 1
    assert callback.summary["cluster/kept"] == 1
    assert callback.summary["cluster/eps"] == eps  # what made these labels
    assert callback.summary["cluster/scheduled_eps"] < eps
    assert "epoch 1" in caplog.text
    assert "kept" in caplog.text
    world.labels = None
    with pytest.raises(NoClustersError):
        callback.refresh(world, world, 2)  # type: ignore[arg-type]
