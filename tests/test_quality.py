from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from dccc_lightning.metrics import cluster_quality
from dccc_lightning.metrics.cluster_summary import summarize
from dccc_lightning.metrics.compactness import compactness

vectors = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(-1, 5), min_size=n, max_size=n),
        st.lists(st.integers(-1, 5), min_size=n, max_size=n),
    )
)


def clustered(labels, identities):
    kept = [(a, b) for a, b in zip(labels, identities, strict=True) if a >= 0 and b >= 0]
    return [a for a, _ in kept], [b for _, b in kept]


@given(vectors)
@settings(max_examples=80, deadline=None)
def test_scores_over_clustered_images_equal_scikit_learn(pair):
    labels, identities = clustered(*pair)
    ari = cluster_quality.adjusted_rand_index(*pair)
    nmi = cluster_quality.normalized_mutual_information(*pair)
    purity = cluster_quality.purity(*pair)
    if not labels:
        assert np.isnan([ari, nmi, purity]).all()
        return
    assert ari == pytest.approx(metrics.adjusted_rand_score(identities, labels), abs=1e-12)
    expected = metrics.normalized_mutual_info_score(identities, labels)
    assert nmi == pytest.approx(expected, abs=1e-9)
    table = metrics.cluster.contingency_matrix(identities, labels)
    assert purity == pytest.approx(table.max(axis=0).sum() / table.sum())


@given(vectors)
@settings(max_examples=80, deadline=None)
def test_pair_scores_equal_counting_pairs(pair):
    known = [(a, b) for a, b in zip(*pair, strict=True) if b >= 0]
    pairs = list(combinations(known, 2))
    found = [a[0] == b[0] >= 0 for a, b in pairs]
    alike = [a[1] == b[1] for a, b in pairs]
    both = sum(x and y for x, y in zip(found, alike, strict=True))
    scores = cluster_quality.pairwise_scores(*pair)
    for score, whole in zip(scores[:2], (sum(found), sum(alike)), strict=True):
        assert score == pytest.approx(both / whole) if whole else np.isnan(score)
    if both:
        harmonic = 2 / (1 / scores.precision + 1 / scores.recall)
        assert scores.f == pytest.approx(harmonic)


def test_pair_recall_counts_outliers_as_missed():
    scores = cluster_quality.pairwise_scores([0, 0, -1], [4, 4, 4])
    assert scores.precision == 1
    assert scores.recall == pytest.approx(1 / 3)


@given(vectors, st.permutations(range(6)))
@settings(max_examples=60, deadline=None)
def test_renaming_clusters_changes_nothing(pair, names):
    labels, identities = np.array(pair[0]), np.array(pair[1])
    renamed = np.where(labels >= 0, np.array(names)[labels], -1)
    before = summarize(labels, identities)
    assert summarize(renamed, identities) == pytest.approx(before, nan_ok=True)
    assert cluster_quality.churn(renamed, labels) == 0


@given(vectors)
@settings(max_examples=60, deadline=None)
def test_churn_is_near_the_best_matching(pair):
    now, before = (np.array(values) % 5 - 1 for values in pair)  # at most four clusters
    kept = np.sum((now < 0) & (before < 0))
    best = max(
        sum(np.sum((now == a) & (before == b)) for a, b in enumerate(names))
        for names in permutations(range(4))
    )
    churn = cluster_quality.churn(now, before)
    stayed = round((1 - churn) * len(now))
    assert kept + best / 2 <= stayed <= kept + best  # greedy keeps at least half of the best


def test_churn_counts_moves_splits_and_outliers():
    before = [0, 0, 0, 0, 1, 1, -1, -1]
    assert cluster_quality.churn([7, 7, 7, 7, 3, 3, -1, -1], before) == 0
    assert cluster_quality.churn([0, 0, 0, 1, 1, 1, -1, -1], before) == 1 / 8
    assert cluster_quality.churn([0, 0, 0, 2, 1, 1, 1, -1], before) == 2 / 8
    assert cluster_quality.churn([-1] * 8, before) == 6 / 8


def test_sizes_and_outliers():
    labels = [3, 3, 0, -1, 3, -1]
    np.testing.assert_array_equal(cluster_quality.cluster_sizes(labels), [1, 3])
    assert cluster_quality.num_clusters(labels) == 2
    assert cluster_quality.outlier_ratio(labels) == pytest.approx(1 / 3)


