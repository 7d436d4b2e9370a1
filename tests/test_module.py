"""One training step after another, against the method written down as plainly as possible."""

import copy
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from dccc_lightning.clustering.dcps import FixedSchedule
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.data.augmentation import BatchAugmentation
from dccc_lightning.data.batches import TrainBatch
from dccc_lightning.data.synthetic.dataset import SyntheticPedestrians
from dccc_lightning.datamodule import ReIDDataModule
from dccc_lightning.losses import SoftContrastiveLoss
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.network import Embedder
from dccc_lightning.models.pooling import GlobalAverage
from dccc_lightning.module import DCCCModule
from dccc_lightning.training.callbacks import Recluster
from dccc_lightning.training.optimization import Optimization

STEPS, BATCH, CLUSTERS, DIM = 5, 8, 4, 6
START, CAP, TAU_W, MOMENTUM, SMOOTHING = 2, 0.6, 0.2, 0.1, 0.3


def make_embedder() -> Embedder:
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, DIM, 3, padding=1, bias=False), GroupedBatchNorm(DIM, group_size=4), nn.ReLU()
    )
    return Embedder(backbone, GlobalAverage(), DIM, bn_group_size=4)


def make_batches() -> list[TrainBatch]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(CLUSTERS).repeat_interleave(BATCH // CLUSTERS)
    return [
        TrainBatch(
            torch.randn(BATCH, 3, 8, 4, generator=generator),
            torch.randn(BATCH, 3, 8, 4, generator=generator),
            labels, torch.arange(BATCH), torch.zeros(BATCH, dtype=torch.int64),
        )
        for _ in range(STEPS)
    ]  # fmt: skip


def first_centroids() -> torch.Tensor:
    return F.normalize(torch.randn(CLUSTERS, DIM, generator=torch.Generator().manual_seed(2)))


def plain_training() -> tuple[list[float], torch.Tensor, Embedder, Embedder]:
    """Follow docs/method.md, one line after the other."""
    student = make_embedder().train()
    teacher = copy.deepcopy(student).train()
    centroids = first_centroids()
    optimizer = torch.optim.Adam(
        [p for p in student.parameters() if p.requires_grad], lr=1e-2, weight_decay=5e-4
    )
    losses = []
    for n, batch in enumerate(make_batches()):
        features = student(batch.view1)
        with torch.no_grad():
            soft = (teacher(batch.view2) @ centroids.T / 0.05).softmax(dim=1)
        one_hot = F.one_hot(batch.labels, CLUSTERS).float()
        target = (1 - SMOOTHING) * one_hot + SMOOTHING * soft
        log_p = (features @ centroids.T / 0.05).log_softmax(dim=1)
        loss = -(target * log_p).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        updated = centroids.clone()
        for y in range(CLUSTERS):
            members = features.detach()[batch.labels == y]
            weights = (-(members @ centroids[y]) / TAU_W).softmax(dim=0)
            mixed = MOMENTUM * centroids[y] + (1 - MOMENTUM) * weights @ members
            updated[y] = mixed / mixed.norm()
        centroids = updated
        decay = CAP if n < START else min(1 - 1 / (n - START + 1), CAP)
        with torch.no_grad():
            for ours, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
                ours.copy_(decay * ours + (1 - decay) * theirs)
    return losses, centroids, student, teacher


class Recorded(DCCCModule):
    """Keeps what the steps returned."""

    def training_step(self, batch: TrainBatch, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.seen.append((loss.item(), self.teacher.network.training))
        return loss


def test_steps_are_those_of_the_method() -> None:
    losses, centroids, student, teacher = plain_training()
    module = Recorded(
        make_embedder(),
        ClusterMemory(DIM, momentum=MOMENTUM, update="dycl", tau_w=TAU_W),
        SoftContrastiveLoss(SMOOTHING),
        Optimization(lr=1e-2, warmup_epochs=0),
        teacher_start=START,
        teacher_cap=CAP,
    )
    module.seen = []
    module.memory.rebuild(first_centroids(), np.arange(CLUSTERS))
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(make_batches(), batch_size=None))
    assert [loss for loss, _ in module.seen] == pytest.approx(losses, rel=1e-5)
    assert all(is_training for _, is_training in module.seen)
    torch.testing.assert_close(module.memory.centroids, centroids, rtol=1e-4, atol=1e-5)
    for network, plain in ((module.student, student), (module.teacher.network, teacher)):
        state, expected = network.state_dict(), plain.state_dict()
        for name, value in expected.items():
            if not name.endswith("num_batches_tracked"):
                torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_a_datamodule_that_was_trained_with_is_clustered_anew(tmp_path: Path) -> None:
    people = SyntheticPedestrians(
        root=str(tmp_path), seed=3, train_identities=8, test_identities=4, cameras=3
    )
    datamodule = ReIDDataModule(
        people, height=32, width=16, clusters=2, instances=4, iterations=2,
        augmentation=BatchAugmentation(32, 16, padding=2), workers=0,
    )  # fmt: skip
    clustered = []
    for _ in range(2):
        embedder = make_embedder()
        memory = ClusterMemory(embedder.feature_dim)
        module = DCCCModule(embedder, memory, SoftContrastiveLoss(SMOOTHING), Optimization())
        callback = Recluster(FixedSchedule(0.6), PseudoLabeler(k1=10, k2=3))
        callback.watchers.append(lambda epoch, *_: clustered.append(epoch))
        trainer = pl.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, callbacks=[callback],
            reload_dataloaders_every_n_epochs=1, limit_val_batches=0,
        )  # fmt: skip
        trainer.fit(module, datamodule=datamodule)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, datamodule=datamodule)  # goes on
    assert clustered == [0, 0, 1]


def test_a_trainer_that_would_not_recluster_is_refused() -> None:
    module = DCCCModule(
        make_embedder(), ClusterMemory(DIM), SoftContrastiveLoss(SMOOTHING), Optimization()
    )
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, callbacks=[Recluster(FixedSchedule(0.6), PseudoLabeler())],
    )  # fmt: skip
    with pytest.raises(TypeError, match="ReIDDataModule"):
        trainer.fit(module, DataLoader(make_batches(), batch_size=None))
