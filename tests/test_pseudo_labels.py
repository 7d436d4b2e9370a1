import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from dccc_lightning.clustering import jaccard, pseudo_labels
from dccc_lightning.clustering.algorithms import DBSCAN
from dccc_lightning.clustering.dcps import ExponentialSchedule, FixedSchedule
from dccc_lightning.clustering.jaccard import jaccard_graph
from dccc_lightning.clustering.pseudo_labels import NoClustersError, PseudoLabeler
from dccc_lightning.errors import UserError
from dccc_lightning.metrics import cluster_quality


def clusters(number=12, size=10, noise=0.4, seed=0):
    rng = np.random.default_rng(seed)
    identities = np.repeat(np.arange(number), size)
    features = rng.normal(size=(number, 16))[identities]
    return features + noise * rng.normal(size=features.shape), identities


@dataclass(frozen=True)
class Script:
    """A clustering whose answer depends on eps alone, and the list of what it was asked."""

    answer: object
    asked: list

    def fit_predict(self, graph, eps):
        assert eps <= graph.max_distance
        self.asked.append(round(eps, 6))
        return np.array(self.answer(eps), dtype=np.int64)


FEATURES = clusters(2, 4)[0]
OUTLIERS, ONE, FEW, TWO = [-1] * 8, [0] * 8, [0] * 3 + [-1] * 5, [0] * 4 + [1] * 4


def scripted(answer, **settings):
    asked = []
    labeler = PseudoLabeler(k1=4, k2=2, algorithm=Script(answer, asked), **settings)
    return labeler, asked


def test_labels_are_those_of_the_parts_at_the_scheduled_eps():
    features, identities = clusters()
    schedule = ExponentialSchedule(0.6)
    for epoch in (0, 30):
        result = PseudoLabeler(k1=15, k2=4)(features, schedule, epoch)
        graph = jaccard_graph(features, 15, 4)
        expected = DBSCAN().fit_predict(graph, schedule(epoch))
        np.testing.assert_array_equal(result.labels, expected)
        assert result.eps == result.scheduled_eps == schedule(epoch)
        assert not result.adjusted
        assert result.num_clusters == cluster_quality.num_clusters(expected) >= 2
    assert cluster_quality.adjusted_rand_index(result.labels, identities) == 1


@pytest.mark.parametrize("backend", ["faiss", "torch"])
def test_backend_and_type_of_features_do_not_matter(backend):
    features, _ = clusters(noise=0.9)
    expected = PseudoLabeler(k1=15)(features, FixedSchedule(), 0)
    again = PseudoLabeler(k1=15, backend=backend)(torch.from_numpy(features), FixedSchedule(), 0)
    np.testing.assert_array_equal(again.labels, expected.labels)


def test_min_samples_reaches_the_clustering():
    features, _ = clusters(size=5)
    assert PseudoLabeler(k1=5, k2=1)(features, FixedSchedule(), 0).num_clusters == 12
    with pytest.raises(NoClustersError):
        PseudoLabeler(k1=5, k2=1, algorithm=DBSCAN(min_samples=6))(features, FixedSchedule(), 0)


def test_eps_rises_when_all_are_outliers(caplog):
    labeler, asked = scripted(lambda eps: TWO if eps > 0.625 else OUTLIERS)
    result = labeler(FEATURES, FixedSchedule(0.6), 7)
    assert "epoch 7: eps 0.6000 gives fewer than two clusters; used 0.6300" in caplog.text
    assert asked == [0.6, 0.61, 0.62, 0.63]
    assert result.eps == pytest.approx(0.63)
    assert result.scheduled_eps == 0.6
    assert result.adjusted
    assert result.num_clusters == 2


def test_eps_falls_when_one_cluster_has_nearly_all():
    labeler, asked = scripted(lambda eps: TWO if eps < 0.585 else ONE)
    result = labeler(FEATURES, FixedSchedule(0.6), 0)
    assert asked == [0.6, 0.59, 0.58]
    assert result.eps == pytest.approx(0.58)
    assert result.adjusted


