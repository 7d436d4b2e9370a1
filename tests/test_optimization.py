from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn, optim

from dccc_lightning.common.ranges import ALGORITHMS
from dccc_lightning.training.optimization import Optimization

GOLDEN = np.load(Path(__file__).parent / "golden" / "dccc_reference.npz", allow_pickle=False)
LEARNING_RATES = GOLDEN["lr/warmup10_factor0.1_base3.5e-4"]


def parameter(values, gradient):
    weight = nn.Parameter(torch.tensor(values, dtype=torch.float64))
    weight.grad = torch.tensor(gradient, dtype=torch.float64)
    return weight


def test_the_warm_up_is_that_of_the_authors():
    settings = Optimization()
    rates = [settings.lr * settings.factor(epoch) for epoch in range(len(LEARNING_RATES))]
    assert len(rates) == 30
    np.testing.assert_allclose(rates, LEARNING_RATES, rtol=1e-12)


def test_stepping_once_an_epoch_gives_the_same_rates():
    settings = Optimization()
    optimizer = settings.optimizer([parameter([1.0], [1.0])])
    scheduler = settings.scheduler(optimizer)
    rates = []
    for _ in LEARNING_RATES:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(rates, LEARNING_RATES, rtol=1e-12)


@pytest.mark.parametrize(("epochs", "start"), [(1, 0.5), (4, 0.2), (10, 1.0)])
def test_the_warm_up_is_a_line_from_its_start_to_one(epochs, start):
    settings = Optimization(warmup_epochs=epochs, warmup_start=start)
    expected = np.interp(range(15), [0, epochs], [start, 1.0])
    np.testing.assert_allclose([settings.factor(t) for t in range(15)], expected, rtol=1e-12)


def test_without_warm_up_the_rate_is_constant():
    assert [Optimization(warmup_epochs=0).factor(t) for t in (0, 1, 50)] == [1.0, 1.0, 1.0]


def rates(settings, epochs):
    """Return the rates of a run, and those of a run that is resumed in its middle."""
    optimizer = settings.optimizer([parameter([1.0], [1.0])])
    scheduler = settings.scheduler(optimizer)
    found = []
    for epoch in range(epochs):
        if epoch == epochs // 2:
            optimizer = settings.optimizer([parameter([1.0], [1.0])])
            state = scheduler.state_dict()
            scheduler = settings.scheduler(optimizer)
            scheduler.load_state_dict(state)
            settings.renew(optimizer, epoch)
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        ({"schedule": "step"}, lambda each: optim.lr_scheduler.StepLR(each, 20, 0.1)),
        (
            {"schedule": "step", "step_epochs": 7, "step_factor": 0.5},
            lambda each: optim.lr_scheduler.StepLR(each, 7, 0.5),
        ),
        (
            {"schedule": "cosine", "epochs": 50},
            lambda each: optim.lr_scheduler.CosineAnnealingLR(each, 50),
        ),
    ],
)
def test_a_schedule_is_that_of_torch_and_goes_on_after_a_resume(settings, reference):
    optimizer = optim.Adam([parameter([1.0], [1.0])], lr=3.5e-4)
    scheduler, expected = reference(optimizer), []
    for _ in range(50):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    found = rates(Optimization(warmup_epochs=0, **settings), 50)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


def test_a_cosine_begins_where_the_warm_up_ends():
    settings = Optimization(warmup_epochs=10, schedule="cosine", epochs=30)
    factors = [settings.factor(epoch) for epoch in range(31)]
    np.testing.assert_allclose(factors[:11], LEARNING_RATES[:11] / 3.5e-4)
    assert (factors[20], factors[30]) == pytest.approx((0.5, 0.0))


def test_a_cosine_needs_the_number_of_epochs():
    with pytest.raises(ValueError, match="schedule=cosine needs epochs"):
        Optimization(schedule="cosine")


def test_adam_has_its_weight_decay_in_the_gradient():
    settings = Optimization(lr=0.1, weight_decay=0.5)
    weight = parameter([2.0, -4.0], [0.25, 3.0])
    optimizer = settings.optimizer([weight])
    optimizer.step()
    # Gradients with the L2 term: 0.25 + 0.5 * 2 = 1.25 and 3 - 0.5 * 4 = 1. The first step of Adam
    # is lr * g / (|g| + 1e-8); decay beside it would have moved the weights by 0.05 w more.
    expected = [2.0 - 0.1 * 1.25 / (1.25 + 1e-8), -4.0 - 0.1 * 1.0 / (1.0 + 1e-8)]
    np.testing.assert_allclose(weight.detach(), expected, rtol=1e-12)
    moments = optimizer.state[weight]
    np.testing.assert_allclose(moments["exp_avg"], [0.125, 0.1], rtol=1e-12)
    np.testing.assert_allclose(moments["exp_avg_sq"], [1.5625e-3, 1e-3], rtol=1e-12)


def test_adamw_has_its_weight_decay_beside_the_gradient():
    weight = parameter([2.0, -4.0], [0.25, 3.0])
    Optimization("adamw", lr=0.1, weight_decay=0.5).optimizer([weight]).step()
    expected = [2.0 * 0.95 - 0.1 * 0.25 / (0.25 + 1e-8), -4.0 * 0.95 - 0.1 * 3.0 / (3.0 + 1e-8)]
    np.testing.assert_allclose(weight.detach(), expected, rtol=1e-12)


def test_sgd_can_be_plain():
    weight = nn.Parameter(torch.tensor([2.0]))
    settings = Optimization("sgd", lr=0.1, weight_decay=0.0, nesterov=False)
    optimizer = settings.optimizer([weight])
    weight.grad = torch.ones(1)
    optimizer.step()
    np.testing.assert_allclose(weight.item(), 1.9)  # Nesterov's first step is 1 + momentum longer
    settings.renew(optimizer, 0)
    assert optimizer.param_groups[0]["nesterov"] is False


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_looks_ahead(momentum):
    weight = parameter([2.0], [0.5])
    settings = Optimization("sgd", lr=0.1, weight_decay=0.25, momentum=momentum)
    settings.optimizer([weight]).step()
    gradient = 0.5 + 0.25 * 2.0
    np.testing.assert_allclose(weight.item(), 2.0 - 0.1 * gradient * (1 + momentum), rtol=1e-12)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_frozen_parameters_are_left_out_and_batch_norm_decays_too(algorithm):
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    network[1].bias.requires_grad_(False)
    optimizer = Optimization(algorithm).optimizer(network.parameters())
    groups = optimizer.param_groups
    assert len(groups) == 1
    assert groups[0]["weight_decay"] == 5e-4
    trained = {id(p) for p in groups[0]["params"]}
    assert trained == {id(network[0].weight), id(network[0].bias), id(network[1].weight)}


def test_the_published_settings_are_the_defaults():
    optimizer = Optimization().optimizer([parameter([1.0], [1.0])])
    assert type(optimizer) is optim.Adam
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["betas"]) == (3.5e-4, 5e-4, (0.9, 0.999))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("algorithm", "lamb"),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("weight_decay", -1e-4),
        ("warmup_epochs", -1),
        ("warmup_start", 0.0),
        ("warmup_start", 1.5),
        ("momentum", 1.0),
    ],
)
def test_values_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must .*{value!r}"):
        Optimization(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("lr", "fast"), ("warmup_epochs", 2.5)])
def test_values_of_another_type_are_refused_by_name(name, value):
    with pytest.raises(TypeError, match=name):
        Optimization(**{name: value})
