import copy
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning import memory as memory_module
from dccc_lightning.common.ranges import RULES
from dccc_lightning.memory import ClusterMemory

GOLDEN = np.load(Path(__file__).parent / "golden" / "dccc_reference.npz", allow_pickle=False)
RUNS = sorted({"/".join(key.split("/")[:4]) for key in GOLDEN if key.startswith("memory/")})
RULE_OF_MODE = {"wgm": "dycl", "avg": "mean", "hard": "hard", "cc": "instance"}


def unit(vector):
    return vector / np.linalg.norm(vector)


def plain_update(centroids, x, labels, rule, momentum, tau_w):
    """The four rules, one cluster and one image at a time, in float64."""
    centroids = centroids.astype(np.float64)
    for cluster in sorted(set(labels)):
        old = centroids[cluster]
        members = [
            unit(f.astype(np.float64)) for f, y in zip(x, labels, strict=True) if y == cluster
        ]
        cosines = np.array([f @ old for f in members])
        if rule == "instance":
            for f in members:
                old = unit(momentum * old + (1 - momentum) * f)
            centroids[cluster] = old
            continue
        if rule == "dycl":
            weights = np.exp(-(cosines - cosines.min()) / tau_w)
        elif rule == "mean":
            weights = np.ones(len(members))
        else:
            weights = np.arange(len(members)) == cosines.argmin()
        weights = weights / weights.sum()
        new = sum(w * f for w, f in zip(weights, members, strict=True))
        centroids[cluster] = unit(momentum * old + (1 - momentum) * new)
    return centroids


