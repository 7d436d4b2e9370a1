from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.losses import ClusterContrastLoss, SoftContrastiveLoss, SoftOnlyLoss

GOLDEN = np.load(Path(__file__).parent / "golden" / "dccc_reference.npz", allow_pickle=False)
RUNS = sorted({"/".join(key.split("/")[:4]) for key in GOLDEN if key.startswith("memory/")})


def batch(seed=0, size=7, clusters=5):
    generator = torch.Generator().manual_seed(seed)
    student = 4 * torch.randn(size, clusters, generator=generator, dtype=torch.float64)
    teacher = 4 * torch.randn(size, clusters, generator=generator, dtype=torch.float64)
    return student, teacher, torch.randint(clusters, (size,), generator=generator)


def plain_cross_entropy(student, target):
    total = 0.0
    for logits, probabilities in zip(student.tolist(), target.tolist(), strict=True):
        log_normaliser = np.log(np.sum(np.exp(logits)))
        total -= sum(p * (z - log_normaliser) for p, z in zip(probabilities, logits, strict=True))
    return total / len(student)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0, 0.1, 0.3, 1]), st.sampled_from([0, 0.25, 0.9, 1]))
def test_loss_follows_the_formula(seed, epsilon, weight):
    student, teacher, labels = batch(seed)
    onehot = torch.eye(5, dtype=torch.float64)[labels]
    target = (1 - epsilon) * onehot + epsilon * torch.exp(teacher) / torch.exp(teacher).sum(
        1, keepdim=True
    )
    expected = (1 - weight) * plain_cross_entropy(student, onehot) + weight * plain_cross_entropy(
        student, target
    )
    assert SoftContrastiveLoss(epsilon, weight)(student, teacher, labels).item() == pytest.approx(
        expected, rel=1e-12
    )


def test_ablations_take_one_part_of_the_target():
    student, teacher, labels = batch()
    onehot = torch.eye(5, dtype=torch.float64)[labels]
    assert ClusterContrastLoss()(student, None, labels).item() == pytest.approx(
        plain_cross_entropy(student, onehot), rel=1e-12
    )
    assert SoftOnlyLoss()(student, teacher, labels).item() == pytest.approx(
        plain_cross_entropy(student, teacher.softmax(1)), rel=1e-12
    )


@pytest.mark.parametrize("step", range(3))
@pytest.mark.parametrize("run", RUNS)
def test_recorded_losses_and_gradients(run, step):
    def recorded(name):
        return torch.from_numpy(GOLDEN[f"{run}/step{step}/{name}"]).double()

    before = "centroids_0" if step == 0 else f"step{step - 1}/centroids_after"
    centroids = torch.from_numpy(GOLDEN[f"{run}/{before}"]).double()
    labels = recorded("labels").long()
    features = recorded("student").requires_grad_()
    student = F.normalize(features) @ centroids.T / 0.05
    teacher = F.normalize(recorded("teacher")) @ centroids.T / 0.05
    smoothing = float(run.rsplit("smooth=", 1)[1])

    cluster = ClusterContrastLoss()(student, None, labels)
    soft = SoftContrastiveLoss(smoothing)(student, teacher, labels)
    (gradient,) = torch.autograd.grad(soft, features)
    # The recording was made in float32, hence the absolute slack for entries near zero.
    torch.testing.assert_close(cluster, recorded("loss_cluster"), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(soft, recorded("loss_ss"), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(gradient, recorded("grad_loss_ss_student"), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", [SoftContrastiveLoss(0.3), SoftOnlyLoss()])
def test_only_the_student_gets_a_gradient(loss):
    student, teacher, labels = batch()
    student.requires_grad_()
    teacher.requires_grad_()
    loss(student, teacher, labels).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_uses_teacher_tells_whether_one_is_needed():
    student, teacher, labels = batch()
    assert SoftContrastiveLoss(0.3).uses_teacher
    assert SoftOnlyLoss().uses_teacher
    for loss in (ClusterContrastLoss(), SoftContrastiveLoss(0.3, weight=0)):
        assert not loss.uses_teacher
        assert loss(student, None, labels) == loss(student, teacher, labels)
    for loss in (SoftContrastiveLoss(0.0), SoftOnlyLoss()):
        with pytest.raises(ValueError, match="teacher_logits"):
            loss(student, None, labels)
    with pytest.raises(ValueError, match="teacher_logits"):
        SoftOnlyLoss()(student, teacher[:1], labels)


def test_half_precision_logits_are_computed_in_float32():
    student, teacher, labels = (part for part in batch(size=64, clusters=40))
    student, teacher = student.bfloat16(), teacher.bfloat16()
    loss = SoftContrastiveLoss(0.3)
    expected = loss(student.double(), teacher.double(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = loss(student, teacher, labels)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "arguments", [{"smoothing": -0.1}, {"smoothing": 1.1}, {"smoothing": 0.1, "weight": 2}]
)
def test_settings_outside_the_unit_interval_are_refused(arguments):
    with pytest.raises(ValueError, match=list(arguments)[-1]):
        SoftContrastiveLoss(**arguments)
