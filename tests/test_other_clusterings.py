"""HDBSCAN, Infomap and single linkage on the sparse graph, held against slow references."""

import importlib.util
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn import cluster

from dccc_lightning.clustering.algorithms import DBSCAN, number_clusters
from dccc_lightning.clustering.dcps import FixedSchedule
from dccc_lightning.clustering.experimental.hdbscan import HDBSCAN
from dccc_lightning.clustering.experimental.infomap import Infomap
from dccc_lightning.clustering.experimental.single_linkage import SingleLinkage
from dccc_lightning.clustering.jaccard import jaccard_graph
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.common import ranges
from dccc_lightning.errors import UserError
from dccc_lightning.metrics import cluster_quality
from test_algorithms import as_graph

needs_infomap = pytest.mark.skipif(
    importlib.util.find_spec("infomap") is None, reason="an extra, under the GPL"
)
ALL = [
    DBSCAN(), SingleLinkage(), HDBSCAN(), pytest.param(Infomap, marks=needs_infomap),
]  # fmt: skip


def made(algorithm):
    return algorithm() if isinstance(algorithm, type) else algorithm


def distances(seed, n=50, tied=False):
    """Distances of points in a square; tied: on a grid, with duplicates."""
    rng = np.random.default_rng(seed)
    points = rng.random((n, 2)) * 2
    points = np.round(points, 1) if tied else points
    return np.minimum(np.abs(points[:, None] - points[None]).sum(-1), 1).astype(np.float32)


def slow_numbered(groups, least):
    """Clusters by their first point; those with fewer points than ``least`` are outliers."""
    groups, labels, names = list(groups), [], {}
    for group in groups:
        if group < 0 or groups.count(group) < least:
            labels.append(-1)
        else:
            labels.append(names.setdefault(group, len(names)))
    return labels


def singles(labels):
    """Outliers as clusters of their own, so that all points count."""
    return np.where(labels < 0, labels.max(initial=-1) + 1 + np.arange(len(labels)), labels)


