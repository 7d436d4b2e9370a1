import logging
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn import cluster
from torch.overrides import TorchFunctionMode

from dccc_lightning.clustering import jaccard, jaccard_torch
from dccc_lightning.clustering.algorithms import DBSCAN
from dccc_lightning.clustering.jaccard import DenseGraphError, NeighborGraph, jaccard_graph
from dccc_lightning.neighbors.nearest import knn

BACKENDS = ["numba", "torch"]
GOLDEN = Path(__file__).parent / "golden" / "dccc_reference.npz"


def reference(features, k1, k2):
    """The distance of all pairs, set by set and sum by sum."""
    rows = np.asarray(features, dtype=np.float64)
    n = len(rows)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(norms > 0, norms, 1)
    ranks = knn(features, k1)[1].tolist()
    half = int(np.around(k1 / 2)) + 1

    def mutual(i, k):
        return {j for j in ranks[i][:k] if i in ranks[j][:k]}

    v = np.zeros((n, n))
    for i in range(n):
        own = mutual(i, k1)
        expanded = set(own)
        for j in own:
            theirs = mutual(j, half)
            if len(theirs & own) > 2 / 3 * len(theirs):
                expanded |= theirs
        members = sorted(expanded)
        weights = np.exp(-(2 - 2 * unit[members] @ unit[i]))
        v[i, members] = weights / weights.sum()
    if k2 > 1:
        v = np.stack([v[ranks[i][:k2]].mean(axis=0) for i in range(n)])
    overlap = np.stack([np.minimum(v[i], v).sum(axis=1) for i in range(n)])
    return np.maximum(0, 1 - overlap / (2 - overlap))


def stored(graph):
    coo = graph.distances.tocoo()
    mask = np.zeros(coo.shape, dtype=bool)
    mask[coo.row, coo.col] = True
    return mask


def check(graph, dense, atol=1e-5):
    """Stored distances are right, none is missing, and the matrix is what it promises to be."""
    mask, distances = stored(graph), graph.distances.toarray()
    assert graph.distances.dtype == np.float32
    np.testing.assert_allclose(distances[mask], dense[mask], rtol=0, atol=atol)
    assert not (dense[~mask] < graph.max_distance - atol).any()
    assert distances[mask].max() <= np.float32(graph.max_distance)
    assert mask.diagonal().all()
    np.testing.assert_array_equal(mask, mask.T)
    np.testing.assert_array_equal(distances, distances.T)
    assert graph.distances.has_canonical_format
    assert graph.distances.nnz == mask.sum()