@contextmanager
def as_on_a_gpu():
    """Let CPU tensors take the way that does not wait for the device."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_module, "_leaders", lambda first: torch.arange(len(first)))
        yield


def make_memory(clusters=6, dim=8, seed=0, dtype=torch.float32, **settings):
    memory = ClusterMemory(dim, **settings).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    memory.rebuild(
        torch.randn(clusters, dim, generator=generator, dtype=dtype), torch.arange(clusters)
    )
    return memory


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("way", [nullcontext, as_on_a_gpu])
@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=20),
    st.sampled_from([1e-3, 0.03, 0.6, 100.0]),
    st.integers(0, 100),
)
def test_update_equals_the_plain_loop(way, rule, dtype, labels, tau_w, seed):
    memory = make_memory(seed=seed, dtype=dtype, update=rule, tau_w=tau_w, momentum=0.3)
    generator = torch.Generator().manual_seed(seed + 1)
    x = 5 * torch.randn(len(labels), 8, generator=generator, dtype=dtype)
    expected = plain_update(memory.centroids.numpy(), x.numpy(), labels, rule, 0.3, tau_w)
    with way():
        memory.update(x, torch.tensor(labels))
    # A float32 cosine is off by some 1e-7, which a small tau_w multiplies in the weights.
    tolerance = 1e-12 / tau_w if dtype == torch.float64 else 2e-6 + 1e-6 / tau_w
    np.testing.assert_allclose(memory.centroids.numpy(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("run", RUNS)
def test_recorded_updates(run):
    mode, tau_w = run.split("/")[1], float(run.split("tau_w=")[1].split("/")[0])
    memory = ClusterMemory(
        32, momentum=0.1, temperature=0.05, update=RULE_OF_MODE[mode], tau_w=tau_w
    )
    memory.centroids = torch.from_numpy(GOLDEN[f"{run}/centroids_0"])
    for step in range(3):
        x = torch.from_numpy(GOLDEN[f"{run}/step{step}/student"])
        memory.update(x, torch.from_numpy(GOLDEN[f"{run}/step{step}/labels"]))
        expected = torch.from_numpy(GOLDEN[f"{run}/step{step}/centroids_after"])
        torch.testing.assert_close(memory.centroids, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_clusters_in_the_batch_does_not_matter(rule):
    labels = torch.tensor([0, 0, 0, 3, 3, 1])
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(3))
    by_cluster, shuffled = make_memory(update=rule), make_memory(update=rule)
    order = torch.tensor([5, 3, 0, 1, 4, 2])  # keeps the order within each cluster
    by_cluster.update(x, labels)
    shuffled.update(x[order], labels[order])
    torch.testing.assert_close(by_cluster.centroids, shuffled.centroids, rtol=0, atol=1e-6)


def test_hard_takes_the_first_of_equally_hard_members():
    memory = ClusterMemory(3, momentum=0.0, update="hard")
    memory.rebuild(torch.tensor([[1.0, 0, 0]]), torch.tensor([0]))
    memory.update(torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]]), torch.tensor([0, 0, 0]))
    assert memory.centroids.tolist() == [[0, 0, 1]]


def test_tau_w_leads_from_the_hardest_member_to_the_mean():
    x = torch.randn(12, 8, generator=torch.Generator().manual_seed(5))
    labels = torch.arange(12) % 3
    after = {}
    for name, options in {
        "tiny": {"tau_w": 1e-4},
        "huge": {"tau_w": 1e6},
        "hard": {"update": "hard"},
        "mean": {"update": "mean"},
    }.items():
        memory = make_memory(**options)
        memory.update(x, labels)
        after[name] = memory.centroids
    torch.testing.assert_close(after["tiny"], after["hard"], rtol=0, atol=1e-5)
    torch.testing.assert_close(after["huge"], after["mean"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("rule", ["dycl", "mean", "hard"])
def test_a_step_never_waits_for_the_device(rule, monkeypatch):
    # On the meta device there are no values: an operation that needs one on the host raises.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # refuses meta
    memory = make_memory(update=rule).to("meta")
    labels = torch.empty(12, dtype=torch.long, device="meta")
    assert memory.logits(torch.empty(12, 8, device="meta")).shape == (12, 6)
    memory.update(torch.empty(12, 8, device="meta"), labels)
    assert memory.centroids.shape == (6, 8)


@pytest.mark.parametrize("rule", ["dycl", "mean", "hard"])
def test_members_of_a_cluster_write_the_same_bits(rule, monkeypatch):
    # Which of several writes to a row wins is not defined on a GPU, and there equal rows of a
    # matrix product may round apart: here the writes are reversed and the rows made to differ.
    def round_apart(self, old, new):
        return blend(self, old, new) * (1 + 1e-6 * torch.arange(len(new))[:, None])

    def write_backwards(self, dim, index, rows):
        return write(self, dim, index.flip(0), rows.flip(0))

    blend, write = ClusterMemory._blend, torch.Tensor.index_copy
    monkeypatch.setattr(ClusterMemory, "_blend", round_apart)
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(20) % 6
    forwards, backwards = make_memory(update=rule), make_memory(update=rule)
    with as_on_a_gpu():
        forwards.update(x, labels)
        monkeypatch.setattr(torch.Tensor, "index_copy", write_backwards)
        backwards.update(x, labels)
    assert torch.equal(forwards.centroids, backwards.centroids)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rule", RULES)
def test_cuda_gives_the_centroids_of_the_cpu(rule):
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(64) % 5
    on_cpu, on_gpu = make_memory(update=rule), make_memory(update=rule).cuda()
    on_cpu.update(x, labels)
    arguments = x.cuda(), labels.cuda()
    if rule != "instance":
        torch.cuda.set_sync_debug_mode("error")
    try:
        on_gpu.update(*arguments)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(on_gpu.centroids.cpu(), on_cpu.centroids, rtol=0, atol=1e-5)


def test_rebuild_averages_the_members_and_ignores_outliers():
    features = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], dtype=np.float32)
    labels = np.array([1, 0, 1, -1])
    memory = ClusterMemory(2)
    assert memory.num_clusters == 0
    memory.rebuild(features, labels)
    assert memory.num_clusters == 2
    np.testing.assert_allclose(
        memory.centroids, [[0, 1], unit(np.array([1.6, 0.8]))], rtol=1e-6, atol=1e-7
    )
    memory.rebuild(torch.from_numpy(features[:1]), torch.tensor([0]))
    assert memory.centroids.tolist() == [[1, 0]]


def test_logits_are_cosines_over_temperature_and_differentiable():
    memory = make_memory(temperature=0.2, dtype=torch.float64)
    x = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = [[unit(f) @ c / 0.2 for c in memory.centroids.numpy()] for f in x.numpy()]
    np.testing.assert_allclose(memory.logits(x), expected, rtol=1e-12)
    assert torch.autograd.gradcheck(memory.logits, (x.requires_grad_(),))


@pytest.mark.parametrize("rule", RULES)
def test_an_update_leaves_the_backward_of_earlier_logits_alone(rule):
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([0, 0, 1, 5])
    memory = make_memory(update=rule)
    (expected,) = torch.autograd.grad(memory.logits(x).square().sum(), x)
    logits = memory.logits(x)
    memory.update(x, labels)
    (actual,) = torch.autograd.grad(logits.square().sum(), x)
    assert torch.equal(actual, expected)
    assert not memory.centroids.requires_grad


@pytest.mark.parametrize("rule", RULES)
def test_autocast_changes_nothing(rule):
    x = torch.randn(9, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.arange(9) % 4
    inside, outside = make_memory(update=rule), make_memory(update=rule)
    expected = outside.logits(x.float())
    outside.update(x.float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(inside.logits(x), expected)
        inside.update(x, labels)
    assert torch.equal(inside.centroids, outside.centroids)


def test_a_state_dict_with_another_number_of_clusters_loads():
    parent = torch.nn.ModuleDict({"memory": make_memory(clusters=6)})
    other = torch.nn.ModuleDict({"memory": copy.deepcopy(ClusterMemory(8))})
    other.load_state_dict(parent.state_dict())
    assert torch.equal(other["memory"].centroids, parent["memory"].centroids)
    copied = copy.deepcopy(parent)
    copied.load_state_dict({"memory.centroids": torch.ones(2, 8)})
    assert copied["memory"].num_clusters == 2
    assert parent["memory"].num_clusters == 6
    with pytest.raises(RuntimeError, match="size mismatch"):
        ClusterMemory(5).load_state_dict(make_memory().state_dict())


def test_an_empty_batch_changes_nothing():
    memory = make_memory()
    before = memory.centroids.clone()
    memory.update(torch.empty(0, 8), torch.empty(0, dtype=torch.long))
    assert torch.equal(memory.centroids, before)


def test_wrong_input_is_refused():
    memory = ClusterMemory(2)
    features = torch.eye(2)
    with pytest.raises(RuntimeError, match="rebuild"):
        memory.logits(features)
    with pytest.raises(RuntimeError, match="rebuild"):
        memory.update(features, torch.tensor([0, 1]))
    for labels, message in [
        ([0, 2], "1 of 0..2 has no member"),
        ([-1, -1], "at least one cluster"),
        ([-2, 0], "-2"),
        ([0], "labels must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            memory.rebuild(features, torch.tensor(labels))
    with pytest.raises(ValueError, match="features"):
        memory.rebuild(torch.eye(3), torch.arange(3))
    memory.rebuild(features, torch.arange(2))
    for labels in ([0, 2], [-1, 0]):
        with pytest.raises(ValueError, match=r"\[0, 2\)"):
            memory.update(features, torch.tensor(labels))
    with pytest.raises(ValueError, match=r"\(B,\)"):
        memory.update(features, torch.tensor([0]))


def test_embeddings_that_are_not_finite_are_named_unless_they_are_outliers():
    memory = ClusterMemory(2)
    features = torch.eye(2).repeat(4, 1)
    features[[1, 4, 6], 0] = torch.tensor([torch.nan, torch.inf, torch.nan])
    labels = torch.tensor([0, 1, 1, 0, 0, 1, -1, 1])
    with pytest.raises(ValueError, match="NaN or infinity in 2 rows: 1, 4"):
        memory.rebuild(features, labels)
    labels[[1, 4]] = -1
    memory.rebuild(features, labels)
    assert memory.centroids.isfinite().all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_labels_may_be_any_integers(rule, dtype):
    found = []
    for labels in (torch.tensor([1, 0, 1, 2]), torch.tensor([1, 0, 1, 2]).to(dtype)):
        memory = ClusterMemory(3, update=rule)
        memory.rebuild(torch.eye(3), torch.arange(3))
        memory.update(torch.arange(12.0).reshape(4, 3), labels)
        found.append(memory.centroids)
    assert torch.equal(*found)


@pytest.mark.filterwarnings("error")
def test_embeddings_may_be_arrays_of_any_make():
    rows = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    labels = np.array([0, 1, 2, 0, 1, 2])
    expected = ClusterMemory(3)
    expected.rebuild(rows, labels)
    fixed = rows.copy()
    fixed.flags.writeable = False
    for odd, numbers in ((rows[::-1], labels[::-1]), (rows.astype(">f4"), labels), (fixed, labels)):
        memory = ClusterMemory(3)
        memory.rebuild(odd, numbers)
        torch.testing.assert_close(memory.centroids, expected.centroids)


@pytest.mark.parametrize(
    "arguments", [{"momentum": 1.5}, {"temperature": 0}, {"tau_w": 0}, {"update": "median"}]
)
def test_wrong_settings_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        ClusterMemory(4, **arguments)