@given(st.lists(st.integers(-2, 5), min_size=1, max_size=30), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_clusters_are_numbered_by_their_first_point(groups, least):
    assert number_clusters(np.array(groups), least).tolist() == slow_numbered(groups, least)


@given(seed=st.integers(0, 10_000), tied=st.booleans(), eps=st.sampled_from([0.1, 0.2, 0.3]))
@settings(max_examples=40, deadline=None)
def test_single_linkage_is_the_dendrogram_cut_at_eps(seed, tied, eps):
    dense = distances(seed, tied=tied)
    tree = linkage(squareform(dense.astype(np.float64), checks=False), "single")
    expected = slow_numbered(fcluster(tree, np.float32(eps), "distance").tolist(), 3)
    assert SingleLinkage(3).fit_predict(as_graph(dense), eps).tolist() == expected


def reachability(dense, eps, algorithm):
    """Mutual distances, none below ``closest``; those beyond eps are 2."""
    cores = np.sort(dense, axis=1)[:, algorithm.min_samples - 1]
    reach = np.maximum(np.maximum(dense, cores), cores[:, None])
    return np.where(reach > np.float32(eps), 2.0, np.maximum(reach, algorithm.closest))


def parts_below(reach, members, limit):
    """The members in lists of those that a chain of distances below ``limit`` joins."""
    parts, left = [], set(members)
    while left:
        part, new = [], [min(left)]
        while new:
            point = new.pop()
            if point in left:
                left.remove(point)
                part.append(point)
                new += [other for other in left if reach[point, other] < limit]
        parts.append(sorted(part))
    return parts


def slow_clusters(reach, members, birth, size):
    """(mass, clusters) of a connected set, by cutting its longest distances all at once."""
    own, points = 0.0, members
    while True:
        inner = [reach[i, j] for i in points for j in points if i < j]
        # The level at which these points are joined: below it they are in several parts.
        level = next(d for d in sorted(set(inner), reverse=True)
                     if len(parts_below(reach, points, d)) > 1)  # fmt: skip
        parts = parts_below(reach, points, level)
        large = [part for part in parts if len(part) >= size]
        gone = len(points) - (len(large[0]) if len(large) == 1 else 0)
        own += (1 / level - birth) * gone
        if len(large) != 1:
            break
        points = large[0]
    found = [slow_clusters(reach, part, 1 / level, size) for part in large]
    below = sum(mass for mass, _ in found)
    if own >= below - 1e-12:
        return max(own, below), [members]
    return below, [c for _, clusters in found for c in clusters]


@given(
    seed=st.integers(0, 10_000),
    tied=st.booleans(),
    eps=st.sampled_from([0.2, 0.3, 0.5]),
    least=st.sampled_from([1, 3]),
    size=st.sampled_from([2, 4]),
)
@settings(max_examples=30, deadline=None)
def test_hdbscan_cuts_equal_distances_at_once(seed, tied, eps, least, size):
    dense, algorithm = distances(seed, 26, tied), HDBSCAN(least, size, closest=0.1)
    reach = reachability(dense, eps, algorithm)
    expected = np.full(len(dense), -1)
    for part in parts_below(reach, range(len(dense)), 2.0):
        if len(part) >= size:
            for cluster_ in slow_clusters(reach, part, 0.5, size)[1]:
                expected[cluster_] = cluster_[0]
    labels = algorithm.fit_predict(as_graph(dense), eps)
    assert labels.tolist() == slow_numbered(expected.tolist(), 1)


def slow_hdbscan(dense, eps, algorithm):
    """scikit-learn on the dense matrix, what is beyond eps being far, one far cluster added."""
    far = reachability(dense, eps, algorithm)
    n, more = len(dense), algorithm.min_cluster_size
    padded = np.full((n + more, n + more), 2.0)
    padded[:n, :n], padded[n:, n:] = far, 1.0
    np.fill_diagonal(padded, 0)
    found = cluster.HDBSCAN(
        min_cluster_size=more, min_samples=1, metric="precomputed", copy=True
    ).fit_predict(padded)[:n]
    parts = SingleLinkage(more).fit_predict(
        as_graph(np.where(far > 1, 1, far) * (1 - np.eye(n))), eps
    )
    return slow_numbered(np.where(parts < 0, -1, found).tolist(), 1)


@given(
    seed=st.integers(0, 10_000),
    eps=st.sampled_from([0.15, 0.25, 0.4]),
    least=st.sampled_from([1, 3, 5]),
)
@settings(max_examples=25, deadline=None)
def test_hdbscan_equals_scikit_learn_on_the_dense_distances(seed, eps, least):
    dense, algorithm = distances(seed, 80), HDBSCAN(least, 4, closest=0.1)
    labels = algorithm.fit_predict(as_graph(dense), eps)
    expected = np.array(slow_hdbscan(dense, eps, algorithm))
    # A point as near to two clusters is an outlier; scikit-learn gives it to one of them.
    assert cluster_quality.adjusted_rand_index(singles(labels), singles(expected)) > 0.95
    assert cluster_quality.num_clusters(labels) == cluster_quality.num_clusters(expected)


def blobs(sizes, within, between, seed=0):
    """Distances of blobs: up to ``within[i]`` in blob i, ``between`` from blob to blob."""
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(len(sizes)), sizes)
    dense = np.full((len(names), len(names)), between, dtype=np.float64)
    for number, (size, reach) in enumerate(zip(sizes, within, strict=True)):
        inner = np.triu(rng.uniform(0.8 * reach, reach, (size, size)), 1)
        dense[np.ix_(names == number, names == number)] = inner + inner.T
    return dense, names


def test_hdbscan_cuts_each_cluster_at_a_distance_of_its_own():
    """Two dense blobs are nearer to each other than the images of a loose one are."""
    dense, names = blobs((8, 8, 8), (0.25, 0.25, 0.6), 0.9)
    dense[:8, 8:16] = dense[8:16, :8] = 0.5
    graph = as_graph(dense)
    for eps in (0.65, 0.8):
        np.testing.assert_array_equal(HDBSCAN().fit_predict(graph, eps), names)
    assert DBSCAN().fit_predict(graph, 0.65).max() == 1
    loose = DBSCAN().fit_predict(graph, 0.45)
    assert (loose[16:] == -1).all()


def test_hdbscan_splits_nothing_within_closest():
    dense, names = blobs((8, 8, 8), (0.05, 0.05, 0.1), 0.7)
    dense[:8, 8:16] = dense[8:16, :8] = 0.15
    graph = as_graph(dense, 0.75)
    np.testing.assert_array_equal(HDBSCAN(closest=0.02).fit_predict(graph, 0.5), names)
    joined = HDBSCAN(closest=0.2).fit_predict(graph, 0.5)
    np.testing.assert_array_equal(joined, np.maximum(names - 1, 0))


