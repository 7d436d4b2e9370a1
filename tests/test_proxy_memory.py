"""DCMIP against plain loops, and against what public implementations returned."""

from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from torch.nn import functional as F

from dccc_lightning.common.ranges import RULES
from dccc_lightning.losses import ClusterContrastLoss, SoftContrastiveLoss
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.neighbor_loss import NeighborSmoothedLoss
from dccc_lightning.proxy_memory import ProxyMemory

GOLDEN = np.load(Path(__file__).parent / "golden" / "proxies_reference.npz", allow_pickle=False)


def recorded(name):
    return torch.from_numpy(GOLDEN[f"dcmip/{name}"])


def rows(count, seed, dim=8):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64)


def make_memory(epoch=1, clusters=5, seed=0, **options):
    options = {"instances": 3, "negatives": 4, "instances_from": 1} | options
    memory = ProxyMemory(8, **options).double()
    features = F.normalize(rows(6 * clusters, seed), dim=1)
    labels = torch.arange(6 * clusters) % (clusters + 1) - 1
    memory.rebuild(features, labels, F.normalize(rows(6 * clusters, seed + 1), dim=1), epoch)
    return memory


def plain_instance_loss(memory, student, teacher, labels):
    """One image after the other, as the formula says."""
    x, t = (F.normalize(part, dim=1).numpy() for part in (student, teacher))
    instances = memory.instances.numpy()
    losses = []
    for i, label in enumerate(labels.tolist()):
        own = [x[i] @ t[j] for j in range(len(x)) if labels[j] == label]
        others = [x[i] @ proxy for c, part in enumerate(instances) if c != label for proxy in part]
        positive = np.exp(min(own) / memory.temperature)
        negatives = np.exp(np.sort(others)[::-1][: memory.negatives] / memory.temperature)
        losses.append(-np.log(positive / (positive + negatives.sum())))
    return np.mean(losses)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1, 4, 500]), st.sampled_from([0.2, 50.0]))
def test_the_loss_is_that_of_the_plain_loop(seed, negatives, margin):
    memory = make_memory(seed=seed, negatives=negatives, margin=margin, temperature=0.2)
    memory.update(rows(7, seed + 2), torch.tensor([0, 0, 1, 4, 4, 4, 4]), rows(7, seed + 3))
    student, teacher, labels = rows(9, seed + 4), rows(9, seed + 5), torch.arange(9) % 4
    single = ClusterMemory(8, temperature=0.2).double()
    parts = []
    for proxies in (memory.centroids, memory.means):
        single.centroids = proxies
        parts.append(F.cross_entropy(single.logits(student), labels).item())
    expected = (parts[1] + max(parts[0] - margin, 0)) / 2
    expected += plain_instance_loss(memory, student, teacher, labels)
    found = memory.contrast(ClusterContrastLoss(), student, teacher, labels)
    assert found.item() == pytest.approx(expected, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=16), st.sampled_from(RULES))
def test_updates_are_those_of_the_plain_loop(labels, rule):
    memory = make_memory(update=rule)
    first, second = (ClusterMemory(8, update=u).double() for u in (rule, "mean"))
    first.centroids, second.centroids = memory.centroids, memory.means
    instances = memory.instances.clone()
    x, teacher = rows(len(labels), 5), rows(len(labels), 6)
    memory.update(x, torch.tensor(labels), teacher)
    for single in (first, second):
        single.update(x, torch.tensor(labels))
    for cluster in set(labels):
        members = [t for t, y in zip(teacher, labels, strict=True) if y == cluster]
        for slot in range(3):
            instances[cluster, slot] = F.normalize(members[slot % len(members)], dim=0)
    torch.testing.assert_close(memory.centroids, first.centroids)
    torch.testing.assert_close(memory.means, second.centroids)
    torch.testing.assert_close(memory.instances, instances)


def test_recorded_discrepant_proxies():
    start = recorded("discrepant/centroids_0")
    memory = ProxyMemory(start.shape[1], update="instance", margin=0.2).double()
    memory.rebuild(start, torch.arange(len(start)))
    for step in range(3):
        found = {name: recorded(f"discrepant/step{step}/{name}") for name in (
            "student", "labels", "loss", "grad", "centroids", "means",
        )}  # fmt: skip
        student, labels = found["student"].requires_grad_(), found["labels"]
        loss = memory.contrast(ClusterContrastLoss(), student, student, labels)
        (gradient,) = torch.autograd.grad(loss, student)
        memory.update(student.detach(), labels, student.detach())
        for name, ours in (
            ("loss", loss), ("grad", gradient), ("centroids", memory.centroids),
            ("means", memory.means),
        ):  # fmt: skip
            torch.testing.assert_close(ours, found[name], rtol=1e-5, atol=1e-7)


def test_recorded_instance_proxies():
    student, teacher = recorded("instances/student").requires_grad_(), recorded("instances/teacher")
    labels = recorded("instances/labels")
    memory = ProxyMemory(student.shape[1], negatives=256).double()
    memory.instances = recorded("instances/instances_0")
    memory.centroids = memory.means = F.normalize(rows(20, 1, student.shape[1]), dim=1)
    loss = memory._instance_loss(student, teacher, labels, labels)
    (gradient,) = torch.autograd.grad(loss, student)
    # The recorded loss adds 1e-6 to each probability, some of which are near 1e-3.
    assert loss.item() == pytest.approx(recorded("instances/loss").item(), rel=1e-3)
    torch.testing.assert_close(gradient, recorded("instances/grad"), rtol=1e-2, atol=1e-3)
    memory.update(student.detach(), labels, teacher)
    theirs = recorded("instances/instances")
    moved = sorted(set(labels.tolist()))
    theirs[moved] *= 4  # they divide the sixteen proxies of a cluster by their common norm
    torch.testing.assert_close(memory.instances, theirs, rtol=1e-5, atol=1e-7)


