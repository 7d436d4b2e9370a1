import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.metrics import reranking
from dccc_lightning.metrics.reid_retrieval import ReIDRetrieval
from dccc_lightning.metrics.reranking import Rerank, reranked_distances
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval
from dccc_lightning.neighbors.nearest import knn


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def clustered(rng, queries, size, dim=8):
    """Embeddings with neighbourhoods worth the name, for 10 identities, and their identities."""
    identities = rng.integers(0, 10, queries + size)
    centers = rng.standard_normal((10, dim))
    features = unit(centers[identities] + 0.5 * rng.standard_normal((queries + size, dim)))
    return features[:queries], features[queries:], identities[:queries], identities[queries:]


def dense_reranking(queries, gallery, k1, k2, weight):
    """The algorithm on matrices of (Q + G) x (Q + G), in float64."""
    points = np.concatenate([queries, gallery])
    n = len(points)
    squares = ((points[:, None] - points) ** 2).sum(axis=2)
    original = (squares / squares.max(axis=0)).T
    ranks = np.argsort(original, axis=1, kind="stable")

    def reciprocal(i, k):
        forward = ranks[i, : k + 1]
        return [j for j in forward if i in ranks[j, : k + 1]]

    v = np.zeros((n, n))
    for i in range(n):
        own = reciprocal(i, k1)
        expanded = set(own)
        for j in own:
            theirs = reciprocal(j, round(k1 / 2))
            if len(set(theirs) & set(own)) > 2 / 3 * len(theirs):
                expanded |= set(theirs)
        members = sorted(expanded)
        weights = np.exp(-original[i, members])
        v[i, members] = weights / weights.sum()
    if k2 > 1:
        v = np.stack([v[ranks[i, :k2]].mean(axis=0) for i in range(n)])
    overlap = np.array([[np.minimum(a, b).sum() for b in v] for a in v[: len(queries)]])
    jaccard = 1 - overlap / (2 - overlap)
    final = (1 - weight) * jaccard + weight * original[: len(queries)]
    return final[:, len(queries) :]


def reranked(queries, gallery, *settings, block=7):
    blocks = reranked_distances(
        torch.as_tensor(queries), torch.as_tensor(gallery), Rerank(*settings), block
    )
    return torch.cat(list(blocks)).numpy()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 15),
    st.integers(12, 60),
    st.sampled_from([(1, 1), (2, 2), (5, 1), (7, 3), (10, 6), (11, 11)]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([np.float32, np.float64]),
)
def test_distances_equal_the_dense_reference(seed, queries, size, ks, weight, dtype):
    rng = np.random.default_rng(seed)
    query, gallery, _, _ = clustered(rng, queries, size)
    query, gallery = query.astype(dtype), gallery.astype(dtype)
    expected = dense_reranking(query.astype(float), gallery.astype(float), *ks, weight)
    np.testing.assert_allclose(reranked(query, gallery, *ks, weight), expected, rtol=0, atol=2e-6)


def test_measures_with_the_published_settings_are_those_of_the_dense_distances():
    rng = np.random.default_rng(1)
    query, gallery, query_identities, identities = clustered(rng, 20, 150)
    cameras = rng.integers(0, 3, 170)
    final = dense_reranking(query, gallery, 20, 6, 0.3)
    precisions, firsts = [], []
    for i, distances in enumerate(final):
        order = np.argsort(distances, kind="stable")
        match = identities[order] == query_identities[i]
        hits = match[~(match & (cameras[20:][order] == cameras[i]))]
        ranks = np.flatnonzero(hits) + 1
        precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
        firsts.append(ranks[0])
    split = (query, query_identities, cameras[:20], gallery, identities, cameras[20:])
    actual = evaluate_retrieval(*split, ranks=(1, 5), rerank=Rerank(), block=6)
    assert actual["mAP"].item() == pytest.approx(np.mean(precisions), abs=1e-9)
    assert actual["rank1"].item() == np.mean(np.array(firsts) <= 1)
    assert actual["mAP"] > evaluate_retrieval(*split)["mAP"]  # it is what re-ranking is for

    metric = ReIDRetrieval(ranks=(1, 5), rerank=Rerank())
    for part, is_query in ((split[:3], True), (split[3:], False)):
        metric.update(
            torch.from_numpy(part[0]), torch.from_numpy(part[1]), torch.from_numpy(part[2]),
            torch.full((len(part[0]),), is_query),
        )  # fmt: skip
    for name, value in metric.compute().items():
        assert value.item() == pytest.approx(actual[name].item(), abs=1e-6)


