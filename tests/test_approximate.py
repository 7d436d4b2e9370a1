import logging

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from dccc_lightning.clustering.dcps import FixedSchedule
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.metrics import cluster_quality
from dccc_lightning.neighbors import inverted_file, near_lists, nearest
from dccc_lightning.neighbors.nearest import knn


def clusters(n, dim=16, noise=0.5, seed=0, size=20):
    rng = np.random.default_rng(seed)
    identities = rng.integers(0, n // size, n)
    centers = rng.normal(size=(n // size, dim))
    return (centers[identities] + noise * rng.normal(size=(n, dim))).astype(np.float32)


def recall_by_sets(found, exact):
    pairs = zip(found.tolist(), exact.tolist(), strict=True)
    return sum(len(set(a) & set(b)) for a, b in pairs) / exact.size


FEATURES = clusters(6000)
EXACT = knn(FEATURES, 15)
FOUND = knn(FEATURES, 15, "approximate")


def test_finds_nearly_all_neighbours():
    assert 0.95 < recall_by_sets(FOUND[1], EXACT[1]) < 1


def test_what_it_finds_has_the_exact_distance_and_order():
    distances, indices = FOUND
    assert distances.dtype == np.float32
    assert indices.dtype == np.int64
    unit = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)
    np.testing.assert_array_equal(indices[:, 0], np.arange(6000))
    assert all(len(set(row)) == 15 for row in indices[::50].tolist())
    assert (np.diff(distances, axis=1) >= 0).all()
    for i in range(0, 6000, 50):
        expected = np.linalg.norm(unit[i] - unit[indices[i]], axis=1)
        np.testing.assert_allclose(distances[i], expected, atol=2e-6)
    rows = (FOUND[1] == EXACT[1]).all(axis=1)  # where nothing was missed, all is as in the search
    assert rows.mean() > 0.5
    np.testing.assert_array_equal(distances[rows], EXACT[0][rows])


def test_is_the_same_every_time():
    again = knn(FEATURES, 15, "approximate")
    np.testing.assert_array_equal(again[0], FOUND[0])
    np.testing.assert_array_equal(again[1], FOUND[1])


def test_reports_the_recall_of_a_sample(caplog):
    with caplog.at_level(logging.INFO, logger="dccc_lightning"):
        knn(FEATURES, 15, "approximate")
    record = next(r for r in caplog.records if "recall" in r.message)
    assert record.levelname == "INFO"
    assert record.args[0] == min(int(2 * 6000**0.5), 6000 // 40)
    # the log counts candidates, before the nearest are chosen, on 1,000 rows
    assert record.args[3] == pytest.approx(recall_by_sets(FOUND[1], EXACT[1]), abs=0.03)
    assert record.args[3] >= inverted_file.TARGET


def test_probes_grow_until_the_recall_suffices(monkeypatch, caplog):
    probes = []
    monkeypatch.setattr(inverted_file, "_FIRST_PROBES", 1)
    monkeypatch.setattr(near_lists.NearLists, "join", lambda near: None)
    for target in (0.5, 0.95, 0.999):
        monkeypatch.setattr(inverted_file, "TARGET", target)
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="dccc_lightning"):
            found = knn(FEATURES, 15, "approximate")[1]
        probes.append(next(r for r in caplog.records if "recall" in r.message).args[1])
        assert recall_by_sets(found, EXACT[1]) > target - 0.02
    assert probes[0] < probes[1] < probes[2]


def test_neighbours_of_neighbours_find_more_than_the_lists(monkeypatch):
    monkeypatch.setattr(inverted_file, "TARGET", 0.0)
    # neighbours of neighbours in one list are of that list
    monkeypatch.setattr(inverted_file, "_FIRST_PROBES", 2)
    found = recall_by_sets(knn(FEATURES, 15, "approximate")[1], EXACT[1])
    monkeypatch.setattr(near_lists.NearLists, "join", lambda near: None)
    assert recall_by_sets(knn(FEATURES, 15, "approximate")[1], EXACT[1]) < found - 0.03


def test_does_not_depend_on_threads():
    before = numba.get_num_threads()
    with threadpool_limits(1):
        numba.set_num_threads(1)
        one = knn(FEATURES, 15, "approximate")
        numba.set_num_threads(before)
    for found, expected in zip(one, FOUND, strict=True):
        np.testing.assert_array_equal(found, expected)


@given(seed=st.integers(0, 999), n=st.integers(1, 30), k=st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_lists_of_the_nearest_are_those_of_a_sort(seed, n, k):
    rng = np.random.default_rng(seed)
    points = rng.integers(-3, 4, (n, 2)).astype(np.float32)  # exact products, ties and duplicates
    near = near_lists.NearLists(points, k)
    cut = int(rng.integers(0, n + 1))
    for members in (slice(0, cut), slice(0, cut), slice(cut, n)):  # twice: no point comes twice
        near.compare(np.arange(n), members)
    squares = ((points[:, None] - points) ** 2).sum(axis=-1)
    expected = np.full((n, k), np.inf)
    expected[:, : min(n, k)] = np.sort(squares, axis=1)[:, :k]
    for _ in range(2):
        np.testing.assert_array_equal(-2 * near.scores, expected)
        for i, row in enumerate(near.indices):
            known = row[row >= 0]
            assert len(set(known.tolist())) == len(known) == min(n, k)
            np.testing.assert_array_equal(squares[i, known], expected[i, : len(known)])
        near.join()  # nothing is nearer than the nearest


@given(seed=st.integers(0, 999), n=st.integers(2, 40), k=st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_lists_grow_by_those_that_hold_a_point_and_by_neighbours_of_neighbours(seed, n, k):
    rng = np.random.default_rng(seed)
    points = rng.integers(-3, 4, (n, 2)).astype(np.float32)  # exact products
    near = near_lists.NearLists(points, k)
    for first in range(0, n, 4):  # each point sees some of the others
        near.compare(np.flatnonzero(rng.random(n) < 0.3), slice(first, first + 4))
    squares = ((points[:, None] - points) ** 2).sum(axis=-1)

    def grow(step, added):
        lists = [{int(j) for j in row if j >= 0} for row in near.indices]
        step()
        for i, (own, row) in enumerate(zip(lists, near.indices, strict=True)):
            expected = sorted(squares[i, j] for j in own | added(i, lists))[:k]
            assert squares[i, row[row >= 0]].tolist() == expected
            assert len(set(row[row >= 0].tolist())) == len(expected)

    for _ in range(3):  # later rounds look at new neighbours only
        grow(near.mirror, lambda i, lists: {j for j, row in enumerate(lists) if i in row})
        grow(near.join, lambda i, lists: {m for j in lists[i] for m in lists[j]})


@given(seed=st.integers(0, 999), m=st.integers(1, 300), count=st.integers(1, 20))
@settings(max_examples=20, deadline=None)
def test_highest_are_those_of_a_sort(seed, m, count):
    count = min(m, count)
    scores = np.random.default_rng(seed).integers(-9, 9, (5, m)).astype(np.float32)
    columns = np.full((5, count), -1, dtype=np.int32)
    near_lists.highest(scores, columns)
    np.testing.assert_array_equal(columns, np.argsort(-scores, axis=1, kind="stable")[:, :count])


def test_a_recall_out_of_reach_is_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(inverted_file, "TARGET", 1.1)
    with caplog.at_level(logging.INFO, logger="dccc_lightning"):
        found = knn(FEATURES[:2000], 15, "approximate")[1]
    assert [r.levelname for r in caplog.records if "recall" in r.message] == ["WARNING"]
    np.testing.assert_array_equal(found, knn(FEATURES[:2000], 15)[1])  # all lists: nothing missed


def test_rows_that_find_too_few_look_into_more_lists(monkeypatch):
    monkeypatch.setattr(inverted_file, "TARGET", 0.0)
    monkeypatch.setattr(inverted_file, "_FIRST_PROBES", 1)
    found = knn(FEATURES[:3000], 200, "approximate")[1]  # a list holds 40 points
    assert found.min() >= 0
    assert all(len(set(row)) == 200 for row in found[::100].tolist())


def test_a_row_that_its_own_list_lost_is_put_back(monkeypatch):
    def forgetful(near):
        near.indices[5] = np.arange(100, 100 + near.indices.shape[1])

    monkeypatch.setattr(near_lists.NearLists, "join", forgetful)
    indices = knn(FEATURES[:1000], 15, "approximate")[1]
    np.testing.assert_array_equal(indices[:, 0], np.arange(1000))


@pytest.mark.parametrize("n", [1, 2, 30])
def test_small_sets_are_searched_in_full(n):
    features = clusters(40)[:n]
    for got, expected in zip(knn(features, n, "approximate"), knn(features, n), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_duplicates_are_all_neighbours_of_each_other():
    features = np.repeat(clusters(400), 5, axis=0)
    indices = knn(features, 5, "approximate")[1]
    expected = np.arange(2000).reshape(-1, 5).repeat(5, axis=0)
    np.testing.assert_array_equal(np.sort(indices, axis=1), expected)
    np.testing.assert_array_equal(indices[:, 0], np.arange(2000))


@pytest.mark.parametrize(
    ("limit", "gpus", "cuda", "picked"),
    [
        (100, 0, 50, "faiss"),
        (99, 0, 500, "approximate"),
        (99, 1, 100, "faiss"),  # a GPU affords more
        (99, 1, 99, "approximate"),
    ],
)
def test_auto_is_exact_up_to_a_limit_and_says_so(monkeypatch, caplog, limit, gpus, cuda, picked):
    monkeypatch.setattr(nearest, "EXACT_UP_TO", {"cpu": limit, "cuda": cuda})
    monkeypatch.setattr(nearest, "_gpus", lambda: gpus)
    monkeypatch.setitem(nearest._SEARCHES, "faiss", nearest._search_torch)
    with caplog.at_level(logging.INFO, logger="dccc_lightning"):
        knn(FEATURES[:100], 5)
    assert f"100 x 16 embeddings, k = 5: {picked}" in caplog.text


def test_labels_hardly_change():
    features = torch.from_numpy(clusters(4000, noise=0.35))
    labels = [
        PseudoLabeler(k1=20, backend=backend)(features, FixedSchedule(0.6), 0)
        for backend in ("faiss", "approximate")
    ]
    exact, near = (found.labels + 1 for found in labels)
    assert cluster_quality.adjusted_rand_index(near, exact) > 0.98


def test_recall_counts_what_was_found():
    rng = np.random.default_rng(0)
    exact = np.stack([rng.permutation(30)[:8] for _ in range(20)])
    found = np.stack([rng.permutation(30)[:12] for _ in range(20)])
    assert inverted_file.recall(found, exact) == pytest.approx(recall_by_sets(found, exact))