def test_instances_are_images_of_the_cluster_and_a_function_of_seed_and_epoch():
    features = F.normalize(rows(40, 0), dim=1)
    labels = torch.arange(40) % 5 - 1
    taught = F.normalize(rows(40, 1), dim=1)

    def drawn(seed, epoch):
        memory = ProxyMemory(8, instances=6, instances_from=2, seed=seed).double()
        memory.rebuild(features, labels, taught, epoch)
        return memory.instances

    assert drawn(0, 1).shape == (0, 6, 8)
    for cluster, proxies in enumerate(drawn(0, 2)):
        members = taught[labels == cluster]
        assert all(((p - members).abs() < 1e-12).all(dim=1).any() for p in proxies)
    assert torch.equal(drawn(0, 2), drawn(0, 2))
    assert not torch.equal(drawn(0, 2), drawn(0, 3))
    assert not torch.equal(drawn(0, 2), drawn(1, 2))


def test_a_checkpoint_restores_all_proxies():
    memory, restored = make_memory(clusters=4), make_memory(clusters=2)
    restored.load_state_dict(memory.state_dict())
    for name, buffer in memory.named_buffers():
        assert torch.equal(buffer, restored.get_buffer(name)), name
    empty = make_memory(epoch=0)
    restored.load_state_dict(empty.state_dict())
    assert len(restored.instances) == 0
    assert restored.num_clusters == 5


@pytest.mark.parametrize("loss", [SoftContrastiveLoss(0.3), ClusterContrastLoss()])
def test_any_loss_of_logits_is_taken(loss):
    memory = make_memory(epoch=0, margin=0.0)
    student, teacher, labels = rows(6, 3), rows(6, 4), torch.arange(6) % 5
    expected = loss(memory.logits(student), memory.logits(teacher), labels)
    # Both centroids begin as the mean.
    torch.testing.assert_close(memory.contrast(loss, student, teacher, labels), expected)


def test_a_step_never_waits_for_the_device(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # refuses meta
    memory = make_memory(update="mean").float().to("meta")
    x, labels = torch.empty(12, 8, device="meta"), torch.empty(12, dtype=torch.long, device="meta")
    assert memory.contrast(lambda s, t, y: s.mean(), x, x, labels).shape == ()
    memory.update(x, labels, x)


def test_what_is_missing_is_named():
    memory = make_memory()
    x, labels = rows(4, 0), torch.arange(4)
    with pytest.raises(ValueError, match="teacher must be"):
        memory.update(x, labels)
    with pytest.raises(ValueError, match="teacher must be"):
        memory.update(x, labels, x[:2])
    with pytest.raises(ValueError, match="teacher must be given"):
        memory.contrast(ClusterContrastLoss(), x, None, labels)
    with pytest.raises(RuntimeError, match="rebuild"):
        ProxyMemory(8).double().contrast(ClusterContrastLoss(), x, x, labels)
    memory = ProxyMemory(8, instances_from=1).double()
    memory.rebuild(x, labels)
    with pytest.raises(ValueError, match="teacher must be given"):
        memory.rebuild(x, labels, epoch=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("margin", -1), ("instances", 0), ("negatives", 0), ("instances_from", -1), ("seed", -1),
     ("momentum", 2), ("update", "best")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        ProxyMemory(8, **{name: value})


def one_step(block):
    """Loss, gradient of shared weights and proxies after a step on ``block`` of the batch."""
    weights = rows(8, 20).requires_grad_()
    images, views, labels = rows(12, 21), rows(12, 22), torch.arange(12) // 4
    indices = torch.tensor([0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 0])
    points = rows(10, 23, 2).numpy()
    distances = np.linalg.norm(points[:, None] - points, axis=2) / 5
    pairs = np.nonzero(distances < 0.9)
    loss = NeighborSmoothedLoss(0.4, ramp_epochs=0).double()
    loss.set_neighbors(csr_matrix((distances[pairs], pairs), shape=distances.shape), 0)
    memory = make_memory(temperature=0.5)
    student, teacher = (images @ weights)[block], views[block]
    own = labels[block]
    value = memory.contrast(lambda s, t, y: loss(s, t, y, indices[block]), student, teacher, own)
    (gradient,) = torch.autograd.grad(value, weights)
    return value.detach(), gradient, memory, labels, images @ weights.detach(), views


def step_of_two(rank, rendezvous):
    value, gradient, *_ = one_step(slice(None))
    dist.init_process_group(
        "gloo", init_method=rendezvous, rank=rank, world_size=2, timeout=timedelta(seconds=200)
    )
    try:
        # The cut goes through a cluster; neighbours and a repeated image are on both processes.
        part, local, *_ = one_step(slice(6 * rank, 6 * rank + 6))
        for ours, whole in ((part, value), (local, gradient)):
            dist.all_reduce(ours)
            torch.testing.assert_close(ours / 2, whole, rtol=1e-9, atol=1e-12)
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.ddp
def test_two_processes_have_the_loss_and_the_gradient_of_one(tmp_path):
    mp.spawn(step_of_two, args=((tmp_path / "store").as_uri(),), nprocs=2)
