from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dccc_lightning.models.teacher import MeanTeacher

GOLDEN = np.load(Path(__file__).parent / "golden" / "dccc_reference.npz", allow_pickle=False)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def moved(student, seed=1):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(torch.randn_like(parameter))
    return student


def test_decay_is_the_recorded_one():
    teacher = MeanTeacher(network())
    recorded = GOLDEN["ema/alpha"]
    np.testing.assert_allclose(
        [teacher.decay(step) for step in range(len(recorded))], recorded, rtol=1e-12, atol=0
    )


def test_start_and_cap_are_settings():
    teacher = MeanTeacher(network(), start=2, cap=0.7)
    assert [teacher.decay(step) for step in range(7)] == pytest.approx(
        [0.7, 0.7, 0, 1 / 2, 2 / 3, 0.7, 0.7]
    )


@pytest.mark.parametrize("step", [0, 100, 5000])
def test_update_averages_the_parameters(step):
    student = network()
    teacher = MeanTeacher(student)
    old = [p.clone() for p in teacher.parameters()]
    moved(student)
    teacher.update(student, step)
    a = teacher.decay(step)
    for before, after, theirs in zip(old, teacher.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(after, a * before + (1 - a) * theirs.detach())
        assert not torch.equal(after, before)


def test_a_decay_of_zero_copies_exactly():
    student = network()
    teacher = MeanTeacher(student)
    teacher.update(moved(student), step=99)
    for ours, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_buffers_are_the_teachers_own():
    student = network()
    teacher = MeanTeacher(student)
    student(torch.randn(8, 3))
    teacher.update(student, step=99)
    assert torch.equal(teacher.network[1].running_mean, torch.zeros(4))
    teacher(torch.randn(8, 3))
    assert not torch.equal(teacher.network[1].running_mean, torch.zeros(4))
    assert teacher.network[1].num_batches_tracked == 1
    running = teacher.network[1].running_mean.clone()
    teacher.eval()(torch.randn(8, 3))
    assert torch.equal(teacher.network[1].running_mean, running)


def test_the_teacher_is_a_copy_without_gradients():
    student = network()
    teacher = MeanTeacher(student)
    x = torch.randn(8, 3)
    assert torch.equal(teacher(x), network()(x))
    assert not teacher(x).requires_grad
    assert all(p.requires_grad for p in student.parameters())
    moved(student)
    assert not torch.equal(next(teacher.parameters()), next(student.parameters()))
    assert all(key.startswith("network.") for key in teacher.state_dict())


def test_wrong_settings_and_students_are_refused():
    with pytest.raises(ValueError, match="cap"):
        MeanTeacher(network(), cap=1.1)
    with pytest.raises(ValueError, match="start"):
        MeanTeacher(network(), start=-1)
    with pytest.raises(ValueError, match="student"):
        MeanTeacher(network()).update(nn.Linear(3, 4), 0)
