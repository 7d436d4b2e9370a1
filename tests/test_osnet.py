"""OSNet: files by torchreid's names and a reference of its forward in plain functions."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dccc_lightning.errors import UserError
from dccc_lightning.inference.exporting import to_onnx, to_program, to_pt2
from dccc_lightning.inference.image_embedder import ImageEmbedder, Origin
from dccc_lightning.inference.runtimes import runner
from dccc_lightning.models.batchnorm import GroupedBatchNorm
from dccc_lightning.models.dialects.families import recognize
from dccc_lightning.models.embedder import build_embedder
from dccc_lightning.models.teacher import MeanTeacher
from dccc_lightning.models.weights import load_weights

WIDTH, STEM, STAGES = 0.25, 16, (64, 96, 128)  # x0.25
AIN = {"conv2.0", "conv2.1", "conv3.1", "conv4.0"}
IBN = {"conv2.0", "conv2.1"}
IMAGES = torch.randn(3, 3, 64, 32, generator=torch.Generator().manual_seed(5))


class File:
    """A state dict by torchreid's names, filled with random values on demand."""

    def __init__(self, variant):
        self.variant, self.state = variant, {}
        self.random = torch.Generator().manual_seed(1)

    def value(self, name, *shape, low=None):
        if name not in self.state:
            uniform = torch.rand(shape, generator=self.random)
            scale = (24 / uniform[0].numel()) ** 0.5
            self.state[name] = uniform + low if low is not None else (uniform - 0.5) * scale
        return self.state[name]

    def conv(self, name, x, size, kernel=1, stride=1, bias=False, groups=1):
        weight = self.value(f"{name}.weight", size, x.shape[1] // groups, kernel, kernel)
        offset = self.value(f"{name}.bias", size) if bias else None
        return F.conv2d(x, weight, offset, stride, kernel // 2, groups=groups)

    def batch_norm(self, name, x):
        size = x.shape[1]
        values = [
            self.value(f"{name}.{part}", size, low=low)
            for part, low in (
                ("running_mean", -0.5),
                ("running_var", 0.5),
                ("weight", 0.5),
                ("bias", -0.5),
            )
        ]
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(3)
        return F.batch_norm(x, *values)

    def instance_norm(self, name, x):
        size = x.shape[1]
        weight, bias = (
            self.value(f"{name}.{part}", size, low=low)
            for part, low in (("weight", 0.5), ("bias", -0.5))
        )
        return F.instance_norm(x, weight=weight, bias=bias)

    def unit(self, name, x, size, **options):
        return self.batch_norm(f"{name}.bn", self.conv(f"{name}.conv", x, size, **options))

    def light(self, name, x):
        size = x.shape[1]
        x = self.conv(f"{name}.conv1", x, size)
        x = self.conv(f"{name}.conv2", x, size, kernel=3, groups=size)
        return self.batch_norm(f"{name}.bn", x).relu()

    def stream(self, name, x, number):
        for depth in range(number + 1):
            if self.variant == "osnet_ain":
                x = self.light(f"{name}.conv2.{number}.layers.{depth}", x)
            elif number == 0:
                x = self.light(f"{name}.conv2a", x)
            else:
                x = self.light(f"{name}.conv2{'abcd'[number]}.{depth}", x)
        return x

    def gate(self, name, x):
        means = x.mean((2, 3), keepdim=True)
        hidden = self.conv(f"{name}.fc1", means, max(x.shape[1] // 16, 1), bias=True).relu()
        return x * self.conv(f"{name}.fc2", hidden, x.shape[1], bias=True).sigmoid()

    def block(self, name, x, size):
        reduced = self.unit(f"{name}.conv1", x, size // 4).relu()
        total = sum(self.gate(f"{name}.gate", self.stream(name, reduced, t)) for t in range(4))
        inside = self.variant == "osnet_ain" and name in AIN
        if inside:
            total = self.instance_norm(f"{name}.IN", self.conv(f"{name}.conv3.conv", total, size))
        else:
            total = self.unit(f"{name}.conv3", total, size)
        if x.shape[1] != size:
            x = self.unit(f"{name}.downsample", x, size)
        x = x + total
        if self.variant == "osnet_ibn" and name in IBN:
            x = self.instance_norm(f"{name}.IN", x)
        return x.relu()

    def maps(self, x):
        x = self.conv("conv1.conv", x, STEM, kernel=7, stride=2)
        norm = self.batch_norm if self.variant == "osnet" else self.instance_norm
        x = F.max_pool2d(norm("conv1.bn", x).relu(), 3, 2, padding=1)
        for number, size in enumerate(STAGES, start=2):
            x = self.block(f"conv{number}.1", self.block(f"conv{number}.0", x, size), size)
            if number < 4:
                ain = self.variant == "osnet_ain"
                halving = f"pool{number}.0" if ain else f"conv{number}.2.0"
                x = F.avg_pool2d(self.unit(halving, x, size).relu(), 2)
        return self.unit("conv5", x, STAGES[-1]).relu()

    def features(self, images):
        pooled = self.maps(images).mean((2, 3))
        weight, bias = self.value("fc.0.weight", 512, STAGES[-1]), self.value("fc.0.bias", 512)
        return self.batch_norm("fc.1", F.linear(pooled, weight, bias)).relu()


def written(variant, folder):
    file = File(variant)
    wanted = F.normalize(file.features(IMAGES))
    path = folder / "osnet.pth.tar"
    head = {"classifier.weight": torch.ones(751, 512), "classifier.bias": torch.ones(751)}
    state = {f"module.{name}": value for name, value in (file.state | head).items()}
    torch.save({"state_dict": state, "epoch": 3}, path)
    return str(path), wanted, file


def embedded(embedder):
    with torch.no_grad():
        return embedder.eval()(IMAGES)


@pytest.mark.parametrize("variant", ["osnet", "osnet_ibn", "osnet_ain"])
def test_torchreids_files_become_their_networks(tmp_path, variant):
    path, wanted, file = written(variant, tmp_path)
    assert recognize(file.state).name == "osnet"
    embedder = build_embedder(variant, width=WIDTH, weights=None)
    report = load_weights(embedder, path, variant)
    assert report.unexpected == ()
    assert all(name.startswith("neck.") for name in report.missing)
    torch.testing.assert_close(embedded(embedder), wanted, rtol=0, atol=2e-5)
    assert embedder.feature_dim == 512
    again = build_embedder(weights=None, **embedder.architecture)
    again.load_state_dict(embedder.state_dict())
    assert torch.equal(embedded(again), embedded(embedder))
    other, width = ("osnet_ain", WIDTH) if variant == "osnet_ibn" else (variant, 1 / 8)
    with pytest.raises(UserError, match="does not match"):
        load_weights(build_embedder(other, width=width, weights=None), path, other)


def test_a_width_and_an_image_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="13 x 13 or more for osnet, got 12 x 64"):
        build_embedder("osnet", weights=None, image_size=(12, 64))
    with pytest.raises(ValueError, match="29 x 13 or more for osnet_ain"):
        build_embedder("osnet_ain", weights=None, image_size=(28, 28))
    for name, size in (("osnet", (13, 13)), ("osnet_ain", (29, 13))):
        embedder = build_embedder(name, width=1 / 64, weights=None, image_size=size)
        assert embedder(torch.randn(2, 3, *size)).shape == (2, 512)


@pytest.mark.parametrize("variant", ["osnet", "osnet_ibn", "osnet_ain"])
def test_it_trains_with_a_teacher_and_grouped_batch_norm(variant):
    torch.manual_seed(0)
    embedder = build_embedder(variant, width=1 / 16, weights=None, bn_group_size=2)
    assert not any(type(m) in (nn.BatchNorm1d, nn.BatchNorm2d) for m in embedder.modules())
    groups = [m.group_size for m in embedder.modules() if isinstance(m, GroupedBatchNorm)]
    assert set(groups) == {2}
    teacher = MeanTeacher(embedder)
    images = torch.randn(4, 3, 64, 32)
    halves = torch.cat([embedder(images[:2]), embedder(images[2:])])
    torch.testing.assert_close(embedder(images), halves, rtol=0, atol=1e-3)
    (embedder(images) * torch.randn(4, 512)).sum().backward()
    trained = [p for p in embedder.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    teacher.update(embedder, 0)


def test_the_published_number_of_parameters():
    with torch.device("meta"):
        embedder = build_embedder("osnet", weights=None)
    assert round(sum(p.numel() for p in embedder.parameters()) / 1e6, 1) == 2.2


@pytest.mark.slow
def test_it_is_exported(tmp_path):
    pytest.importorskip("onnxscript")
    path, _, _ = written("osnet_ain", tmp_path)
    network = build_embedder("osnet_ain", width=WIDTH, weights=path)
    origin = Origin("osnet", "student", dict(network.architecture), 64, 32, "somewhere", "1")
    embedder = ImageEmbedder(network, origin, torch.device("cpu"))
    program = to_program(embedder)
    pixels = torch.randint(0, 256, (3, 3, 64, 32), dtype=torch.uint8)
    wanted = embedder.embed(pixels).numpy()
    for file_format, content in (("onnx", to_onnx(program, {})), ("pt2", to_pt2(program, {}))):
        file = tmp_path / f"model.{file_format}"
        file.write_bytes(content)
        theirs = runner(file)(pixels.numpy())
        assert abs(theirs - wanted).max() < 1e-4
