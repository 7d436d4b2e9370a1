"""Models that give nearly one vector: their neighbours are still found, and a warning says so."""

import logging
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dccc_lightning.clustering.dcps import FixedSchedule
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.data.batches import EvalBatch
from dccc_lightning.gallery import exact_search, search_pilot
from dccc_lightning.gallery.calibration import calibrate
from dccc_lightning.gallery.gallery_index import GalleryIndex
from dccc_lightning.gallery.gallery_search import MOST_COMPARED, TARGET
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.metrics.reid_retrieval import ReIDRetrieval
from dccc_lightning.metrics.reranking import Rerank
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval
from dccc_lightning.neighbors.collapse import mean_cosine
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.neighbors.nearest import knn
from dccc_lightning.training.callbacks.recluster import Embedded, Recluster
from dccc_lightning.training.retrieval_module import EvaluatedModule
from test_reranking import dense_reranking, reranked, unit
from test_retrieval import RANKS, plain_evaluation


def collapsed(n, dim=64, distance=4e-4, seed=0):
    """Embeddings whose mean cosine is about 0.9999997 by default, by identity, and these."""
    rng = np.random.default_rng(seed)
    identities = rng.integers(max(2, n // 8), size=n)
    noise = rng.normal(size=(identities.max() + 1, dim))[identities]
    noise = (noise + rng.normal(size=(n, dim))) / np.sqrt(2 * dim)
    middle = rng.normal(size=dim)
    rows = middle / np.linalg.norm(middle) + distance * noise
    return rows.astype(np.float32), identities


def split(rows, identities, queries):
    """Query and gallery, each with identities and cameras."""
    every = rows, identities, np.arange(len(rows)) % 3
    return [part[:queries] for part in every], [part[queries:] for part in every]


def in_double(part):
    return part[0].astype(np.float64), *part[1:]


def nearest(queries, gallery, k):
    """By distances of unit vectors in double precision."""
    one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, gallery))
    return np.argsort(((one[:, None] - other) ** 2).sum(-1), axis=1, kind="stable")[:, :k]


def told(caplog):
    return [record.getMessage() for record in caplog.records if "collapsed" in record.message]


@pytest.mark.parametrize(("distance", "error"), [(0.1, 1e-6), (4e-4, 1e-3), (1e-4, 5e-3)])
def test_evaluation_ranks_as_in_double_precision(distance, error):
    query, gallery = split(*collapsed(400, distance=distance), 60)
    expected = plain_evaluation(in_double(query), in_double(gallery))
    metric = ReIDRetrieval(ranks=RANKS)
    for part, is_query in ((query, True), (gallery, False)):
        metric.update(*(torch.from_numpy(c) for c in part), torch.full((len(part[0]),), is_query))
    for found in (evaluate_retrieval(*query, *gallery, ranks=RANKS), metric.compute()):
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert float(found[name]) == pytest.approx(value, abs=error), name


@pytest.mark.parametrize("distance", [0.1, 4e-4, 1e-4])
def test_a_threshold_separates_as_in_double_precision(distance):
    """Cosines in single precision have a handful of values here, of 4,000 pairs of one person."""
    rows, people = collapsed(400, distance=distance)
    cameras = np.arange(len(rows)) % 3
    found = calibrate(rows, people, cameras, 0.01)
    unit = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    squares = ((unit[:, None] - unit) ** 2).sum(-1)
    is_pair = np.triu(cameras[:, None] != cameras)
    is_one = people[:, None] == people
    impostors, genuine = squares[is_pair & ~is_one], squares[is_pair & is_one]
    limit = np.sort(impostors)[int(0.01 * len(impostors))]
    assert found.false_match.errors == int(0.01 * len(impostors))
    assert found.false_match.pairs == len(impostors)
    assert found.false_non_match.value == pytest.approx((genuine >= limit).mean(), abs=5e-3)
    assert 2 - 2 * found.threshold == pytest.approx(limit, rel=1e-2)
    assert len(np.unique(found.curve[:, 0])) > 300


def test_a_threshold_means_to_a_search_what_it_meant_to_the_calibration(caplog):
    rows, people = collapsed(400)
    cameras = np.arange(len(rows)) % 3
    found = calibrate(rows, people, cameras, 0.01)
    assert len(told(caplog)) == 1
    assert found.rounded.startswith("0.999999")
    assert found.rounded[6:].strip("9")
    paths, names = [str(i) for i in range(len(rows))], [str(camera) for camera in cameras]
    index = GalleryIndex.build(rows, paths, fingerprint="x", cameras=names)
    hits = index.search(rows, len(rows), exclude_camera=names, minimum_score=found.threshold)
    strangers = [
        hit.id for own, mine in enumerate(hits) for hit in mine if people[hit.id] != people[own]
    ]
    assert len(strangers) == 2 * found.false_match.errors > 0  # either image of a pair is a query


