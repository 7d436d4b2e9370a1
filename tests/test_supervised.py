import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dccc_lightning.data.batches import TrainBatch
from dccc_lightning.models.network import Embedder
from dccc_lightning.models.pooling import GlobalAverage
from dccc_lightning.training.optimization import Optimization
from dccc_lightning.training.supervised import SupervisedModule, batch_hard_triplet


def plain_triplet(features, labels):
    total = 0.0
    for anchor, label in zip(features, labels, strict=True):
        positives = [math.dist(anchor, f) for f, y in zip(features, labels, strict=True)
                     if y == label]  # fmt: skip
        negatives = [math.dist(anchor, f) for f, y in zip(features, labels, strict=True)
                     if y != label]  # fmt: skip
        total += math.log1p(math.exp(max(positives) - min(negatives)))
    return total / len(features)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 6), st.integers(1, 5), st.integers(1, 8))
def test_the_triplet_loss_follows_its_definition(seed, identities, instances, dimensions):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(identities).repeat_interleave(instances)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    features = torch.randn(len(labels), dimensions, generator=generator, dtype=torch.float64)
    loss = batch_hard_triplet(features, labels).item()
    assert loss == pytest.approx(plain_triplet(features.tolist(), labels.tolist()), rel=1e-6)


def test_a_batch_of_the_usual_size_agrees_in_float32():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(16).repeat_interleave(4)
    features = torch.randn(64, 128, generator=generator)
    loss = batch_hard_triplet(features, labels).item()
    assert loss == pytest.approx(plain_triplet(features.tolist(), labels.tolist()), rel=1e-4)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 1, 1]])
def test_gradients_are_finite_even_of_equal_images(labels):
    features = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [0.0, 1.0]], requires_grad=True)
    loss = batch_hard_triplet(features, torch.tensor(labels))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(features.grad).all()


@pytest.fixture
def module():
    torch.manual_seed(0)
    embedder = Embedder(nn.Conv2d(3, 6, 3), GlobalAverage(), feature_dim=6, bn_group_size=64)
    return SupervisedModule(embedder, 3, Optimization(), label_smoothing=0.1)


def batch():
    images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    return TrainBatch(images, images.flip(3), labels, torch.arange(6), torch.zeros(6))


def test_the_loss_is_smoothed_cross_entropy_after_and_triplet_before_the_neck(module, monkeypatch):
    monkeypatch.setattr(module, "log", lambda *args, **kwargs: None)
    views = batch()
    loss = module.training_step(views, 0)
    pooled = module.embedder.backbone(views.view1).mean(dim=(2, 3)).detach()
    normalised = (pooled - pooled.mean(0)) / (pooled.var(0, unbiased=False) + 1e-5).sqrt()
    logs = (normalised @ module.classifier.weight.detach().T).log_softmax(1).tolist()
    expected = 0.0
    for row, label in zip(logs, views.labels.tolist(), strict=True):
        target = [0.9 * (c == label) + 0.1 / 3 for c in range(3)]
        expected -= sum(t * p for t, p in zip(target, row, strict=True)) / 6
    expected += plain_triplet(pooled.tolist(), views.labels.tolist())
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_embedder_and_classifier_are_trained(module, monkeypatch):
    monkeypatch.setattr(module, "log", lambda *args, **kwargs: None)
    settings = module.configure_optimizers()
    assert settings["lr_scheduler"]["interval"] == "epoch"
    before = {name: p.clone() for name, p in module.named_parameters()}
    module.training_step(batch(), 0).backward()
    settings["optimizer"].step()
    moved = {n for n, p in module.named_parameters() if not torch.equal(p, before[n])}
    # A shift of all features vanishes in the neck and in the distances; weight decay moves it.
    assert moved == set(before) - {"embedder.neck.bias"}
    np.testing.assert_array_equal(before["embedder.neck.bias"].detach(), np.zeros(6))


def test_the_embedder_alone_is_evaluated(module):
    assert module.networks() == {"val": module.embedder}
