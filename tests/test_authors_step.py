"""Cluster Contrast's step, memory and sampler beside those of its authors' code, in float64.

Recorded with a small network from alibaba/cluster-contrast-reid at 57b62e9.
"""

from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from dccc_lightning.data.batches import TrainBatch
from dccc_lightning.data.sampler import draw_batches
from dccc_lightning.losses import ClusterContrastLoss
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.network import Embedder
from dccc_lightning.models.pooling import GlobalAverage
from dccc_lightning.module import DCCCModule
from dccc_lightning.training.optimization import Optimization

GOLDEN = np.load(
    Path(__file__).parent / "golden" / "cluster_contrast_reference.npz", allow_pickle=False
)


class Recorded(DCCCModule):
    """Keeps the losses of the steps."""

    def training_step(self, batch: TrainBatch, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.seen.append(loss.item())
        return loss


class InFloat64(Embedder):
    """An embedder whose output keeps its precision."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.neck(self.pool(images)), dim=1)


@pytest.mark.parametrize("rule", ["instance", "hard"])
def test_steps_are_those_of_the_authors(rule: str) -> None:
    def recorded(name: str) -> torch.Tensor:
        return torch.from_numpy(GOLDEN[f"{rule}/{name}"])

    conv = nn.Conv2d(3, 6, 3, padding=1, bias=False)
    norm = GroupedBatchNorm(6, group_size=8)
    student = InFloat64(nn.Sequential(conv, norm, nn.ReLU()), GlobalAverage(), 6, bn_group_size=8)
    memory = ClusterMemory(6, momentum=0.1, temperature=0.05, update=rule)
    optimization = Optimization(lr=1e-2, weight_decay=5e-4, warmup_epochs=0)
    module = Recorded(student, memory, ClusterContrastLoss(), optimization).double()
    with torch.no_grad():
        conv.weight.copy_(recorded("conv_0"))
    memory.rebuild(recorded("centroids_0"), torch.arange(4))
    module.seen = []
    images, labels = recorded("images").double(), recorded("labels")
    none = torch.zeros(8, dtype=torch.int64)
    batches = [
        TrainBatch(view, view, y, none, none) for view, y in zip(images, labels, strict=True)
    ]
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(batches, batch_size=None))
    assert module.seen == pytest.approx(GOLDEN[f"{rule}/losses"].tolist(), rel=1e-12)
    for ours, name in (
        (memory.centroids, "centroids"), (conv.weight, "conv"), (student.neck.weight, "neck"),
        (norm.running_mean, "running_mean"),
    ):  # fmt: skip
        torch.testing.assert_close(ours.detach(), recorded(name), rtol=1e-10, atol=1e-12)


def test_the_sampler_has_the_law_of_the_authors() -> None:
    labels, cameras = GOLDEN["sampler/labels"], GOLDEN["sampler/cameras"]
    passes, clusters, theirs = 4000, labels.max() + 1, GOLDEN["sampler/counts"]
    blocks = draw_batches(labels, cameras, int(clusters), 4, passes, seed=0, epoch=0)
    blocks = blocks.reshape(-1, 4)
    ours = np.zeros_like(theirs)
    for slot in (1, 2, 3):
        np.add.at(ours, (blocks[:, 0], blocks[:, slot]), 1)
    assert ours.sum() == theirs.sum() == passes * clusters * 3
    np.testing.assert_array_equal(ours > 0, theirs > 0)  # the same pairs of anchor and other
    deviation = np.abs(ours - theirs) / np.sqrt(np.maximum(ours + theirs, 1))
    assert deviation.max() < 4.5  # of about 300 pairs, drawn up to three at a time
    distinct = np.bincount([len(set(block)) for block in blocks.tolist()], minlength=5)[1:]
    assert np.abs(distinct - GOLDEN["sampler/distinct"]).max() < 5 * np.sqrt(2 * passes)
