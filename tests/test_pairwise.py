"""Neighbours from one product for each two images."""

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.metrics import reranking
from dccc_lightning.neighbors import nearest, pairwise
from dccc_lightning.neighbors.nearest import knn, knn_and_farthest
from dccc_lightning.neighbors.pairs_within import within


def slow(rows, k):
    """All squared distances, row by row."""
    squares = ((rows[:, None].astype(np.float64) - rows) ** 2).sum(axis=-1)
    return np.sort(squares, axis=1)[:, :k], squares


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(pairwise, "_BLOCK", 7)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 40), k=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_is_the_nearest_and_the_farthest_of_all(seed, n, k):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, (n, 3)).astype(np.float32)  # exact products, ties and duplicates
    k = min(n, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairwise, "_BLOCK", int(rng.integers(1, 50)))
        found = pairwise.compare(rows, k, farthest=True)
    nearest_squares, squares = slow(rows, k)
    each = np.arange(n)
    np.testing.assert_array_equal(found.squares, nearest_squares)
    np.testing.assert_array_equal(found.squares, squares[each[:, None], found.indices])
    assert all(len(set(row)) == k for row in found.indices.tolist())
    np.testing.assert_array_equal(squares[each, found.farthest], squares.max(axis=1))


@given(seed=st.integers(0, 10_000), n=st.integers(1, 40), most=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_rows_within_a_distance_come_by_index(seed, n, most):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, (n, 3)).astype(np.float32)
    bounds = rng.integers(0, 30, n).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairwise, "_BLOCK", int(rng.integers(1, 50)))
        found, indices = within(rows, bounds, most)
    squares = slow(rows, n)[1]
    for row in range(n):
        inside = np.flatnonzero(squares[row] <= bounds[row])[:most]
        rest = most - len(inside)
        assert indices[row].tolist() == [*inside, *[-1] * rest]
        assert found[row].tolist() == [*squares[row, inside], *[np.inf] * rest]


@given(seed=st.integers(0, 10_000), n=st.integers(1, 40), within=st.integers(1, 40),
       across=st.integers(1, 40))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_cameras_are_the_nearest_within_and_across(seed, n, within, across):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, (n, 3)).astype(np.float32)
    cameras = np.sort(rng.integers(0, int(rng.integers(1, 6)), n))
    cameras = np.unique(cameras, return_inverse=True)[1]
    starts = np.searchsorted(cameras, np.arange(cameras.max() + 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairwise, "_BLOCK", int(rng.integers(1, 50)))
        found = pairwise.compare_cameras(rows, starts, within, across)
    squares = slow(rows, n)[1]
    same = cameras[:, None] == cameras
    for pairs, kind, k in zip(found, (same, ~same), (within, across), strict=True):
        expected = np.full((n, max(n, k)), np.inf)
        expected[:, :n] = np.sort(np.where(kind, squares, np.inf), axis=1)
        np.testing.assert_array_equal(pairs.squares, expected[:, :k])
        np.testing.assert_array_equal(pairs.indices < 0, np.isinf(expected[:, :k]))
        for row, indices in enumerate(pairs.indices):
            there = indices[indices >= 0]
            assert len(set(there.tolist())) == there.size
            assert kind[row, there].all()
            np.testing.assert_array_equal(squares[row, there], expected[row, : there.size])


@pytest.mark.parametrize("n", [1, 2, 1023, 1025, 2100])
def test_any_number_of_rows_gives_the_answer_of_the_other_backend(n):
    rows = np.random.default_rng(n).normal(size=(n, 8)).astype(np.float32)
    rows[n // 2 :: 5] = rows[0]
    for found, expected in zip(knn(rows, min(n, 20)), knn(rows, min(n, 20), "torch"), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_does_not_depend_on_threads(small_blocks):
    rows = np.random.default_rng(0).integers(-1, 2, (300, 4)).astype(np.float32)
    found = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        found.append(pairwise.compare(rows, 20, farthest=True))
    for one, more in zip(*found, strict=True):
        np.testing.assert_array_equal(one, more)


@pytest.mark.parametrize("k", [240, 241])
def test_more_neighbours_than_ordered_lists_take(k):
    rows = np.random.default_rng(1).normal(size=(400, 6))
    np.testing.assert_array_equal(knn(rows, k)[1], knn(rows, k, "torch")[1])


def test_the_farthest_of_duplicates_is_one_of_the_rows(small_blocks):
    rows = np.repeat(np.random.default_rng(2).normal(size=(12, 3)), 3, axis=0)
    (distances, indices), far = knn_and_farthest(rows, 5)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    every = np.linalg.norm(unit[:, None] - unit, axis=-1)
    np.testing.assert_allclose(every[np.arange(36), far], every.max(axis=1), rtol=1e-6)
    for found, expected in zip((distances, indices), knn(rows, 5), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_where_not_all_pairs_are_compared_the_farthest_is_not_known(monkeypatch):
    rows = np.random.default_rng(3).normal(size=(500, 4))
    monkeypatch.setattr(nearest, "EXACT_UP_TO", {"cpu": 499, "cuda": 499})
    assert knn_and_farthest(rows, 5)[1] is None


@pytest.mark.parametrize("shift", [0.0, 3.0])  # far from the origin, products are about the mean
@pytest.mark.parametrize("zeros", [0, 2])
def test_re_ranking_divides_by_the_farthest_of_a_pass_of_its_own(monkeypatch, shift, zeros):
    rows = np.random.default_rng(4).normal(size=(60, 6)) + shift
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    rows[:zeros] = 0
    points = torch.from_numpy(rows.astype(np.float32))
    settings_ = reranking.Rerank(8, 3)
    found = torch.cat(list(reranking.reranked_distances(points[:20], points[20:], settings_)))
    monkeypatch.setattr(
        reranking, "knn_and_farthest", lambda points, k: (knn(points, k), None), raising=True
    )
    expected = torch.cat(list(reranking.reranked_distances(points[:20], points[20:], settings_)))
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-6)
