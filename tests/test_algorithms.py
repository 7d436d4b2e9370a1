from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn import cluster

from dccc_lightning.clustering.algorithms import DBSCAN
from dccc_lightning.clustering.jaccard import NeighborGraph, jaccard_graph

GOLDEN = Path(__file__).parent / "golden" / "dccc_reference.npz"


def as_graph(dense, max_distance=0.8):
    """The graph of a dense distance matrix, zeros stored."""
    dense = np.asarray(dense, dtype=np.float32)
    rows, columns = np.nonzero(dense <= np.float32(max_distance))
    matrix = csr_matrix((dense[rows, columns], (rows, columns)), shape=dense.shape)
    return NeighborGraph(matrix, max_distance)


@pytest.mark.parametrize(("k1", "k2"), [(30, 6), (20, 6), (30, 1)])
def test_equals_the_recorded_labels_for_every_eps_of_one_graph(k1, k2):
    with np.load(GOLDEN, allow_pickle=False) as golden:
        graph = jaccard_graph(golden["jaccard/features"], k1, k2)
        for eps in (0.7, 0.4, 0.6, 0.5):
            expected = golden[f"jaccard/k1={k1}/k2={k2}/dbscan_eps={eps}"]
            labels = DBSCAN().fit_predict(graph, eps)
            assert labels.dtype == np.int64
            np.testing.assert_array_equal(labels, expected)


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 60),
    min_samples=st.integers(1, 6),
    eps=st.sampled_from([0.05, 0.1, 0.2, 0.3]),
)
@settings(max_examples=60, deadline=None)
def test_numbers_clusters_and_gives_border_points_as_scikit_learn(seed, n, min_samples, eps):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 12, size=(n, 2)) / 20  # many equal distances, many of them eps or 0
    dense = np.abs(points[:, None] - points[None]).sum(-1).astype(np.float32)
    reference = cluster.DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed")
    labels = DBSCAN(min_samples).fit_predict(as_graph(dense, 0.8), eps)
    np.testing.assert_array_equal(labels, reference.fit_predict(dense))


def test_a_border_point_goes_to_the_first_cluster():
    line = np.array([0.0, 0.1, 0.2, 0.5, 0.8, 0.9, 1.0])  # 0.5 touches the cores 0.2 and 0.8
    dense = np.abs(line[:, None] - line[None]).astype(np.float32)
    labels = DBSCAN(min_samples=4).fit_predict(as_graph(dense, 0.5), 0.31)
    assert labels.tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_the_point_itself_counts():
    graph = as_graph(np.zeros((4, 4), dtype=np.float32), 0.5)
    assert DBSCAN(min_samples=4).fit_predict(graph, 0.1).tolist() == [0, 0, 0, 0]
    assert DBSCAN(min_samples=5).fit_predict(graph, 0.1).tolist() == [-1, -1, -1, -1]


def test_refuses_an_eps_that_the_graph_does_not_know():
    graph = as_graph(np.zeros((4, 4), dtype=np.float32), 0.5)
    DBSCAN().fit_predict(graph, 0.5)
    with pytest.raises(ValueError, match=r"eps must be at most .* 0\.5, got 0\.51"):
        DBSCAN().fit_predict(graph, 0.51)
    with pytest.raises(ValueError, match="eps must be in"):
        DBSCAN().fit_predict(graph, 0.0)


def test_refuses_min_samples_below_one():
    with pytest.raises(ValueError, match="min_samples must be at least 1"):
        DBSCAN(min_samples=0)
