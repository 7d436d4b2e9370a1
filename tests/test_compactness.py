from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from dccc_lightning.metrics import compactness
from dccc_lightning.metrics.compactness import inter_distance, intra_distance, silhouette


def example(seed, n=40, clusters=5, dim=6):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, clusters, n) * 3  # with outliers and gaps in the numbering
    return labels, rng.normal(size=(n, dim)) + rng.normal(size=(clusters + 1, dim))[labels // 3]


def pair_distances(labels, features, same):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return [
        1 - unit[i] @ unit[j]
        for i, j in combinations(np.flatnonzero(labels >= 0), 2)
        if (labels[i] == labels[j]) == same
    ]


@given(seed=st.integers(0, 10_000), n=st.integers(3, 50), clusters=st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_distances_equal_the_mean_over_pairs(seed, n, clusters):
    labels, features = example(seed, n, clusters)
    for function, same in ((intra_distance, True), (inter_distance, False)):
        pairs = pair_distances(labels, features, same)
        expected = np.mean(pairs) if pairs else np.nan
        assert function(labels, features) == pytest.approx(expected, abs=1e-6, nan_ok=True)


@given(seed=st.integers(0, 10_000), n=st.integers(12, 50), clusters=st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_silhouette_of_all_images_equals_scikit_learn(seed, n, clusters):
    labels, features = example(seed, n, clusters)
    kept = labels >= 0
    found = silhouette(labels, features)
    if len(np.unique(labels[kept])) < 2 or len(np.unique(labels[kept])) == kept.sum():
        assert np.isnan(found) or found == 0
        return
    expected = metrics.silhouette_score(features[kept], labels[kept], metric="cosine")
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_sample_is_held_against_all_images():
    labels, features = example(3, n=600)
    kept = labels >= 0
    each = metrics.silhouette_samples(features[kept], labels[kept], metric="cosine")
    found = [silhouette(labels, features, sample=60, seed=seed) for seed in range(40)]
    assert len(set(found)) > 30
    assert np.mean(found) == pytest.approx(each.mean(), abs=4 * each.std() / 60**0.5 / 40**0.5)
    assert np.std(found) < 2 * each.std() / 60**0.5
    assert silhouette(labels, features, sample=60, seed=1) == found[1]


def test_duplicates_and_single_images():
    features = np.array([[1.0, 0], [2.0, 0], [0, 1.0], [0, 3.0], [-1.0, 0]])
    assert silhouette([0, 0, 1, 1, -1], features) == pytest.approx(1)
    assert silhouette([0, 0, 1, 1, 2], features) == pytest.approx(4 / 5)  # alone counts 0
    assert silhouette([0, 1, 2, 2, 2], np.ones((5, 2))) == pytest.approx(0, abs=1e-6)


def test_the_three_together_are_the_three():
    labels, features = example(4)
    assert compactness.compactness(labels, features) == (
        intra_distance(labels, features),
        inter_distance(labels, features),
        silhouette(labels, features),
    )
    tensors = compactness.compactness(labels, torch.from_numpy(features))
    assert tensors == compactness.compactness(labels, features)


@pytest.mark.parametrize("labels", [[-1, -1, -1], [0, 0, 0], [0, 1, -1]])
def test_nothing_to_measure_is_nan(labels):
    intra, inter, score = compactness.compactness(labels, np.eye(3))
    assert np.isnan(intra) == (labels != [0, 0, 0])
    assert np.isnan(inter) == (labels != [0, 1, -1])
    assert score == 0 if labels == [0, 1, -1] else np.isnan(score)


def test_many_clusters_take_no_table_of_pairs():
    features = np.random.default_rng(0).normal(size=(60_000, 4)).astype(np.float32)
    labels = np.arange(60_000) // 2  # a table of all pairs would take 14 GB
    intra, inter, _ = compactness.compactness(labels, features, sample=20)
    assert intra == pytest.approx(1, abs=0.02)
    assert inter == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], np.eye(3)), "labels and features must have one length, got 2 and 3"),
        (([[0, 1]], np.eye(2)), "labels must be"),
        (([0.5, 1], np.eye(2)), "labels must be"),
        (([0, 1], np.full((2, 2), np.inf)), "features must be finite"),
        (([0, 1], np.eye(2), 0), "sample must be at least 1"),
    ],
)
def test_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        silhouette(*arguments)
