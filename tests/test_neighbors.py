import logging
import sys

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.neighbors import nearest
from dccc_lightning.neighbors.nearest import knn

BACKENDS = ["faiss", "torch"]


def reference(features, k):
    """All distances in float64, a full stable sort, the point itself moved to the front."""
    rows = np.asarray(features, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = (rows / np.where(norms > 0, norms, 1)).astype(np.float32).astype(np.float64)
    distances = np.sqrt(((unit[:, None] - unit[None]) ** 2).sum(-1)).astype(np.float32)
    keys = distances.copy()
    np.fill_diagonal(keys, -1)
    indices = np.argsort(keys, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, indices, axis=1), indices


def check(features, k, backend):
    distances, indices = knn(features, k, backend)
    expected_distances, expected_indices = reference(features, k)
    assert distances.dtype == np.float32
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_equals_brute_force(backend):
    check(np.random.default_rng(0).normal(size=(300, 32)), 30, backend)


@pytest.mark.parametrize("backend", BACKENDS)
@given(seed=st.integers(0, 10_000), distinct=st.integers(1, 60), k=st.integers(1, 50))
@settings(max_examples=15, deadline=None)
def test_ties_go_to_the_lower_index_also_among_many_duplicates(backend, seed, distinct, k):
    rng = np.random.default_rng(seed)
    points = rng.integers(-1, 2, size=(distinct, 4)).astype(np.float32)  # zero rows among them
    check(points[rng.integers(0, distinct, 50)], k, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_point_itself_comes_first_when_all_are_equal(backend):
    distances, indices = knn(np.ones((80, 6)), 5, backend)
    np.testing.assert_array_equal(indices[:, 0], np.arange(80))
    np.testing.assert_array_equal(indices[70], [70, 0, 1, 2, 3])
    np.testing.assert_array_equal(indices[2], [2, 0, 1, 3, 4])
    assert not distances.any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spread", [1e-3, 1e-5, 1e-7])
def test_embeddings_that_nearly_collapsed_keep_their_order(backend, spread):
    rng = np.random.default_rng(1)
    check(np.ones((150, 16)) + spread * rng.normal(size=(150, 16)), 10, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tight_heap_among_spread_points_keeps_its_order(backend):
    rng = np.random.default_rng(2)
    heap = rng.normal(size=16) + 1e-6 * rng.normal(size=(100, 16))
    check(np.concatenate([heap, rng.normal(size=(50, 16))]), 8, backend)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_takes_torch_tensors_of_any_float_type(dtype):
    features = torch.randn(60, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    features.requires_grad_()
    expected = knn(features.detach().double().numpy(), 7)
    for backend in BACKENDS:
        distances, indices = knn(features, 7, backend)
        np.testing.assert_array_equal(indices, expected[1])
        np.testing.assert_array_equal(distances, expected[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_k_may_be_an_integer_of_numpy(backend):
    features = np.random.default_rng(5).normal(size=(40, 8))
    np.testing.assert_array_equal(
        knn(features, np.int64(5), backend)[1], knn(features, 5, backend)[1]
    )


def test_lengths_do_not_matter():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(50, 8))
    scaled = features * 10.0 ** rng.integers(-12, 12, size=(50, 1))
    np.testing.assert_array_equal(knn(scaled, 9)[1], knn(features, 9)[1])


def test_input_is_left_alone():
    features = np.random.default_rng(4).normal(size=(40, 8)).astype(np.float32)
    before = features.copy()
    knn(features, 5)
    np.testing.assert_array_equal(features, before)


def test_torch_keeps_full_precision_whatever_the_trainer_chose(monkeypatch):
    seen = []
    addmm = torch.addmm

    def spy(*args, **kwargs):
        seen.append((torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu")))
        return addmm(*args, **kwargs)

    monkeypatch.setattr(torch, "addmm", spy)
    features = np.random.default_rng(5).normal(size=(40, 8))
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            check(features, 5, "torch")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert set(seen) == {("highest", False)}


def test_torch_works_in_blocks(monkeypatch):
    monkeypatch.setitem(nearest._BLOCK_BYTES, "cpu", 4 * 100 * 7)  # seven rows at a time
    check(np.random.default_rng(6).normal(size=(100, 8)), 12, "torch")


def test_a_gpu_failure_of_faiss_is_one_warning_and_the_same_answer(monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise RuntimeError("no kernel image\nis available")

    monkeypatch.setattr(nearest, "_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", fail)
    with caplog.at_level(logging.WARNING):
        check(np.random.default_rng(7).normal(size=(60, 8)), 5, "faiss")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no kernel image" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="faiss searches on the GPU")
def test_faiss_takes_no_memory_where_it_does_not_search(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    check(np.random.default_rng(7).normal(size=(60, 8)), 5, "auto")


def test_auto_says_what_it_picked(caplog):
    with caplog.at_level(logging.INFO, logger="dccc_lightning"):
        knn(np.eye(4), 2)
    assert "4 x 4 embeddings, k = 2: faiss" in caplog.text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
def test_the_gpu_gives_the_same_answer(backend):
    features = np.random.default_rng(8).normal(size=(2000, 64)).astype(np.float32)
    expected = reference(features, 30)
    distances, indices = knn(torch.from_numpy(features).cuda(), 30, backend)
    np.testing.assert_array_equal(indices, expected[1])
    np.testing.assert_allclose(distances, expected[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("features", "k", "message"),
    [
        (np.eye(3), 4, "k must be at most 3, got 4"),
        (np.eye(3), 0, "k must be at least 1, got 0"),
        (np.ones(3), 1, r"features must be a non-empty \(N, D\) array, got shape \(3,\)"),
        (np.ones((0, 3)), 1, "non-empty"),
        (np.full((9, 2), np.nan), 1, r"features must be finite.* 9 rows: 0, 1, 2, 3, 4, \.\.\."),
        (torch.tensor([[1.0, 0.0], [0.0, torch.inf]]), 1, "1 rows: 1"),
    ],
)
def test_refuses_bad_values(features, k, message):
    with pytest.raises(ValueError, match=message):
        knn(features, k)


def test_refuses_an_unknown_backend():
    with pytest.raises(
        ValueError, match="backend must be one of auto, faiss, torch, approximate, got 'annoy'"
    ):
        knn(np.eye(3), 1, "annoy")


def test_refuses_entries_that_are_no_numbers():
    with pytest.raises(TypeError, match="features must hold real numbers"):
        knn(np.array([["a", "b"]]), 1)


@pytest.mark.parametrize("rows", [1, 2])
def test_the_smallest_sets(rows):
    distances, indices = knn(np.eye(2)[:rows], rows)
    np.testing.assert_array_equal(indices, np.array([[0, 1], [1, 0]])[:rows, :rows])
    np.testing.assert_allclose(distances[:, -1], 0 if rows == 1 else 2**0.5, rtol=1e-6)
