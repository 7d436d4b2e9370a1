import copy

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from dccc_lightning.models.batchnorm import GroupedBatchNorm, broadcast_running_statistics
from dccc_lightning.models.embedder import build_embedder

SHAPES = {"vectors": (3,), "maps": (3, 2, 5)}


def assert_close(actual, expected, rtol=1e-9):
    # torch.testing takes seconds to import, in each process anew.
    np.testing.assert_allclose(actual.detach(), expected.detach(), rtol=rtol, atol=1e-11)


def batch(size, shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return 2 + 3 * torch.randn(size, *shape, generator=generator, dtype=dtype)


def norm(**settings):
    layer = GroupedBatchNorm(3, **settings).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
        layer.bias.copy_(torch.tensor([0.1, 0.2, -0.3]))
    return layer


def plain(x, layer):
    """Group by group and channel by channel."""
    out = torch.empty_like(x)
    for begin in range(0, len(x), layer.group_size):
        group = x[begin : begin + layer.group_size]
        for c in range(x.shape[1]):
            values = group[:, c]
            mean = values.mean()
            deviation = ((values - mean).square().mean() + layer.eps).sqrt()
            out[begin : begin + layer.group_size, c] = (
                layer.weight[c] * (values - mean) / deviation + layer.bias[c]
            )
    return out


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("group_size", [2, 4, 5, 12, 64])
def test_groups_are_normalised_apart(shape, group_size):
    layer = norm(group_size=group_size)
    x = batch(12, shape)
    assert_close(layer(x), plain(x, layer))


@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
def test_running_statistics_follow_the_first_group(momentum):
    layer = norm(group_size=4, momentum=momentum)
    reference = nn.BatchNorm2d(3, momentum=momentum).double()
    for seed in range(3):
        x = batch(10, (3, 2, 5), seed)
        layer(x)
        reference(x[:4])
    assert_close(layer.running_mean, reference.running_mean)
    assert_close(layer.running_var, reference.running_var)
    assert layer.num_batches_tracked == 3


def test_eval_mode_is_ordinary_batch_norm_with_torchs_state():
    reference = nn.BatchNorm2d(3)
    for seed in range(3):
        reference(batch(10, (3, 2, 5), seed, torch.float32))
    layer = GroupedBatchNorm(3, group_size=4)
    layer.load_state_dict(reference.state_dict())
    assert layer.state_dict().keys() == reference.state_dict().keys()
    x = batch(10, (3, 2, 5), 7, torch.float32)
    assert torch.equal(layer.eval()(x), reference.eval()(x))
    assert torch.equal(layer.running_mean, reference.running_mean)


def test_a_batch_of_one_group_is_not_copied():
    x = batch(8, (3,)).requires_grad_()
    assert "BatchNorm" in type(norm(group_size=8)(x).grad_fn).__name__


def test_half_precision_input_keeps_float32_statistics():
    layer, reference = GroupedBatchNorm(3, group_size=64), nn.BatchNorm2d(3)
    x = (100 + batch(64, (3, 4, 4), dtype=torch.float32)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(x)
    reference(x.float())
    assert output.dtype == torch.bfloat16
    assert_close(layer.running_mean, reference.running_mean, rtol=1e-5)
    assert_close(layer.running_var, reference.running_var, rtol=1e-4)


def test_frozen_statistics_are_those_of_the_weights_and_the_rest_is_trained():
    images = torch.rand(6, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    built = build_embedder(
        "resnet10", 0.5, weights="bundled", image_size=(64, 32), freeze=["bn_statistics"]
    )
    embedder = copy.deepcopy(built)  # as a teacher is
    before = {name: value.clone() for name, value in embedder.state_dict().items()}
    embedder.eval()
    with torch.no_grad():
        expected = embedder(images)
    embedder.train()
    found = embedder(images)
    assert_close(found, expected)
    alone = embedder(images[:1])  # of the other images of a batch nothing depends
    np.testing.assert_allclose(alone.detach(), found[:1].detach(), rtol=1e-4, atol=1e-6)
    found.square().sum().backward()
    lacking = {name for name, value in embedder.named_parameters() if value.grad is None}
    assert lacking == {"neck.bias"}
    assert all(torch.equal(value, before[name]) for name, value in embedder.state_dict().items())

    usual = build_embedder("resnet10", 0.5, weights="bundled", image_size=(64, 32)).train()
    assert (usual(images) - expected).abs().max() > 0.01
    with pytest.raises(ValueError, match="freeze: bn_statistics are of weights, and weights is"):
        build_embedder("resnet10", weights=None, freeze=["bn_statistics"])
    with pytest.raises(ValueError, match="no part 'bn_statistic'; the nearest are bn_statistics,"):
        build_embedder("resnet10", weights=None, freeze=["bn_statistic"])


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm(group_size=4)(batch(9, (3,)))
    assert norm(group_size=4).eval()(batch(1, (3,))).shape == (1, 3)
    with pytest.raises(ValueError, match="3D"):
        norm()(batch(4, (3, 5)))
    with pytest.raises(ValueError, match="group_size"):
        GroupedBatchNorm(3, group_size=0)


class Network(nn.Module):
    """Two batch norms in a row, so that gradients cross group borders on their way back."""

    def __init__(self, group_size, maps):
        super().__init__()
        torch.manual_seed(0)
        layer = (lambda: nn.Conv2d(3, 3, 1)) if maps else (lambda: nn.Linear(3, 3))
        self.layers = nn.Sequential(
            layer(), norm(group_size=group_size), nn.Tanh(), layer(), norm(group_size=group_size)
        )
        self.double()

    def forward(self, x):
        return self.layers(x).flatten(1)

    def statistics(self):
        return [b.clone() for b in self.buffers()]


def per_image_loss(output, x):
    return (output * torch.sin(3 * x.flatten(1))).sum(1) + output.pow(3).mean(1)


def step(network, x):
    """Return output, gradient of the input and of the parameters for a mean loss."""
    x = x.clone().requires_grad_()
    output = network(x)
    per_image_loss(output, x.detach()).mean().backward()
    return output.detach(), x.grad, [p.grad for p in network.parameters()]


def compare_with_one_process(rank, world, folder):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world
    )
    b = 8
    mine = slice(rank * b, (rank + 1) * b)
    messages = []
    all_reduce = dist.all_reduce
    for maps in (False, True):
        for group_size in (4, 8, 12, 16, 64, 5 if maps else 6):
            x = batch(world * b, SHAPES["maps" if maps else "vectors"])
            expected = torch.load(f"{folder}/{group_size}-{maps}.pt")
            network = Network(group_size, maps)
            initial = network.statistics()
            dist.all_reduce = lambda *a, **k: (messages.append(1), all_reduce(*a, **k))[1]
            output, grad_input, grads = step(network, x[mine])
            dist.all_reduce = all_reduce
            assert bool(messages) == (b % group_size != 0)
            messages.clear()
            if b % group_size == 0 and rank > 0:
                changed = zip(initial, network.statistics(), strict=True)
                assert all(torch.equal(*pair) for pair in changed if pair[0].ndim)
            broadcast_running_statistics(network)
            for parameter_grad in grads:
                dist.all_reduce(parameter_grad)
                parameter_grad.div_(world)
            assert_close(output, expected["output"][mine])
            # Each process minimises the mean over its own images, world times smaller a batch.
            assert_close(grad_input / world, expected["grad_input"][mine])
            for ours, single in zip(grads, expected["grads"], strict=True):
                assert_close(ours, single)
            for ours, single in zip(network.statistics(), expected["statistics"], strict=True):
                assert_close(ours, single)
            eval_output = network.eval()(x[mine])
            assert_close(eval_output, expected["eval_output"][mine])
    frozen = norm(group_size=64)
    frozen.bias.requires_grad_(False)
    frozen(batch(b, (3,)).bfloat16().requires_grad_()).sum().backward()
    assert frozen.bias.grad is None
    assert frozen.weight.grad is not None
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm(group_size=world * b - 1)(batch(b, (3,)))
    half = GroupedBatchNorm(3, group_size=64)
    output = half((100 + batch(b, (3, 4, 4), dtype=torch.float32)).bfloat16())
    assert output.dtype == torch.bfloat16
    assert half.running_mean.dtype == torch.float32
    assert output.float().mean().abs() < 0.01
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.ddp
@pytest.mark.parametrize("world", [2])
def test_processes_compute_what_one_process_computes(tmp_path, world):
    for maps in (False, True):
        for group_size in (4, 8, 12, 16, 64, 5 if maps else 6):
            network = Network(group_size, maps)
            x = batch(world * 8, SHAPES["maps" if maps else "vectors"])
            output, grad_input, grads = step(network, x)
            saved = {
                "output": output,
                "grad_input": grad_input,
                "grads": grads,
                "statistics": network.statistics(),
                "eval_output": copy.deepcopy(network).eval()(x).detach(),
            }
            torch.save(saved, tmp_path / f"{group_size}-{maps}.pt")
    mp.spawn(compare_with_one_process, args=(world, str(tmp_path)), nprocs=world)


def test_broadcast_without_processes_does_nothing():
    layer = norm()
    before = copy.deepcopy(layer.state_dict())
    broadcast_running_statistics(layer)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