def test_a_part_that_is_alone_in_the_graph_is_a_cluster():
    dense, _ = blobs((9,), (0.3,), 0.9)
    assert HDBSCAN().fit_predict(as_graph(dense), 0.5).tolist() == [0] * 9


@pytest.mark.parametrize("algorithm", ALL)
def test_a_graph_in_many_parts(algorithm):
    """Three clusters, a pair and two loners that are connected with nothing."""
    dense, names = blobs((6, 2, 5, 1, 7, 1), (0.3,) * 6, 0.95)
    labels = made(algorithm).fit_predict(as_graph(dense), 0.5)
    assert labels.dtype == np.int64
    expected = np.select([names == 0, names == 2, names == 4], [0, 1, 2], -1)
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("algorithm", ALL)
@pytest.mark.parametrize("n", [1, 9])
def test_points_without_neighbours_are_outliers(algorithm, n):
    labels = made(algorithm).fit_predict(as_graph(1 - np.eye(n)), 0.5)
    assert labels.tolist() == [-1] * n


@pytest.mark.parametrize("algorithm", ALL)
def test_duplicates_are_a_cluster(algorithm):
    dense = np.ones((12, 12))
    dense[:5, :5] = dense[5:, 5:] = 0
    assert made(algorithm).fit_predict(as_graph(dense), 0.3).tolist() == [0] * 5 + [1] * 7


@pytest.mark.parametrize("algorithm", ALL)
def test_distances_beyond_eps_do_not_matter(algorithm):
    near, far = as_graph(distances(3), 0.3), as_graph(distances(3), 0.8)
    algorithm = made(algorithm)
    before = far.distances.data.copy()
    np.testing.assert_array_equal(algorithm.fit_predict(near, 0.3), algorithm.fit_predict(far, 0.3))
    np.testing.assert_array_equal(far.distances.data, before)


@pytest.mark.parametrize("algorithm", ALL)
def test_refuses_an_eps_that_the_graph_does_not_know(algorithm):
    graph = as_graph(np.zeros((5, 5)), 0.5)
    with pytest.raises(ValueError, match=r"eps must be at most .* 0\.5, got 0\.51"):
        made(algorithm).fit_predict(graph, 0.51)


@given(seed=st.integers(0, 10_000), tied=st.booleans(), eps=st.sampled_from([0.15, 0.25, 0.4]))
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_points_does_not_matter(seed, tied, eps):
    dense = distances(seed, 60, tied)
    order = np.random.default_rng(seed).permutation(60)
    for algorithm in (SingleLinkage(3), HDBSCAN(1, 4, 0.1), HDBSCAN(3, 4, 0.1)):
        labels = algorithm.fit_predict(as_graph(dense), eps)
        again = algorithm.fit_predict(as_graph(dense[order][:, order]), eps)
        assert cluster_quality.adjusted_rand_index(singles(labels)[order], singles(again)) == 1


@needs_infomap
def test_infomap_finds_communities_that_a_chain_joins():
    """Two identities and one image in between, which DBSCAN takes for one cluster."""
    dense, names = blobs((10, 10), (0.4, 0.4), 0.95)
    dense[9, 10:13] = dense[10:13, 9] = 0.45
    graph = as_graph(dense)
    assert DBSCAN().fit_predict(graph, 0.5).max() == 0
    np.testing.assert_array_equal(Infomap().fit_predict(graph, 0.5), names)
    again = Infomap(seed=7, trials=3).fit_predict(graph, 0.5)
    np.testing.assert_array_equal(again, names)


@needs_infomap
def test_infomap_gives_the_same_labels_again():
    graph = as_graph(distances(5, 200))
    first = Infomap().fit_predict(graph, 0.2)
    np.testing.assert_array_equal(first, Infomap().fit_predict(graph, 0.2))
    assert cluster_quality.num_clusters(first) > 10


def test_infomap_that_is_not_installed_is_one_line_with_its_licence(monkeypatch):
    monkeypatch.setattr(ranges, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"GPL.*dccc-lightning\[infomap\]") as caught:
        Infomap()
    assert "\n" not in str(caught.value)