def test_one_small_cluster_among_outliers_is_sparse():
    labeler, asked = scripted(lambda eps: TWO if eps > 0.605 else FEW)
    labeler(FEATURES, FixedSchedule(0.6), 0)
    assert asked == [0.6, 0.61]


def test_the_other_direction_is_tried_last():
    labeler, asked = scripted(lambda eps: TWO if eps < 0.595 else FEW, margin=0.02)
    assert labeler(FEATURES, FixedSchedule(0.6), 0).eps == pytest.approx(0.59)
    assert asked == [0.6, 0.61, 0.62, 0.59]


def test_the_search_ends_at_the_margins_of_the_whole_schedule():
    labeler, asked = scripted(lambda eps: OUTLIERS, margin=0.02, step=0.02)
    schedule = ExponentialSchedule(0.5, 0.4, 0.9)  # 0.45, 0.405, 0.3645
    with pytest.raises(NoClustersError):
        labeler(FEATURES, schedule, 1)
    assert asked == [0.405, 0.425, 0.445, 0.465, 0.385, 0.365, 0.345]


@pytest.mark.parametrize(("start", "margin"), [(0.99, 0.05), (0.9995, 0.0), (0.01, 0.5)])
def test_schedules_at_the_edge_of_the_range(start, margin):
    labeler, asked = scripted(lambda eps: OUTLIERS, margin=margin)
    with pytest.raises(NoClustersError):
        labeler(FEATURES, FixedSchedule(start), 0)
    assert min(asked) > 0
    assert max(asked) < 1


@pytest.mark.parametrize(
    ("answer", "advice"),
    [(OUTLIERS, "only outliers .* a higher scheduler.start"), (ONE, "one cluster .* a lower")],
)
def test_giving_up_is_one_line_of_advice(answer, advice):
    labeler, _ = scripted(lambda eps: answer)
    with pytest.raises(NoClustersError, match=advice) as caught:
        labeler(FEATURES, FixedSchedule(0.6), 0)
    assert isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)
    assert "k1 (now 4)" in str(caught.value)


def test_collapsed_embeddings_are_no_clusters():
    with pytest.raises(NoClustersError, match="only one cluster"):
        PseudoLabeler()(np.ones((100, 4)), FixedSchedule(0.6), 0)


def test_a_graph_too_dense_is_no_clusters(monkeypatch):
    monkeypatch.setattr(jaccard, "MAX_ENTRIES", 1000)
    with pytest.raises(NoClustersError, match="collapsed"):
        PseudoLabeler()(np.ones((100, 4)), FixedSchedule(0.6), 0)


def test_the_graph_is_built_once(monkeypatch):
    built = []

    def count(*args):
        built.append(args[3])
        return jaccard_graph(*args)

    monkeypatch.setattr(pseudo_labels, "jaccard_graph", count)
    labeler, asked = scripted(lambda eps: TWO if eps > 0.64 else OUTLIERS)
    labeler(FEATURES, FixedSchedule(0.6), 0)
    assert len(asked) > 3
    assert built == [pytest.approx(0.65)]


def test_is_deterministic_and_can_be_pickled():
    features, _ = clusters(noise=0.9)
    labeler = PseudoLabeler(k1=12)
    first = labeler(features, FixedSchedule(), 3)
    again = pickle.loads(pickle.dumps(labeler))(features, FixedSchedule(), 3)
    np.testing.assert_array_equal(first.labels, again.labels)
    copy = pickle.loads(pickle.dumps(first))
    assert (copy.eps, copy.num_clusters) == (first.eps, first.num_clusters)


def test_k1_beyond_the_images_names_the_remedy():
    message = "k1 must be at most 8 with 8 images, got 30: lower clustering.k1"
    with pytest.raises(ValueError, match=message):
        PseudoLabeler()(FEATURES, FixedSchedule(), 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k1": 5}, "k2 must be at most 5, got 6"),
        ({"backend": "gpu"}, "backend must be one of"),
        ({"margin": -0.1}, "margin must be in"),
        ({"step": 0.0}, "step must be in"),
    ],
)
def test_refuses_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        PseudoLabeler(**settings)
