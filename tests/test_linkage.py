"""Average linkage: beside the pair-by-pair original, with groups and pairs that stay apart."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from sklearn.metrics.cluster import contingency_matrix

from dccc_lightning.clustering.average_linkage import average_linkage
from dccc_lightning.clustering.constraints import Apart
from dccc_lightning.clustering.jaccard import NeighborGraph
from dccc_lightning.identities.cosine_linkage import cosine_linkage
from dccc_lightning.identities.identification import Identifier
from dccc_lightning.identities.tracklet_means import tracklet_points
from dccc_lightning.metrics.identified_images import identification_f1
from dccc_lightning.neighbors.embeddings import UnitEmbeddings


def one_pair_after_another(distances, threshold, start, apart):
    """Join the two nearest groups whose images may be one individual, until none is near."""
    groups = {g: np.flatnonzero(start == g) for g in np.unique(start)}
    apart = {frozenset(pair) for pair in apart}
    while True:
        allowed = [
            (distances[np.ix_(groups[a], groups[b])].mean(), a, b)
            for a in groups for b in groups if a < b and frozenset((a, b)) not in apart
        ]  # fmt: skip
        if not allowed or np.float32(min(allowed)[0]) > np.float32(threshold):
            break
        _, a, b = min(allowed)
        groups[a] = np.concatenate([groups[a], groups.pop(b)])
        apart = {frozenset(a if g == b else g for g in pair) for pair in apart}
    labels = np.empty(len(start), dtype=np.int64)
    for number, members in enumerate(sorted(groups.values(), key=min)):
        labels[members] = number
    return labels


def graph_of(distances, largest):
    """Sparse graph of the distances up to ``largest``, with a stored zero from each to itself."""
    rows, columns = np.nonzero((distances <= largest) | np.eye(len(distances), dtype=bool))
    data = distances[rows, columns].astype(np.float32)
    starts = np.searchsorted(rows, np.arange(len(distances) + 1))
    return NeighborGraph(csr_matrix((data, columns, starts), distances.shape), largest)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("constrained", [False, True])
def test_both_linkages_join_as_one_pair_after_another(seed, constrained):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    points = rng.normal(size=(n, 3)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    start, apart = np.arange(n), np.empty((0, 2), dtype=np.int64)
    if constrained:
        start = np.arange(n) // 2 * 2  # pairs of neighbours are groups
        pairs = rng.choice(start, (n, 2))
        apart = pairs[pairs[:, 0] != pairs[:, 1]]
    near = Apart.of(apart[:, 0], apart[:, 1])

    cosines = points.astype(np.float64) @ points.T.astype(np.float64)
    for least in (0.2, 0.6):
        wanted = one_pair_after_another(1 - cosines, 1 - least, start, apart)
        np.testing.assert_array_equal(cosine_linkage(points, least, start, near), wanted)

    sparse = rng.random((n, n)).astype(np.float32)
    sparse = np.minimum(sparse, sparse.T)
    np.fill_diagonal(sparse, 0)
    graph = graph_of(sparse, 0.6)
    missing_is_far = np.where(sparse <= 0.6, sparse, 1).astype(np.float64)
    for threshold in (0.3, 0.6):
        wanted = one_pair_after_another(missing_is_far, threshold, start, apart)
        np.testing.assert_array_equal(average_linkage(graph, threshold, start, near), wanted)


def test_a_distance_of_exactly_the_threshold_joins():
    distances = np.array([[0, 0.4, 1], [0.4, 0, 0.7], [1, 0.7, 0]], dtype=np.float32)
    graph = graph_of(distances, 0.9)
    assert average_linkage(graph, 0.4).tolist() == [0, 0, 1]
    assert average_linkage(graph, 0.39999998).tolist() == [0, 1, 2]
    assert average_linkage(graph, 0.85).tolist() == [0, 0, 0]  # (1 + 0.7) / 2
    assert average_linkage(graph, 0.84999).tolist() == [0, 0, 1]


def test_a_cosine_of_exactly_the_threshold_joins_with_the_score_of_a_search():
    from dccc_lightning.gallery.exact_search import pair_scores

    points = np.random.default_rng(1).normal(size=(2, 64)).astype(np.float32)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    score = pair_scores(unit, np.array([0]), np.array([1]))[0]
    assert cosine_linkage(unit, score).tolist() == [0, 0]
    assert cosine_linkage(unit, np.nextafter(score, 2)).tolist() == [0, 1]


def test_a_thousand_copies_are_joined_in_a_few_rounds(monkeypatch):
    from dccc_lightning.clustering import average_linkage as module

    rounds = []
    nearest = module._SparseGroups.nearest
    monkeypatch.setattr(
        module._SparseGroups, "nearest", lambda self: (rounds.append(1), nearest(self))[1]
    )
    graph = graph_of(np.zeros((500, 500), dtype=np.float32), 0.5)
    assert average_linkage(graph, 0.5).tolist() == [0] * 500
    assert len(rounds) < 20


def test_the_share_of_images_with_the_matched_identity():
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = rng.integers(1, 30)
        found, true = (rng.integers(0, rng.integers(1, 9), n) for _ in range(2))
        table = contingency_matrix(found, true)
        rows, columns = linear_sum_assignment(-table)
        assert identification_f1(found, true) == table[rows, columns].sum() / n
    assert np.isnan(identification_f1([0, 1], [-1, -1]))


def test_tracklets_are_points_by_their_means():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(12, 5))
    rows[11] = -rows[4]  # their mean is 0: the first image stands for both
    tracklets = np.array([0, 1, 0, 3, 4, 1, 0, 3, 8, 9, 9, 4])
    start = np.where(np.isin(tracklets, [3, 8]), 3, tracklets)
    apart = Apart.of(np.array([0, 1]), np.array([4, 9]))
    found = tracklet_points(UnitEmbeddings.of(rows), tracklets, start, apart)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    firsts = sorted(set(tracklets.tolist()))
    for place, first in enumerate(firsts):
        own = [n for n in range(12) if tracklets[n] == first]
        mean = unit[first] if first == 4 else sum(unit[n] for n in own)
        expected = mean / np.linalg.norm(mean)
        np.testing.assert_allclose(found.points.rows[place], expected, atol=1e-6)
        assert {firsts[found.of_image[n]] for n in own} == {first}
        assert firsts[found.start[place]] == start[first]
    pairs = zip(found.apart.first.tolist(), found.apart.second.tolist(), strict=True)
    assert sorted((firsts[a], firsts[b]) for a, b in pairs) == [(0, 4), (1, 9)]


def test_near_duplicates_of_a_tracklet_do_not_fill_its_neighbourhood():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(6), 3)  # three tracklets of each, of eight images
    means = rng.normal(size=(6, 32))[people] + 0.35 * rng.normal(size=(18, 32))
    rows = (means[:, None] + 0.05 * rng.normal(size=(18, 8, 32))).reshape(-1, 32)
    tracklets = np.repeat(np.arange(18) * 8, 8)
    true = np.repeat(people, 8)
    of_images = Identifier(k1=8)(rows, start=tracklets)
    assert len(set(of_images.tolist())) == 18  # no neighbour outside its own tracklet
    found = Identifier(k1=6, k2=2)(rows, start=tracklets, tracklets=tracklets)
    np.testing.assert_array_equal(found, true)
    together = Identifier(k1=6, k2=2)(rows, tracklets=tracklets)  # groups are the tracklets
    np.testing.assert_array_equal(found, together)
    cosine = Identifier(0.5, "cosine")
    np.testing.assert_array_equal(
        cosine(rows, start=tracklets), cosine(rows, start=tracklets, tracklets=tracklets)
    )
