"""NCPLR against a plain loop, and against what its authors' code returned."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from torch import nn

from dccc_lightning.clustering.dcps import FixedSchedule
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.losses import ClusterContrastLoss, NeighborLoss
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.module import DCCCModule
from dccc_lightning.neighbor_loss import NeighborSmoothedLoss
from dccc_lightning.training.optimization import Optimization

GOLDEN = np.load(Path(__file__).parent / "golden" / "proxies_reference.npz", allow_pickle=False)


def stored(distances, reach=0.9):
    """The pairs up to ``reach`` as a sparse matrix that keeps its zeros."""
    rows, columns = np.nonzero(distances <= reach)
    return csr_matrix((distances[rows, columns], (rows, columns)), shape=distances.shape)


def softmax(row):
    weights = np.exp(np.asarray(row) - np.max(row))
    return weights / weights.sum()


def plain_loss(student, teacher, labels, indices, distances, loss, ramp):
    """One image after the other, as the formula says."""
    p, q = (np.array([softmax(row) for row in logits]) for logits in (student, teacher))
    slot_of = dict(zip(indices, range(len(indices)), strict=True))  # the last of a repeated image
    hard, soft, divergence = [], [], []
    for i, (image, label) in enumerate(zip(indices, labels, strict=True)):
        near = [j for j in sorted(slot_of) if distances[image, j] < loss.neighbors_within]
        slots = [slot_of[j] for j in near]
        sign = -1 if loss.favour == "near" else 1
        weights = softmax([sign * distances[image, j] / loss.temperature for j in near])
        mixed = sum(w * (p[s] + q[s]) / 2 for w, s in zip(weights, slots, strict=True))
        mean = np.mean([p[s] for s in slots], axis=0)
        target = loss.smoothing * mixed
        target[label] += 1 - loss.smoothing
        hard.append(-np.log(p[i, label]))
        soft.append(-target @ np.log(p[i]))
        divergence.append(mean @ (np.log(mean) - np.log(q[i])))
    total = np.mean(hard) + loss.weight * np.mean(soft)
    return total + loss.consistency * ramp * np.mean(divergence)


def case(seed, batch=9, images=14, clusters=4):
    rng = np.random.default_rng(seed)
    points = rng.random((images, 2))
    distances = np.linalg.norm(points[:, None] - points, axis=2).astype(np.float32)
    indices, labels = rng.integers(images, size=batch), rng.integers(clusters, size=batch)
    logits = rng.normal(scale=3, size=(2, batch, clusters))
    return *(torch.from_numpy(x) for x in (*logits, labels, indices)), distances


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.05, 0.3]), st.sampled_from(["near", "far"]),
       st.integers(0, 60))  # fmt: skip
def test_loss_is_that_of_the_plain_loop(seed, temperature, favour, epoch):
    student, teacher, labels, indices, distances = case(seed)
    loss = NeighborSmoothedLoss(0.3, 0.7, temperature, favour, weight=0.6, consistency=1.5)
    loss.set_neighbors(stored(distances), epoch)
    ramp = np.exp(-5 * (1 - min(epoch + 1, 50) / 50) ** 2)
    expected = plain_loss(
        *(part.numpy() for part in (student, teacher, labels, indices)), distances, loss, ramp
    )
    assert loss(student, teacher, labels, indices).item() == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("run", "ab")
def test_recorded_losses_and_gradients(run):
    def recorded(name):
        return torch.from_numpy(GOLDEN[f"ncplr/{run}/{name}"])

    student, teacher = recorded("student").requires_grad_(), recorded("teacher")
    labels, indices = recorded("labels"), recorded("indices")
    graph = stored(recorded("distances").numpy())
    smoothing, temperature = 1 - recorded("alpha").item(), recorded("temperature").item()

    def found(weight, consistency):
        loss = NeighborSmoothedLoss(
            0.2, smoothing, temperature, "far", weight, consistency, ramp_epochs=0
        )
        loss.set_neighbors(graph, 0)
        return loss(student, teacher, labels, indices)

    for name, arguments in {"ce": (1.0, 0.0), "kl": (0.0, 1.0)}.items():
        part = found(*arguments) - found(0.0, 0.0)  # without L_c
        (gradient,) = torch.autograd.grad(part, student)
        torch.testing.assert_close(part, recorded(f"loss_{name}"), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient, recorded(f"grad_{name}"), rtol=1e-5, atol=1e-6)


def test_the_recorded_ramp_rises_and_ours_then_stays():
    loss, graph = NeighborSmoothedLoss(), stored(np.zeros((2, 2)))
    ours = []
    for epoch in range(60):
        loss.set_neighbors(graph, epoch)
        ours.append(loss.ramp.item())
    assert ours[:50] == pytest.approx(GOLDEN["ncplr/ramp"][:50])
    assert ours[50:] == [1.0] * 10
    assert max(GOLDEN["ncplr/ramp"][50:]) < 1  # the authors' falls again


def test_without_neighbours_an_image_is_its_own():
    student, teacher, labels, indices, distances = case(3)
    alone = NeighborSmoothedLoss(0.3, smoothing=1.0, consistency=0)
    alone.set_neighbors(stored(distances * 0 + 1 - np.eye(len(distances))), 0)
    target = (student.softmax(1) + teacher.softmax(1)) / 2
    last = [max(np.flatnonzero(indices == i)) for i in indices]
    log_p = student.log_softmax(1)
    expected = -(target[last] * log_p).sum(1).mean() - log_p.gather(1, labels[:, None]).mean()
    torch.testing.assert_close(alone(student, teacher, labels, indices), expected)


def test_the_teacher_gets_no_gradient_and_far_logits_no_nan():
    student, teacher, labels, indices, distances = case(5)
    student, teacher = (30 * x for x in (student, teacher))
    student.requires_grad_()
    teacher.requires_grad_()
    loss = NeighborSmoothedLoss(0.5, ramp_epochs=0)
    loss.set_neighbors(stored(distances), 0)
    loss(student.float(), teacher.float(), labels, indices).backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_autocast_changes_nothing():
    student, teacher, labels, indices, distances = case(2)
    loss = NeighborSmoothedLoss(0.3, ramp_epochs=0)
    loss.set_neighbors(stored(distances), 0)
    batch = student.bfloat16(), teacher.bfloat16(), labels, indices
    expected = loss(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = loss(*batch)
    assert actual.dtype == torch.float32
    assert actual == expected


def test_neighbours_travel_with_the_checkpoint():
    student, teacher, labels, indices, distances = case(7)
    loss, restored = NeighborSmoothedLoss(0.3), NeighborSmoothedLoss(0.3)
    loss.set_neighbors(stored(distances), 30)
    restored.load_state_dict(loss.state_dict())
    batch = student, teacher, labels, indices
    assert restored(*batch) == loss(*batch)
    fewer = case(7, images=5)[-1]
    restored.set_neighbors(stored(fewer), 0)
    assert len(restored.keys) < len(loss.keys)


def test_labelers_return_the_neighbours_that_were_clustered():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6, 16)).repeat(10, axis=0) + 0.4 * rng.normal(size=(60, 16))
    labeler, schedule = PseudoLabeler(k1=9, k2=3), FixedSchedule(0.6)
    found = labeler(rows, schedule, 0, neighbors_within=0.3)
    whole = labeler.distances(rows, None, 0.65, 0).distances
    graph = whole.toarray()
    stored_pairs = found.neighbors.tocoo()
    assert (stored_pairs.data <= 0.3).all()
    np.testing.assert_array_equal(stored_pairs.data, graph[stored_pairs.row, stored_pairs.col])
    assert stored_pairs.nnz == (whole.data <= 0.3).sum() > 100
    assert labeler(rows, schedule, 0).neighbors is None
    # Also farther than any eps: the graph reaches that far, the clusters stay.
    wide = labeler(rows, FixedSchedule(0.3), 0, neighbors_within=0.7)
    assert wide.neighbors.data.max() > 0.4
    np.testing.assert_array_equal(wide.labels, labeler(rows, FixedSchedule(0.3), 0).labels)


def test_a_loss_of_neighbours_has_to_take_them():
    class Forgetful(NeighborLoss):
        def forward(self, student_logits, teacher_logits, labels, indices=None):
            return student_logits.sum()

    with pytest.raises(TypeError, match="set_neighbors"):
        Forgetful(0.3, uses_teacher=False)
    assert not hasattr(ClusterContrastLoss(), "set_neighbors")


def test_the_module_tells_the_loss_which_images_a_batch_has():
    class Counting(NeighborLoss):
        def set_neighbors(self, graph, epoch):
            pass

        def forward(self, student_logits, teacher_logits, labels, indices=None):
            self.indices = indices
            return student_logits.sum()

    module = DCCCModule(nn.Identity(), ClusterMemory(8), Counting(0.25, False), Optimization())
    module.log, module._begin_part = lambda *_, **__: None, lambda part: None
    module.memory.rebuild(torch.eye(8), torch.arange(8))
    batch = SimpleNamespace(view1=torch.eye(8), labels=torch.arange(8), indices=torch.arange(8))
    module.training_step(batch, 0)
    assert module.loss.indices is batch.indices


def test_what_is_missing_is_named():
    student, teacher, labels, indices, distances = case(1)
    loss = NeighborSmoothedLoss()
    with pytest.raises(RuntimeError, match="set_neighbors"):
        loss(student, teacher, labels, indices)
    loss.set_neighbors(stored(distances), 0)
    for arguments in ((None, labels, indices), (teacher, labels, None)):
        with pytest.raises(ValueError, match="teacher_logits and indices"):
            loss(student, *arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [("within", 0), ("within", 1), ("smoothing", 1.1), ("temperature", 0), ("favour", "middle"),
     ("weight", -1), ("consistency", float("nan")), ("ramp_epochs", -1)],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        NeighborSmoothedLoss(**{name: value})