@given(st.lists(st.integers(-1, 12), min_size=1, max_size=300))
@settings(max_examples=40, deadline=None)
def test_size_histogram_equals_counting(labels):
    sizes = [labels.count(label) for label in set(labels) - {-1}]
    bins = [(1, 3), (4, 7), (8, 15), (16, 31), (32, 63), (64, 127), (128, 10**9)]
    expected = [sum(low <= size <= high for size in sizes) for low, high in bins]
    assert cluster_quality.size_histogram(labels).tolist() == expected


@given(vectors)
@settings(max_examples=60, deadline=None)
def test_camera_entropy_equals_the_mean_over_clusters(pair):
    labels, cameras = clustered(*pair)
    entropies = []
    for label in set(labels):
        seen = [camera for own, camera in zip(labels, cameras, strict=True) if own == label]
        shares = np.array([seen.count(camera) / len(seen) for camera in set(seen)])
        entropies.append(-(shares * np.log(shares)).sum())
    expected = np.mean(entropies) if entropies else np.nan
    assert cluster_quality.camera_entropy(*pair) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_summary_has_what_it_was_given():
    labels, identities = [0, 0, 1, 1, 1, -1], [5, 5, 6, 6, 5, 6]
    sizes = {
        "size_1_3": 2.0, "size_4_7": 0.0, "size_8_15": 0.0, "size_16_31": 0.0,
        "size_32_63": 0.0, "size_64_127": 0.0, "size_128_up": 0.0,
    }  # fmt: skip
    plain = summarize(labels)
    assert plain == {
        "num_clusters": 2.0,
        "outliers": 1.0,
        "outlier_ratio": pytest.approx(1 / 6),
        "largest": 3.0,
        "mean_size": 2.5,
        **sizes,
    }
    features = np.random.default_rng(0).normal(size=(6, 3))
    full = summarize(labels, identities, [0, 0, 1, 1, 0, -1], [1, 2, 1, 1, 1, 1], features)
    assert set(full) - set(plain) == {
        "ari", "nmi", "purity", "pair_precision", "pair_recall", "pair_f", "churn",
        "camera_entropy", "intra_distance", "inter_distance", "silhouette",
    }  # fmt: skip
    assert full["purity"] == pytest.approx(4 / 5)
    assert full["churn"] == pytest.approx(1 / 6)
    assert full["pair_precision"] == 0.5
    assert full["camera_entropy"] == pytest.approx(np.log(2) / 2)
    assert full["silhouette"] == compactness(labels, features).silhouette
    assert full["intra_distance"] == compactness(labels, features).intra_distance
    assert full["inter_distance"] == compactness(labels, features).inter_distance
    assert all(type(value) is float for value in full.values())


def test_unknown_identities_are_left_out():
    full = summarize([0, 0, 0, 1, 1], [2, 2, -1, 3, 3])
    assert full["ari"] == full["nmi"] == full["purity"] == full["pair_f"] == 1


def test_no_clusters_at_all():
    summary = summarize([-1, -1], [1, 1])
    assert summary["largest"] == summary["mean_size"] == summary["num_clusters"] == 0
    assert summary["outlier_ratio"] == 1
    assert summary["pair_recall"] == 0
    assert np.isnan(summary["ari"])


def test_many_clusters_take_no_dense_table():
    labels = np.arange(200_000)  # a dense table would take 320 GB
    assert cluster_quality.adjusted_rand_index(labels, labels[::-1]) == 1
    assert cluster_quality.purity(labels, labels) == 1
    assert cluster_quality.churn(labels[:2000], labels[:2000][::-1]) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cluster_quality.num_clusters([[0]]), "labels must be"),
        (lambda: cluster_quality.num_clusters([0.5]), "labels must be"),
        (lambda: cluster_quality.purity([0, 1], [0]), "labels and identities must have one length"),
        (
            lambda: cluster_quality.camera_entropy([0, 1], [0]),
            "labels and cameras must have one length",
        ),
        (lambda: cluster_quality.churn([0, 1], [0]), "labels and previous must have one length"),
    ],
)
def test_refuses_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