def test_equal_embeddings_of_strangers_have_no_threshold():
    rows = np.ones((20, 4))
    found = calibrate(rows, np.arange(20) // 2, np.arange(20) % 2, 0.1)
    assert found.threshold > 1
    assert (found.false_match.errors, found.false_non_match.value) == (0, 1)
    assert "have equal embeddings, so the threshold is above every score" in found.caution


def test_reranking_is_that_in_double_precision():
    rows, _ = collapsed(80, dim=8)
    expected = dense_reranking(*np.split(unit(rows.astype(np.float64)), [20]), 8, 3, 0.3)
    found = reranked(*np.split(unit(rows.astype(np.float64)).astype(np.float32), [20]), 8, 3, 0.3)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_a_gallery_finds_the_neighbours_that_knn_finds(kind):
    rows, _ = collapsed(600)
    wanted = nearest(rows[:50].astype(np.float64), rows.astype(np.float64), 10)
    index = GalleryIndex.build(rows, [str(i) for i in range(600)], fingerprint="x", kind=kind)
    hits = index.search(rows[:50], 10)
    found = np.array([[hit.id for hit in mine] for mine in hits])
    shared = np.mean([len(set(a) & set(b)) for a, b in zip(found, wanted, strict=True)]) / 10
    assert shared == 1 if kind == "flat" else shared > 0.9
    np.testing.assert_array_equal(knn(rows, 10)[1][:50], wanted)
    assert [mine[0].score for mine in hits] == [1.0] * 50
    assert all(a.score >= b.score for mine in hits for a, b in pairwise(mine))


def test_a_gallery_that_lists_would_not_speed_up_stays_flat():
    """k-means has most of the rows in a few lists; of rows spread out 45 % are compared."""
    rows = UnitEmbeddings.of(collapsed(3000)[0]).rows
    own = np.arange(0, 3000, 60)
    others = list(nearest(rows[own].astype(np.float64), rows.astype(np.float64), 11)[:, 1:])
    assert search_pilot.share_compared(rows, own, others, TARGET) > 0.9 > MOST_COMPARED


def test_the_gallery_looks_at_few_images_twice(monkeypatch):
    """Products about the middle propose well: not every image is compared in double precision."""
    rows, _ = collapsed(3000)
    widths = []

    def rank(queries, gallery, candidates, *others):
        widths.append(candidates.shape[1])
        return ranked(queries, gallery, candidates, *others)

    ranked = exact_search.rank
    monkeypatch.setattr(exact_search, "rank", rank)
    build(rows).search(rows[:20], 10)
    assert max(widths) < 300


def build(rows):
    return GalleryIndex.build(rows, [str(i) for i in range(len(rows))], fingerprint="x")


def test_the_mean_cosine_is_that_of_all_pairs():
    rows = unit(np.random.default_rng(0).normal(size=(50, 8)) + 1)
    cosines = (rows @ rows.T)[~np.eye(50, dtype=bool)]
    assert mean_cosine(torch.from_numpy(rows)) == pytest.approx(cosines.mean())
    assert mean_cosine(torch.ones(1, 4)) == 0


@pytest.mark.parametrize("act", ["gallery", "evaluate", "metric"])
def test_one_warning_has_the_mean_cosine(act, caplog):
    def run(rows, identities):
        query, gallery = split(rows, identities, 60)
        if act == "gallery":
            index = build(rows)
            index.search(rows[:3])
            index.add(rows[:3] + 0.1, ["x", "y", "z"])
            index.search(rows[:3])
        elif act == "evaluate":
            evaluate_retrieval(*query, *gallery, rerank=Rerank(8, 3))
        else:
            metric = ReIDRetrieval()
            metric.update(*map(torch.from_numpy, (*split(rows, identities, len(rows))[0],
                                                  np.arange(len(rows)) < 60)))  # fmt: skip
            metric.compute()
            assert metric.collapsed == bool(told(caplog))

    with caplog.at_level(logging.WARNING):
        run(*collapsed(400, distance=0.1))
        assert told(caplog) == []
        run(*collapsed(400))
    (message,) = told(caplog)
    assert "mean cosine of 0.999999" in message


def test_a_loaded_gallery_says_so_when_it_is_searched(tmp_path, caplog):
    rows, _ = collapsed(300)
    build(rows).save(tmp_path / "g")
    caplog.clear()
    index = GalleryIndex.load(tmp_path / "g")
    for _ in range(2):
        index.search(rows[:3])
    assert len(told(caplog)) == 1


def test_a_few_alike_images_are_no_collapse(caplog):
    build(np.ones((5, 4)) + 1e-6 * np.eye(5, 4)).search(np.ones((1, 4)))
    assert told(caplog) == []


class Network(EvaluatedModule):
    def networks(self):
        return {"val": torch.nn.Identity(), "val_teacher": torch.nn.Identity()}

    def log_dict(self, scores, **_):
        self.logged = scores


def test_a_validation_says_so_once(caplog):
    query, gallery = split(*collapsed(300), 60)
    module = Network()
    for _ in range(2):
        module.on_validation_epoch_start()
        for part, is_query in ((query, True), (gallery, False)):
            n = len(part[0])
            images, identities, cameras = (torch.from_numpy(column) for column in part)
            module.validation_step(
                EvalBatch(
                    images, identities, cameras, torch.full((n,), is_query), torch.arange(n), {}
                ),
                0,
            )
        module.on_validation_epoch_end()
    assert len(told(caplog)) == 1
    assert module.collapse_warned


def test_clustering_says_so_once(caplog, monkeypatch):
    rows, identities = collapsed(200)
    caller = Recluster(FixedSchedule(0.6), PseudoLabeler(k1=8))
    embedded = Embedded(torch.from_numpy(rows), UnitEmbeddings.of(rows), {})
    monkeypatch.setattr(caller, "embed", lambda *_: embedded)
    module = SimpleNamespace(collapse_warned=False, memory=ClusterMemory(64, 0.1, 0.05))
    records = SimpleNamespace(identities=identities, cameras=np.arange(200) % 3)
    datamodule = SimpleNamespace(
        splits=SimpleNamespace(train=records), labels=None, set_pseudo_labels=lambda *_: None
    )
    for epoch in range(2):
        caller.refresh(module, datamodule, epoch)
    assert len(told(caplog)) == 1