def clusters(n, dim, noise, seed=0, size=8):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(n // size + 1, dim))
    return centers[np.arange(n) // size] + noise * rng.normal(size=(n, dim))


@pytest.mark.parametrize(("k1", "k2"), [(30, 6), (20, 6), (30, 1)])
@pytest.mark.parametrize("max_distance", [0.8, 0.5])
@pytest.mark.parametrize("backend", BACKENDS)
def test_equals_the_recorded_distances(k1, k2, max_distance, backend):
    with np.load(GOLDEN, allow_pickle=False) as golden:
        features = golden["jaccard/features"]
        dense = golden[f"jaccard/k1={k1}/k2={k2}/distance"]
    check(jaccard_graph(features, k1, k2, max_distance, backend=backend), dense)


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(4, 60),
    k1=st.integers(1, 25),
    k2=st.integers(1, 8),
    repeated=st.booleans(),
    backend=st.sampled_from(BACKENDS),
)
@settings(max_examples=40, deadline=None)
def test_equals_the_definition(seed, n, k1, k2, repeated, backend):
    features = clusters(n, 6, 0.6, seed)
    if repeated:  # duplicates, and a zero row
        features = features[np.random.default_rng(seed).integers(0, n, n)]
        features[n // 2] = 0
    k1 = min(k1, n)
    k2 = min(k1, k2)
    check(jaccard_graph(features, k1, k2, backend=backend), reference(features, k1, k2))


@pytest.mark.parametrize("k2", [1, 6])
@pytest.mark.parametrize("backend", BACKENDS)
def test_all_embeddings_equal(k2, backend):
    features = np.ones((200, 4))
    check(jaccard_graph(features, 30, k2, backend=backend), reference(features, 30, k2))


def hubs(n, dim=30, seed=0):
    """Points on a wide shell, and a few in the middle of it that are near to all of them."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, dim))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    features[:8] *= 0.05
    return np.concatenate([features, np.full((n, 1), 0.8)], axis=1)


@pytest.mark.parametrize("k2", [1, 6])
@pytest.mark.parametrize("backend", BACKENDS)
def test_heavy_hubs_keep_the_exact_result(k2, backend):
    features = hubs(500)
    lists = np.bincount(knn(features, 30)[1].ravel())
    assert np.sort(lists)[-5] > 450  # five hubs that are neighbours of nearly everybody
    check(jaccard_graph(features, 30, k2, 0.95, backend=backend), reference(features, 30, k2))


class Largest(TorchFunctionMode):
    """Notes the size of the largest tensor that any operation makes."""

    numel = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.numel = max(self.numel, out.numel())
        return out


@pytest.mark.parametrize("features", [clusters(800, 16, 0.7), hubs(800)])
def test_tensors_stay_below_a_budget(monkeypatch, features):
    budget = 400_000
    expected = jaccard_graph(features)
    monkeypatch.setattr(jaccard_torch, "_BUDGET", budget)
    with Largest() as largest:
        graph = jaccard_graph(features, backend="torch")
    assert largest.numel <= max(budget, len(features) * 80)  # V has some tens of entries a row
    np.testing.assert_array_equal(graph.distances.indices, expected.distances.indices)
    np.testing.assert_allclose(graph.distances.data, expected.distances.data, atol=1e-5)


@pytest.mark.parametrize("tensor", [True, False])
def test_torch_gives_the_same_labels(tensor):
    features = clusters(600, 12, 0.7, seed=3)
    rows = torch.from_numpy(features).requires_grad_() if tensor else features
    graphs = [jaccard_graph(features), jaccard_graph(rows, backend="torch")]
    assert graphs[0].max_distance == graphs[1].max_distance
    np.testing.assert_array_equal(graphs[0].distances.indices, graphs[1].distances.indices)
    np.testing.assert_allclose(graphs[0].distances.data, graphs[1].distances.data, atol=1e-5)
    found = []
    for eps in (0.2, 0.3, 0.4, 0.6, 0.8):
        first, second = (DBSCAN().fit_predict(graph, eps) for graph in graphs)
        np.testing.assert_array_equal(first, second)
        found.append(first.max() + 1)
    assert max(found) > 20


def test_auto_builds_on_the_host_what_lies_there(monkeypatch):
    monkeypatch.setattr(jaccard_torch, "distance_blocks", None)
    features = clusters(100, 8, 0.5)
    jaccard_graph(torch.from_numpy(features))
    with pytest.raises(TypeError):
        jaccard_graph(features, backend="torch")


def test_a_gpu_without_memory_is_one_warning_and_the_same_answer(monkeypatch, caplog):
    def fail(*args):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")
        yield

    features = clusters(100, 8, 0.5)
    expected = jaccard_graph(features).distances
    monkeypatch.setattr(jaccard_torch, "distance_blocks", fail)
    with caplog.at_level(logging.WARNING):
        graph = jaccard_graph(torch.from_numpy(features), backend="torch")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "CUDA out of memory.; numba takes over" in caplog.text
    np.testing.assert_array_equal(graph.distances.data, expected.data)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("features", [clusters(5000, 64, 0.7), hubs(3000)])
def test_the_gpu_gives_the_same_graph(features):
    expected = jaccard_graph(features).distances
    graphs = [jaccard_graph(torch.from_numpy(features).cuda()).distances for _ in range(2)]
    for graph in graphs:
        np.testing.assert_array_equal(graph.indices, expected.indices)
        np.testing.assert_allclose(graph.data, expected.data, atol=1e-5)
    np.testing.assert_array_equal(graphs[0].data, graphs[1].data)


def test_zero_distances_are_stored():
    graph = jaccard_graph(np.repeat(np.eye(3), 5, axis=0), k1=5, k2=1)
    np.testing.assert_array_equal(stored(graph), np.kron(np.eye(3), np.ones((5, 5))) > 0)
    assert not graph.distances.data.any()


def test_does_not_depend_on_the_number_of_threads():
    features = clusters(900, 16, 0.7)
    threads = numba.get_num_threads()
    graphs = []
    try:
        for number in {1, threads}:
            numba.set_num_threads(number)
            graphs.append(jaccard_graph(features).distances)
    finally:
        numba.set_num_threads(threads)
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(graphs[0], name), getattr(graphs[-1], name))


def test_blocks_do_not_show(monkeypatch):
    features = clusters(300, 16, 0.7)
    whole = jaccard_graph(features).distances
    monkeypatch.setattr(jaccard, "_BLOCK", 37)
    blocks = jaccard_graph(features).distances
    np.testing.assert_array_equal(whole.indices, blocks.indices)
    np.testing.assert_array_equal(whole.data, blocks.data)


def test_takes_neighbors_with_columns_to_spare(monkeypatch):
    features = clusters(120, 8, 0.5)
    expected = jaccard_graph(features, k1=12)
    neighbors = knn(features, 40)
    monkeypatch.setattr(jaccard, "knn", None)  # no second search
    graph = jaccard_graph(torch.from_numpy(features), k1=12, neighbors=neighbors)
    np.testing.assert_array_equal(graph.distances.toarray(), expected.distances.toarray())


def test_a_larger_max_distance_only_adds():
    features = clusters(200, 8, 0.8)
    small, large = jaccard_graph(features, max_distance=0.4), jaccard_graph(features)
    mask = large.distances.toarray() <= np.float32(0.4)
    np.testing.assert_array_equal(stored(small), stored(large) & mask)
    assert len(small) == 200
    assert small.max_distance == 0.4


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_graph_too_dense_to_hold_is_refused(monkeypatch, backend):
    monkeypatch.setattr(jaccard, "MAX_ENTRIES", 10_000)
    with pytest.raises(DenseGraphError, match=r"more than 10,000 pairs .* within 0\.8"):
        jaccard_graph(np.ones((200, 4)), backend=backend)
    jaccard_graph(clusters(200, 64, 0.3), backend=backend)


def _wrong(neighbors, column, value):
    indices = neighbors[1].copy()
    indices[3, column] = value
    return neighbors[0], indices


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k1": 41, "k2": 6}, "k1 must be at most the number of embeddings, 40, got 41"),
        ({"k1": 0}, "k1 must be at least 1"),
        ({"k1": 5, "k2": 6}, "k2 must be at most 5, got 6"),
        ({"k2": 0}, "k2 must be at least 1"),
        ({"backend": "cuda"}, "backend must be one of auto, numba, torch, got 'cuda'"),
        ({"max_distance": 1.0}, "max_distance must be in"),
        ({"max_distance": 0.0}, "max_distance must be in"),
        ({"neighbors": knn(clusters(40, 8, 0.5), 29)}, "neighbors must be knn's"),
        ({"neighbors": knn(clusters(39, 8, 0.5), 30)}, "neighbors must be knn's"),
        ({"neighbors": _wrong(knn(clusters(40, 8, 0.5), 30), 5, 40)}, "indices below N"),
        ({"neighbors": _wrong(knn(clusters(40, 8, 0.5), 30), 0, 2)}, "each point in column 0"),
    ],
)
def test_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        jaccard_graph(clusters(40, 8, 0.5), **arguments)


def test_refuses_embeddings_that_are_not_finite():
    features = clusters(40, 8, 0.5)
    features[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"features must be finite.*1 rows: 7"):
        jaccard_graph(features)


def test_clusters_as_the_dense_distance_does():
    features = clusters(400, 12, 0.9, seed=3)
    dense = reference(features, 20, 6).astype(np.float32)
    graph = jaccard_graph(features, 20, 6)
    for eps in (0.4, 0.6, 0.75):
        expected = cluster.DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit_predict(dense)
        mask = stored(graph)
        rebuilt = np.where(mask, graph.distances.toarray(), 1.0)
        labels = cluster.DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit_predict(rebuilt)
        np.testing.assert_array_equal(labels, expected)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
@pytest.mark.parametrize("kind", ["clusters", "hub", "equal"])
def test_memory_stays_far_below_all_pairs(kind):
    """20,000 points: all pairs would take 1,600 MB in float32."""
    script = """
import sys
from pathlib import Path
import numpy as np
from dccc_lightning.clustering.jaccard import DenseGraphError, NeighborGraph, jaccard_graph

def peak():
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))

