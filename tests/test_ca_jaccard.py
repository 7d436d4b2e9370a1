from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.cli.schema import compare
from dccc_lightning.clustering import jaccard_torch
from dccc_lightning.clustering.algorithms import DBSCAN
from dccc_lightning.clustering.ca_jaccard import ca_jaccard_graph
from dccc_lightning.clustering.dcps import FixedSchedule
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.errors import UserError
from dccc_lightning.metrics.reranking import CameraRerank, reranked_distances
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval
from dccc_lightning.neighbors import camera_ranking, pairwise
from dccc_lightning.neighbors.camera_ranking import camera_rankings
from dccc_lightning.neighbors.nearest import knn
from dccc_lightning.tasks.early_checks import check_protocol
from test_jaccard import check, clusters

BACKENDS = ["numba", "torch"]
GOLDEN = Path(__file__).parent / "golden" / "ca_jaccard_reference.npz"
VARIANTS = ["ckrnns+clqe", "ckrnns+clqe_first_epoch", "ckrnns+lqe", "krnns+clqe", "krnns+lqe"]


def slow_rankings(features, cameras):
    """Both whole rankings: a full stable sort of exact distances, one image after another."""
    rows = np.asarray(features, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = (rows / np.where(norms > 0, norms, 1)).astype(np.float32).astype(np.float64)
    intra, inter = [], []
    for i, row in enumerate(unit):
        near = np.sqrt(((unit - row) ** 2).sum(axis=1)).astype(np.float32)
        same = (cameras == cameras[i]) & (cameras >= 0)
        same[i] = True
        order = [j for j in sorted(range(len(unit)), key=lambda j: (near[j], j)) if j != i]
        own, others = [j for j in order if same[j]], [j for j in order if not same[j]]
        intra.append([i, *own, *others])
        inter.append([*others, *own])
    return intra, inter


def reference(features, cameras, k1_intra, k1_inter, k2_intra, k2_inter, rerank=False):
    """The distance of all pairs, set by set and sum by sum; or squares and distances to re-rank."""
    rows = np.asarray(features, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(norms > 0, norms, 1)
    intra, inter = slow_rankings(features, cameras)
    v = np.zeros((len(rows), len(rows)))
    for i in range(len(rows)):
        members = {j for j in intra[i][: k1_intra + 1] if i in intra[j][: k1_intra + 1]}
        members |= {j for j in inter[i][: k1_inter + 1] if i in inter[j][: k1_inter + 1]}
        members = sorted(members)
        squares = 2 - 2 * unit @ unit[i]
        weights = np.exp(-squares[members] / (squares.max() if rerank else 1))
        v[i, members] = weights / weights.sum()
    v = np.stack(
        [v[intra[i][:k2_intra] + inter[i][:k2_inter]].mean(axis=0) for i in range(len(rows))]
    )
    overlap = np.stack([np.minimum(row, v).sum(axis=1) for row in v])
    return np.maximum(0, 1 - overlap / (2 - overlap))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("data", ["a", "b"])
def test_equals_the_recorded_distances_and_clusters(data, variant, backend):
    with np.load(GOLDEN, allow_pickle=False) as golden:
        features, cameras = golden[f"{data}/features"], golden[f"{data}/cameras"]
        recorded = {
            name: golden[f"{data}/{variant}/{name}"]
            for name in ("distance", "labels_eps=0.4", "labels_eps=0.6", "parameters")
        }
    k1, k2, by_camera, expanded, k1_intra, k1_inter, *k2s, epoch = recorded["parameters"].tolist()
    graph = ca_jaccard_graph(
        features,
        cameras,
        k1_intra,
        k1_inter,
        *(k2s if epoch else (3, 3)),
        reciprocal="camera" if by_camera else "global",
        expansion="camera" if expanded else "global",
        k1=k1,
        k2=k2,
        backend=backend,
    )
    check(graph, recorded["distance"])
    for eps in (0.4, 0.6):
        labels = DBSCAN(min_samples=4).fit_predict(graph, eps)
        expected = recorded[f"labels_eps={eps}"]
        pairs = np.unique(np.stack([labels, expected]), axis=1)
        assert len(np.unique(labels)) == len(np.unique(expected)) == pairs.shape[1]
        np.testing.assert_array_equal(labels < 0, expected < 0)


@st.composite
def photographed(draw):
    """Embeddings and cameras: some repeated, cameras of any size, some unknown."""
    seed, n = draw(st.integers(0, 10_000)), draw(st.integers(4, 40))
    rng = np.random.default_rng(seed)
    features = clusters(n, 6, 0.6, seed)
    if draw(st.booleans()):  # duplicates, and a zero row
        features = features[rng.integers(0, draw(st.integers(1, n)), n)]
        features[n // 2] = 0
    cameras = rng.integers(draw(st.sampled_from([-1, 0])), draw(st.integers(1, 8)), n)
    cameras[0] = 0
    return features, cameras


@given(photographed(), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_rankings_equal_a_full_sort(data, within, across):
    features, cameras = data
    within, across = min(within, len(cameras)), min(across, len(cameras) - 1)
    intra, inter = slow_rankings(features, cameras)
    own, others = camera_rankings(features, cameras, within, across)
    assert own.tolist() == [row[:within] for row in intra]
    assert others.tolist() == [row[:across] for row in inter]


SIZES = st.tuples(st.integers(0, 6), st.integers(0, 10), st.integers(0, 4), st.integers(1, 4))


@given(photographed(), SIZES, st.sampled_from(BACKENDS))
@settings(max_examples=30, deadline=None)
def test_equals_the_definition_with_ties_and_small_cameras(data, sizes, backend):
    sizes = [min(size, len(data[1]) - 2) for size in sizes]
    check(ca_jaccard_graph(*data, *sizes, backend=backend), reference(*data, *sizes))


def world(n=600, cameras=5, seed=3):
    """Identities under several cameras, each of which moves all its embeddings."""
    rng = np.random.default_rng(seed)
    camera = rng.integers(0, cameras, n)
    return clusters(n, 16, 0.5, seed) + 0.8 * rng.normal(size=(cameras, 16))[camera], camera


def test_one_camera_or_none_that_repeats():
    features, _ = world(60)
    single = np.zeros(60, dtype=int)
    check(ca_jaccard_graph(features, single, 5, 20, 2, 4), reference(features, single, 5, 20, 2, 4))
    own, others = camera_rankings(features, single, 6, 21)
    ranks = knn(features, 22)[1]
    np.testing.assert_array_equal(own, ranks[:, :6])
    np.testing.assert_array_equal(others, ranks[:, 1:])
    alone = camera_rankings(features, np.arange(60), 6, 21)
    np.testing.assert_array_equal(alone[0], ranks[:, :6])
    np.testing.assert_array_equal(alone[1], ranks[:, 1:])


def test_an_unknown_camera_is_a_camera_of_its_own():
    features, cameras = world(120)
    some = np.where(np.arange(120) % 7 == 0, -1, cameras)
    apart = np.where(some < 0, 100 + np.arange(120), some)
    graphs = [ca_jaccard_graph(features, given).distances for given in (some, apart)]
    np.testing.assert_array_equal(graphs[0].toarray(), graphs[1].toarray())


@pytest.mark.parametrize("rows", [False, True], ids=["pairs", "rows"])
def test_blocks_and_threads_do_not_show(monkeypatch, rows):
    features, cameras = world()
    whole = ca_jaccard_graph(features, cameras).distances
    threads, torch_threads = numba.get_num_threads(), torch.get_num_threads()
    if rows:
        monkeypatch.setattr(camera_ranking, "_FEW", 1000)
        monkeypatch.setitem(camera_ranking._BLOCK_BYTES, "cpu", 4 * 600 * 77)
    else:
        monkeypatch.setattr(pairwise, "_BLOCK", 77)
    try:
        for number in (1, 2):
            numba.set_num_threads(min(number, threads))
            torch.set_num_threads(number)
            again = ca_jaccard_graph(features, cameras).distances
            for name in ("indptr", "indices", "data"):
                np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    finally:
        numba.set_num_threads(threads)
        torch.set_num_threads(torch_threads)


def test_nothing_of_n_by_n_is_made(monkeypatch):
    features, cameras = world(900)
    expected = ca_jaccard_graph(features, cameras).distances
    monkeypatch.setattr(camera_ranking, "_FEW", 1000)
    monkeypatch.setitem(camera_ranking._BLOCK_BYTES, "cpu", 4 * 900 * 50)
    monkeypatch.setattr(jaccard_torch, "_BUDGET", 100_000)
    largest = 0

    class Largest(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.is_contiguous():
                largest = max(largest, out.numel())
            return out

    with Largest():
        graph = ca_jaccard_graph(features, cameras, backend="torch").distances
    assert largest <= 900 * 120 < 900 * 900 / 5
    np.testing.assert_array_equal(graph.indices, expected.indices)
    np.testing.assert_allclose(graph.data, expected.data, atol=1e-5)


def test_masses_of_equal_embeddings_are_no_scan_of_all_pairs(monkeypatch):
    scanned = []
    whole = camera_ranking.candidate_ranking.rank_all
    monkeypatch.setattr(
        camera_ranking.candidate_ranking,
        "rank_all",
        lambda rows, some, *rest: scanned.append(len(some)) or whole(rows, some, *rest),
    )
    features = np.repeat(np.eye(6), 50, axis=0)
    own, others = camera_rankings(features, np.arange(300) % 3, 6, 21)
    assert sum(scanned) < 20
    intra, inter = slow_rankings(features, np.arange(300) % 3)
    assert own.tolist() == [row[:6] for row in intra]
    assert others.tolist() == [row[:21] for row in inter]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_the_same_graph():
    features, cameras = world(4000)
    expected = ca_jaccard_graph(features, cameras).distances
    graph = ca_jaccard_graph(torch.from_numpy(features).cuda(), cameras).distances
    np.testing.assert_array_equal(graph.indices, expected.indices)
    np.testing.assert_allclose(graph.data, expected.data, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cameras": np.full(40, -1)}, "no camera of these images is known"),
        ({"cameras": np.zeros(39, dtype=int)}, r"cameras must be \(40,\) integers"),
        ({"k1_intra": 40}, "k1_intra must be at most 39, got 40"),
        ({"k1_inter": 39}, "k1_inter must be at most 38, got 39"),
        ({"k1_intra": -1}, "k1_intra must be at least 0"),
        ({"k2_intra": 0, "k2_inter": 0}, "k2_inter must be at least 1"),
        ({"k2_intra": 41}, "k2_intra must be at most 40"),
        ({"reciprocal": "both"}, "reciprocal must be one of camera, global"),
        ({"expansion": None}, "expansion must be one of camera, global"),
        ({"reciprocal": "global", "k1": 40}, "k1 must be at most 39"),
        ({"expansion": "global", "k2": 32}, "k2 must be at most 31"),
        ({"max_distance": 1.0}, "max_distance must be in"),
        ({"backend": "faiss"}, "backend must be one of auto, numba, torch"),
        ({"features": np.ones((1, 3)), "cameras": [0]}, "at least two embeddings"),
    ],
)
def test_refuses_bad_arguments(arguments, message):
    given = {"features": clusters(40, 8, 0.5), "cameras": np.arange(40) % 3} | arguments
    with pytest.raises(ValueError, match=message):
        ca_jaccard_graph(**given)


def test_pseudo_labels_take_three_and_three_in_the_first_epoch():
    features, cameras = world(240)
    labeler = PseudoLabeler(
        k1=500, camera="ca_jaccard", k1_intra=4, k1_inter=9, k2_intra=1, k2_inter=5
    )
    graphs = []
    for epoch, averaged in ((0, (3, 3)), (1, (1, 5)), (7, (1, 5))):
        graph = ca_jaccard_graph(features, cameras, 4, 9, *averaged, max_distance=0.55)
        found = labeler(features, FixedSchedule(0.5), epoch, cameras=cameras)
        np.testing.assert_array_equal(found.labels, DBSCAN().fit_predict(graph, 0.5))
        shown = labeler.distances(features, cameras, 0.55, epoch).distances
        np.testing.assert_array_equal(shown.toarray(), graph.distances.toarray())
        graphs.append(shown.toarray())
    assert (graphs[0] != graphs[1]).any()
    plain = PseudoLabeler(k1=20)(features, FixedSchedule(0.5), 1)
    assert plain.labels.tolist() != found.labels.tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k1_intra": 24}, "k1_intra must be at most 23 with 24 images, got 24: lower"),
        ({"k1_inter": 23}, "k1_inter must be at most 22 with 24 images"),
        ({"k2_intra": 25}, "k2_intra must be at most 24 with 24 images"),
        ({"k2_inter": 24}, "k2_inter must be at most 23 with 24 images"),
    ],
)
def test_too_few_images_name_the_setting(settings, message):
    features, cameras = world(24)
    labeler = PseudoLabeler(camera="ca_jaccard", **settings)
    with pytest.raises(ValueError, match=message):
        labeler(features, FixedSchedule(0.5), 0, cameras=cameras)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k1_inter": -1}, "k1_inter must be at least 0"),
        ({"k2_intra": 0, "k2_inter": 0}, "k2_inter must be at least 1"),
        ({"k2_intra": 1.5}, "k2_intra must be an integer"),
        ({"camera": "ca_jaccard", "backend": "approximate"}, "choose backend=auto"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        PseudoLabeler(**settings)


def photographs(seed=0):
    rng = np.random.default_rng(seed)
    features, cameras = world(90, 4, seed)
    identities = np.arange(90) // 8
    order = rng.permutation(90)
    return features[order], identities[order], cameras[order]


def test_reranking_equals_the_definition_in_blocks():
    features, _, cameras = photographs()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    jaccard = reference(features, cameras, 4, 9, 3, 3, rerank=True)[:20, 20:]
    squares = 2 - 2 * unit @ unit.T
    expected = 0.7 * jaccard + 0.3 * (squares / squares.max(axis=1, keepdims=True))[:20, 20:]
    points = torch.from_numpy(unit)
    blocks = reranked_distances(points[:20], points[20:], CameraRerank(4, 9), 7, cameras)
    found = [block.numpy() for block in blocks]
    assert [len(block) for block in found] == [7, 7, 6]
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=2e-6)


def test_reranking_raises_the_scores_where_cameras_mislead():
    features, identities, cameras = photographs()
    split = (
        features[:40],
        identities[:40],
        cameras[:40],
        features[40:],
        identities[40:],
        cameras[40:],
    )
    plain = evaluate_retrieval(*split)["mAP"]
    assert evaluate_retrieval(*split, rerank=CameraRerank(3, 7))["mAP"] > plain + 0.03


def test_reranking_without_cameras_or_images_is_refused():
    features, identities, cameras = photographs()
    nowhere = np.full(90, -1)
    split = features[:5], identities[:5], nowhere[:5], features[5:], identities[5:], nowhere[5:]
    with pytest.raises(ValueError, match="no camera of these images is known"):
        evaluate_retrieval(*split, rerank=CameraRerank())
    few = torch.from_numpy(features[:20])
    with pytest.raises(ValueError, match="k1_inter must be at most 18, got 20"):
        next(reranked_distances(few[:5], few[5:], CameraRerank(), 4, cameras[:20]))
    with pytest.raises(ValueError, match=r"weight must be in \[0, 1\], got 2"):
        CameraRerank(weight=2)


@pytest.mark.parametrize("value", [True, False, "ca_jaccard"])
def test_the_command_takes_a_word_for_reranking(value):
    compare({"rerank": False}, {"rerank": value})
    check_protocol(protocol(rerank=value))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rerank": "camera"}, "rerank must be true, false or ca_jaccard, got 'camera'"),
        ({"rerank": 1}, "rerank must be true, false or ca_jaccard, got 1"),
        ({"ca_reranking": {"k1_intra": -1}}, "ca_reranking.k1_intra must be at least 0"),
    ],
)
def test_wrong_settings_of_reranking_are_one_line(settings, message):
    with pytest.raises(UserError, match=message):
        check_protocol(protocol(**settings))


def protocol(**settings):
    return {
        "flip": False, "rerank": False, "evaluate": {"camera_center": False},
        "reranking": {}, "ca_reranking": {}, "loader": {"eval_batch_size": 8, "workers": 0},
    } | settings  # fmt: skip