def test_the_share_of_the_original_distance_alone_changes_no_measure():
    rng = np.random.default_rng(2)
    query, gallery, query_identities, identities = clustered(rng, 20, 100)
    split = query, query_identities, np.full(20, -1), gallery, identities, np.full(100, -1)
    for name, value in evaluate_retrieval(*split, rerank=Rerank(weight=1.0)).items():
        assert value.item() == pytest.approx(evaluate_retrieval(*split)[name].item(), abs=1e-9)


def test_no_matrix_is_larger_than_a_block(monkeypatch):
    shapes = []
    original = reranking.products
    monkeypatch.setattr(
        reranking, "products", lambda *a: (shapes.append((len(a[0]), len(a[1]))), original(*a))[1]
    )
    monkeypatch.setattr(reranking, "_BLOCK_BYTES", 4 * 110 * 16)
    # as where the search does not compare all pairs
    monkeypatch.setattr(reranking, "knn_and_farthest", lambda *a: (knn(*a), None))
    rng = np.random.default_rng(3)
    query, gallery, _, _ = clustered(rng, 10, 100)
    expected = dense_reranking(query, gallery, 5, 2, 0.3)
    np.testing.assert_allclose(reranked(query, gallery, 5, 2, 0.3, block=4), expected, atol=2e-6)
    assert max(rows for rows, _ in shapes) == 16
    assert shapes[-3:] == [(4, 100), (4, 100), (2, 100)]


def test_equal_images_and_hubs_do_no_harm():
    same = np.ones((60, 4)) / 2
    assert np.isfinite(reranked(same[:5], same[5:], 20, 6, 0.3)).all()
    assert reranked(same[:5], same[5:], 58, 6, 0.3).max() <= 1
    rng = np.random.default_rng(4)
    hub = unit(rng.standard_normal((1, 30)))
    points = unit(np.concatenate([hub, hub + rng.standard_normal((80, 30))]))
    expected = dense_reranking(points[:9], points[9:], 20, 6, 0.3)
    np.testing.assert_allclose(reranked(points[:9], points[9:], 20, 6, 0.3), expected, atol=2e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_distances_of_the_cpu():
    query, gallery, _, _ = clustered(np.random.default_rng(5), 10, 100)
    blocks = reranked_distances(
        torch.from_numpy(query).cuda(), torch.from_numpy(gallery).cuda(), Rerank(), 4
    )
    actual = torch.cat(list(blocks))
    assert actual.is_cuda
    np.testing.assert_allclose(
        actual.cpu(), reranked(query, gallery, 20, 6, 0.3), rtol=0, atol=2e-6
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k1": 0}, "k1 must be at least 1"),
        ({"k2": 0}, "k2 must be at least 1"),
        ({"k1": 5, "k2": 6}, "k2 must be at most 5, got 6"),
        ({"weight": 1.5}, "weight must be in"),
    ],
)
def test_wrong_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Rerank(**arguments)


def test_too_few_images_are_refused():
    rng = np.random.default_rng(6)
    query, gallery, _, _ = clustered(rng, 2, 19)
    assert reranked(query, gallery, 20, 6, 0.3).shape == (2, 19)
    with pytest.raises(ValueError, match=r"k1 must be below .* 20, got 20"):
        reranked(query, gallery[:18], 20, 6, 0.3)