rng = np.random.default_rng(0)
jaccard_graph(rng.normal(size=(100, 32)))
features = rng.normal(size=(20_000, 32)).astype(np.float32)
if sys.argv[1] == "clusters":
    features = features[np.arange(20_000) // 20] + 0.3 * features
elif sys.argv[1] == "hub":
    features[:, 0] += 9  # everything lies around one direction
else:
    features[:] = 1  # no graph of all pairs: 400 million are above the cap
Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
before = peak()
try:
    jaccard_graph(features)
    assert sys.argv[1] != "equal"
except DenseGraphError:
    assert sys.argv[1] == "equal"
assert peak() - before < 400, peak() - before
"""
    subprocess.run([sys.executable, "-c", script, kind], check=True)


@pytest.mark.parametrize("kept", [[], [0, 1, 3, 4, 5]])
@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
def test_a_graph_without_its_diagonal_is_refused_and_the_advice_holds(kept):
    """Density counts the point itself: without it every point has one neighbour fewer."""
    whole = jaccard_graph(np.repeat(np.eye(2), 3, axis=0), k1=3, k2=1)
    entries = whole.distances.tocoo()
    stays = (entries.row != entries.col) | np.isin(entries.row, kept)
    ends = entries.row[stays], entries.col[stays]
    matrix = csr_matrix((entries.data[stays], ends), shape=(6, 6))
    first = min(set(range(6)) - set(kept))
    with pytest.raises(ValueError, match=rf"point {first} has none: distances\.setdiag"):
        NeighborGraph(matrix, 0.8)
    matrix.setdiag(0)
    labels = DBSCAN(3).fit_predict(NeighborGraph(matrix, 0.8), 0.5)
    assert labels.tolist() == DBSCAN(3).fit_predict(whole, 0.5).tolist() == [0, 0, 0, 1, 1, 1]


def test_a_graph_of_another_shape_is_refused():
    itself = csr_matrix((np.array([0.5], np.float32), ([0], [0])), shape=(1, 1))
    for matrix in (itself, csr_matrix((2, 3), dtype=np.float32)):
        with pytest.raises(ValueError, match="distances must"):
            NeighborGraph(matrix, 0.8)
    for matrix in (np.zeros((2, 2)), itself.tocoo()):
        with pytest.raises(TypeError, match="must be a CSR matrix, got"):
            NeighborGraph(matrix, 0.8)