def test_infomap_that_fails_is_one_line(monkeypatch):
    monkeypatch.setattr(ranges, "find_spec", lambda name: True)
    failed = SimpleNamespace(returncode=1, stderr="Traceback\nError: no memory\n", stdout="")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(UserError, match="Infomap ended with 1: Error: no memory"):
        Infomap().fit_predict(as_graph(np.zeros((5, 5))), 0.5)


def test_infomap_is_asked_for_what_the_settings_say(monkeypatch):
    monkeypatch.setattr(ranges, "find_spec", lambda name: True)
    seen = {}

    def ran(command, **options):
        graph = Path(command[3])
        seen["links"], seen["command"] = np.loadtxt(graph, ndmin=2), command
        graph.with_suffix(".clu").write_text("0 1\n1 1\n2 1\n3 2\n4 2\n")
        return SimpleNamespace(returncode=0, stderr="", stdout="")

    monkeypatch.setattr(subprocess, "run", ran)
    dense, _ = blobs((3, 2), (0.2, 0.3), 0.9)
    graph = as_graph(dense)
    assert Infomap(2, trials=7, seed=5).fit_predict(graph, 0.5).tolist() == [0, 0, 0, 1, 1]
    for first, second, weight in seen["links"]:
        assert weight == pytest.approx(1 - dense[int(first), int(second)], abs=1e-6)
    assert len(seen["links"]) == 4
    text = " ".join(map(str, seen["command"]))
    assert "--two-level" in text
    assert "--seed 5" in text
    assert "--num-trials 7" in text
    assert Infomap(3).fit_predict(graph, 0.5).tolist() == [0, 0, 0, -1, -1]


def test_infomap_outlives_the_signal_that_stops_a_job(monkeypatch):
    """SLURM sends it to every process of a step; the run itself goes on to its next checkpoint."""
    monkeypatch.setattr(ranges, "find_spec", lambda name: True)
    codes = [-signal.SIGUSR1, 0]

    def ran(command, **options):
        code = codes.pop(0)
        if code == 0:
            graph = Path(command[3])
            graph.with_suffix(".clu").write_text("".join(f"{n} 1\n" for n in range(5)))
        return SimpleNamespace(returncode=code, stderr="", stdout="")

    monkeypatch.setattr(subprocess, "run", ran)
    assert Infomap().fit_predict(as_graph(np.zeros((5, 5))), 0.5).tolist() == [0] * 5
    assert not codes
    codes += [-signal.SIGTERM] * 2
    with pytest.raises(UserError, match="Infomap ended with -15"):
        Infomap().fit_predict(as_graph(np.zeros((5, 5))), 0.5)


@pytest.mark.parametrize("algorithm", ALL)
def test_clusters_embeddings_in_the_labeler(algorithm):
    rng = np.random.default_rng(0)
    names = np.repeat(np.arange(20), 10)
    rows = rng.normal(size=(20, 32))[names] + 0.4 * rng.normal(size=(200, 32))
    found = PseudoLabeler(k1=12, algorithm=made(algorithm))(rows, FixedSchedule(0.6), 0)
    assert cluster_quality.adjusted_rand_index(found.labels, names) == 1
    assert found.num_clusters == 20


@pytest.mark.parametrize(
    "option", ["hdbscan", "single_linkage", pytest.param("infomap", marks=needs_infomap)]
)
def test_a_run_with_it(option, command, tiny):
    short = ["epochs=1", "iterations=1", "clustering.algorithm.min_samples=3"]
    outcome = command(*tiny, f"clustering={option}", *short)
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SingleLinkage(0), "min_samples must be at least 1"),
        (lambda: HDBSCAN(0), "min_samples must be at least 1"),
        (lambda: HDBSCAN(min_cluster_size=1), "min_cluster_size must be at least 2"),
        (lambda: HDBSCAN(closest=0.0), "closest must be in"),
        (lambda: Infomap(trials=0), "trials must be at least 1"),
        (lambda: Infomap(seed=0), "seed must be at least 1"),
    ],
)
def test_refuses_what_makes_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_graph_of_embeddings_is_not_changed():
    rows = np.random.default_rng(1).normal(size=(60, 8))
    graph = jaccard_graph(rows, 12, 4, 0.75)
    for algorithm in (SingleLinkage(), HDBSCAN()):
        before = graph.distances.copy()
        algorithm.fit_predict(graph, 0.6)
        assert (graph.distances != before).nnz == 0
