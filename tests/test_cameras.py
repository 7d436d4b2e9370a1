"""The camera in the distances: taken out of embeddings, held against pairs, and at test time."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.clustering.algorithms import DBSCAN
from dccc_lightning.clustering.dcps import FixedSchedule
from dccc_lightning.clustering.experimental.attachment import attach
from dccc_lightning.clustering.experimental.camera_penalty import penalize
from dccc_lightning.clustering.experimental.proxies import LinkedProxies, camera_graph
from dccc_lightning.clustering.experimental.refinement import refine
from dccc_lightning.clustering.jaccard import jaccard_graph
from dccc_lightning.clustering.outliers import number_without_gaps
from dccc_lightning.clustering.pseudo_labels import NoClustersError, PseudoLabeler
from dccc_lightning.data.records import Records
from dccc_lightning.datamodule import ReIDDataModule
from dccc_lightning.errors import UserError
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.metrics import cluster_quality
from dccc_lightning.metrics.reid_retrieval import ReIDRetrieval
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval
from dccc_lightning.module import DCCCModule
from dccc_lightning.neighbors import camera_normalization, covariance, inverse_root
from dccc_lightning.neighbors.camera_normalization import center, whiten
from dccc_lightning.reports.results import SCORES, summarize_run
from dccc_lightning.training.callbacks import recluster
from dccc_lightning.training.callbacks.evaluation_interval import EvaluationEvery
from dccc_lightning.training.callbacks.recluster import Recluster
from dccc_lightning.training.retrieval_module import EvaluatedModule

SCORED = {f"val/{score}": 0.5 for score in SCORES}


def two_cameras(people=12, images=5, shift=3.0, seed=0):
    """People seen by two cameras, of which one adds the same vector to everybody."""
    rng = np.random.default_rng(seed)
    identities = np.repeat(np.arange(people), 2 * images)
    cameras = np.tile(np.repeat([0, 1], images), people)
    rows = rng.normal(size=(people, 24))[identities] + 0.35 * rng.normal(size=(len(cameras), 24))
    lamp = rng.normal(size=24)
    rows[cameras == 1] += shift * lamp / np.linalg.norm(lamp) * np.sqrt(24)
    return rows, identities, cameras


def normalized(rows):
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms == 0, 1, norms)


def slow_center(features, cameras):
    """Image by image, in float64."""
    unit = normalized(np.asarray(features, dtype=np.float64))
    result = []
    for row, camera in zip(unit, cameras, strict=True):
        own = unit[cameras == camera] if camera >= 0 else unit
        result.append(row - (own if len(own) > 1 else unit).mean(axis=0))
    return normalized(np.array(result))


class TestCentring:
    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.integers(-1, 3), min_size=2, max_size=30), st.integers(0, 99))
    def test_is_that_of_a_loop_over_images(self, cameras, seed):
        cameras = np.array(cameras)
        cameras[0] = 1  # one is known
        features = np.random.default_rng(seed).normal(size=(len(cameras), 5))
        expected = slow_center(features, cameras)
        if np.linalg.norm(expected, axis=1).min() > 0.99:  # no image is the mean of its camera
            np.testing.assert_allclose(center(features, cameras), expected, atol=2e-5)

    def test_one_image_and_unknown_cameras_get_the_mean_of_all(self):
        features = normalized(np.random.default_rng(0).normal(size=(6, 4)))
        centered = center(features, [0, 0, 0, 0, 5, -1])
        expected = normalized(features - features.mean(axis=0))
        np.testing.assert_allclose(centered[4:], expected[4:], atol=1e-6)
        assert np.abs(centered[0] - expected[0]).max() > 0.01

    @pytest.mark.parametrize("adapt", [center, whiten])
    def test_what_is_rounding_is_no_direction(self, adapt):
        noise = 3e-7 * np.random.default_rng(0).normal(size=(40, 16))
        assert not adapt(np.ones((40, 16)) + noise, np.arange(40) % 3).any()

    @pytest.mark.parametrize("rounding", [0, 1e-7])
    @pytest.mark.parametrize("adapt", [center, whiten])
    def test_a_camera_whose_images_are_all_the_same_has_no_mean_of_its_own(self, adapt, rounding):
        """Six clips of two equal frames, of six strangers: the difference from their means is 0."""
        rng = np.random.default_rng(0)
        rows = normalized(rng.normal(size=(60, 8)))
        strangers = np.repeat(normalized(rng.normal(size=(6, 8))), 2, axis=0)
        strangers[::2] += rounding
        cameras = np.concatenate([np.arange(60) % 3, np.repeat(np.arange(3, 9), 2)])
        found = adapt(np.concatenate([rows, strangers]), cameras)[60:]
        cosines = found @ found.T
        same = np.equal.outer(cameras[60:], cameras[60:])
        assert cosines[same].min() > 0.999
        assert cosines[~same].max() < 0.95

    def test_keeps_kind_and_device(self):
        rows, _, cameras = two_cameras(3)
        found = center(torch.from_numpy(rows), cameras)
        assert isinstance(found, torch.Tensor)
        np.testing.assert_array_equal(found.numpy(), center(rows, cameras))
        assert found.dtype == torch.float32

    def test_without_a_known_camera_is_refused(self):
        for cameras in (None, [-1, -1, -1]):
            with pytest.raises(ValueError, match="no camera of these images is known"):
                center(np.eye(3), cameras)
        with pytest.raises(ValueError, match=r"cameras must be \(3,\) integers"):
            center(np.eye(3), [0, 1])


def shrunk(rows, covariance, target):
    """Ledoit and Wolf's share, entry by entry."""
    products = np.stack([np.outer(row, row) for row in rows])
    error = ((products - covariance) ** 2).mean(axis=0).sum() / len(rows)
    share = min(1.0, error / ((covariance - target) ** 2).sum())
    return (1 - share) * covariance + share * target


def slow_whiten(features, cameras):
    unit = normalized(features)
    parts = {c: unit[cameras == c] - unit[cameras == c].mean(axis=0) for c in np.unique(cameras)}
    everything = np.concatenate(list(parts.values()))
    pooled = everything.T @ everything / len(everything)
    size = np.trace(pooled) / len(pooled)
    pooled = shrunk(everything, pooled, size * np.eye(len(pooled)))
    result = np.empty_like(unit)
    for camera, rows in parts.items():
        values, vectors = np.linalg.eigh(shrunk(rows, rows.T @ rows / len(rows), pooled))
        result[cameras == camera] = rows @ (vectors / np.sqrt(values)) @ vectors.T
    return normalized(result)


class TestWhitening:
    def test_is_that_of_the_formula(self):
        rows, _, cameras = two_cameras(8)
        rows[cameras == 1, :4] *= 3  # another spread, too
        np.testing.assert_allclose(whiten(rows, cameras), slow_whiten(rows, cameras), atol=1e-5)

    def test_fewer_images_than_dimensions_and_cameras_of_one_image_are_finite(self):
        rows = np.random.default_rng(0).normal(size=(12, 40))
        found = whiten(rows, [0, 0, 0, 0, 1, 1, 1, 1, 2, -1, -1, 3])
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)

    def test_two_images_tell_nothing_of_a_spread_so_the_camera_gets_that_of_all(self):
        """Measured from them, the sampling error of a covariance is 0: their products are equal."""
        rng = np.random.default_rng(2)
        scale = np.array([4, 1, 1, 1, 1, 1])
        rows = np.concatenate([10 + rng.normal(size=(400, 6)) * scale, rng.normal(size=(2, 6))])
        cameras = np.array([0] * 200 + [1] * 200 + [2, 2])
        unit = normalized(rows)
        difference = unit[400] - unit[400:].mean(axis=0)
        parts = [unit[cameras == c] - unit[cameras == c].mean(axis=0) for c in range(3)]
        everything = np.concatenate(parts)
        size = (everything**2).sum() / everything.size
        pooled = shrunk(everything, everything.T @ everything / 402, size * np.eye(6))
        values, vectors = np.linalg.eigh(pooled)
        expected = normalized((difference @ (vectors / np.sqrt(values)) @ vectors.T)[None])[0]
        np.testing.assert_allclose(whiten(rows, cameras)[400], expected, atol=1e-5)

    def test_equal_images_become_zero(self):
        assert not whiten(np.ones((6, 3)), [0, 0, 0, 1, 1, 1]).any()

    def test_a_spread_that_differs_by_camera_is_taken_out(self):
        rng = np.random.default_rng(1)
        cameras = np.repeat([0, 1], 400)
        rows = 10 + rng.normal(size=(800, 4)) * np.where(cameras[:, None] == 1, [2, 1, 1, 1], 1)
        spread = [whiten(rows, cameras)[cameras == c].std(axis=0) for c in (0, 1)]
        before = [center(rows, cameras)[cameras == c].std(axis=0) for c in (0, 1)]
        assert np.abs(spread[0] - spread[1]).max() < np.abs(before[0] - before[1]).max() / 3


class TestWhiteningInSinglePrecision:
    """Wide embeddings on a processor; every width counts as wide here."""

    @pytest.fixture(autouse=True)
    def wide(self, monkeypatch):
        monkeypatch.setattr(camera_normalization, "_WIDE", 1)
        monkeypatch.setattr(covariance, "_ROWS", 7)

    @pytest.mark.parametrize("people", [4, 8])  # with 4, cameras' products are made twice
    def test_is_that_of_the_formula(self, people, monkeypatch):
        monkeypatch.setattr(inverse_root, "FARTHEST", np.inf)
        rows, _, cameras = two_cameras(people)
        rows[cameras == 1, :4] *= 3
        np.testing.assert_allclose(whiten(rows, cameras), slow_whiten(rows, cameras), atol=1e-4)

    @settings(max_examples=15, deadline=None)
    @given(st.lists(st.integers(-1, 3), min_size=4, max_size=40), st.integers(0, 99))
    def test_is_that_of_double_precision(self, cameras, seed):
        cameras[0] = 1
        rows = np.random.default_rng(seed).normal(size=(len(cameras), 5))[::-1]
        rows[:3] = rows[3]
        found = whiten(rows, cameras)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(camera_normalization, "_WIDE", 9)
            np.testing.assert_allclose(found, whiten(rows, cameras), atol=2e-3)

    def test_eigenvalues_far_apart_take_double_precision(self, monkeypatch):
        rows, _, cameras = two_cameras(8)
        rows[:, 0] *= 1e4
        found = whiten(rows, cameras)
        monkeypatch.setattr(camera_normalization, "_WIDE", 99)
        np.testing.assert_array_equal(found, whiten(rows, cameras))

    def test_rounding_errors_and_equal_images_are_no_direction(self):
        noise = 3e-7 * np.random.default_rng(0).normal(size=(40, 16))
        assert not whiten(np.ones((40, 16)) + noise, np.arange(40) % 3).any()
        assert not whiten(np.ones((6, 3)), [0, 0, 0, 1, 1, 1]).any()


class TestPenalty:
    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 50), st.sampled_from([0.0, 0.05, 0.3, 1.0, np.inf]))
    def test_is_that_of_a_loop_over_pairs(self, seed, penalty):
        rows, _, cameras = two_cameras(4, seed=seed)
        cameras[:3] = -1
        graph = jaccard_graph(rows, 8, 3, 0.7)
        found = penalize(graph, cameras, penalty)
        expected = {}
        coo = graph.distances.tocoo()
        for i, j, distance in zip(coo.row, coo.col, coo.data, strict=True):
            same = i != j and cameras[i] == cameras[j] >= 0
            moved = distance + np.float32(penalty if same else 0)
            if moved <= np.float32(0.7):
                expected[i, j] = moved
        coo = found.distances.tocoo()
        assert dict(zip(zip(coo.row, coo.col, strict=True), coo.data, strict=True)) == expected
        assert found.distances.has_sorted_indices
        assert found.max_distance == graph.max_distance

    def test_leaves_the_graph_it_was_given(self):
        rows, _, cameras = two_cameras(4)
        graph = jaccard_graph(rows, 8, 3, 0.7)
        before = graph.distances.copy()
        penalize(graph, cameras, 0.2)
        assert (graph.distances != before).nnz == 0

    def test_pulls_pairs_of_one_camera_apart(self):
        rows, _, cameras = two_cameras(shift=1.0)
        graph = jaccard_graph(rows, 12, 3, 0.7)
        found = [DBSCAN(4).fit_predict(penalize(graph, cameras, p), 0.6) for p in (0, 0.1, 0.2)]
        assert [cluster_quality.num_clusters(labels) for labels in found] == [19, 20, 21]


class TestProxies:
    def test_the_graph_is_that_of_each_camera_alone(self):
        rows, _, cameras = two_cameras(6)
        cameras[[3, 40]] = -1
        graph = camera_graph(rows, cameras, 12, 3, 0.7)
        dense = graph.distances.toarray()
        assert not dense[np.not_equal.outer(cameras, cameras)].any()
        assert graph.distances[3].indices.tolist() == [3]
        for camera in (0, 1):
            images = np.flatnonzero(cameras == camera)
            alone = jaccard_graph(rows[images], 6, 3, 0.7)
            np.testing.assert_array_equal(
                graph.distances[images][:, images].toarray(), alone.distances.toarray()
            )
            assert graph.distances[images].nnz == alone.distances.nnz  # explicit zeros too

    def test_links_the_clusters_of_one_person_and_keeps_what_is_alone(self):
        people = np.eye(9)
        # Persons 0 to 3 under both cameras, 4 under one, and a single image of somebody else.
        identities = np.array([p for p in range(4) for _ in range(8)] + [4] * 4 + [8])
        cameras = np.array([0, 0, 0, 0, 1, 1, 1, 1] * 4 + [0] * 4 + [1])
        graph = camera_graph(people[identities], cameras, 8, 1, 0.7)
        labels = LinkedProxies(DBSCAN(4), people[identities], 6, 1).fit_predict(graph, 0.5)
        assert labels[-1] == -1
        assert cluster_quality.num_clusters(labels) == 5
        assert cluster_quality.adjusted_rand_index(labels, identities) == 1
        assert labels[:-1].tolist() == identities[:-1].tolist()

    def test_strangers_of_a_camera_with_few_images_are_no_proxy(self):
        """Half of k1 neighbours would be all of them, and all distances next to nothing."""
        rows, _, cameras = two_cameras(40, 4)
        strangers = np.random.default_rng(3).normal(size=(12, 24))
        cameras = np.concatenate([cameras, np.full(12, 2)])
        labeler = PseudoLabeler(k1=24, k2=3, camera="proxies")
        found = labeler(np.concatenate([rows, strangers]), FixedSchedule(0.4), 0, cameras=cameras)
        assert max(np.bincount(found.labels[-12:] + 1)[1:], default=0) <= 2

    def test_of_a_shift_between_cameras_make_whole_persons(self):
        rows, identities, cameras = two_cameras(20, 8)
        labeler = PseudoLabeler(k1=12, k2=3, camera="proxies")
        found = labeler(rows, FixedSchedule(0.5), 0, cameras=cameras)
        assert cluster_quality.adjusted_rand_index(found.labels, identities) > 0.9
        assert cluster_quality.camera_entropy(found.labels, cameras) > 0.6


class TestPseudoLabels:
    def test_centring_repairs_what_a_camera_has_broken(self):
        rows, identities, cameras = two_cameras()
        scores = {}
        for camera in ("none", "center", "whiten"):
            found = PseudoLabeler(k1=12, k2=3, camera=camera)(
                rows, FixedSchedule(0.6), 0, cameras=cameras
            )
            entropy = cluster_quality.camera_entropy(found.labels, cameras)
            scores[camera] = cluster_quality.adjusted_rand_index(found.labels, identities), entropy
        assert scores["none"][0] < 0.7
        assert scores["none"][1] < 0.1  # a cluster a camera
        assert scores["center"][0] > 0.95
        assert scores["whiten"][0] > 0.95
        assert scores["center"][1] > 0.65  # ln 2 is 0.69

    def test_none_asks_for_no_camera_and_changes_nothing(self):
        rows, _, cameras = two_cameras()
        labeler = PseudoLabeler(k1=12, k2=3)
        plain = labeler(rows, FixedSchedule(0.6), 0)
        told = labeler(rows, FixedSchedule(0.6), 0, cameras=cameras)
        np.testing.assert_array_equal(plain.labels, told.labels)
        expected = DBSCAN().fit_predict(jaccard_graph(rows, 12, 3, 0.65), 0.6)
        np.testing.assert_array_equal(plain.labels, expected)

    @pytest.mark.parametrize("camera", ["center", "whiten", "penalty", "proxies", "ca_jaccard"])
    def test_the_others_need_cameras(self, camera):
        rows, *_ = two_cameras(4)
        for cameras in (None, np.full(len(rows), -1)):
            with pytest.raises(ValueError, match="no camera of these images is known"):
                PseudoLabeler(k1=8, camera=camera)(rows, FixedSchedule(0.6), 0, cameras=cameras)

    def test_the_penalty_is_the_setting(self):
        rows, _, cameras = two_cameras(shift=1.0)
        plain = jaccard_graph(rows, 12, 3, 0.65)
        found = []
        for penalty in (0.0, 0.1, 0.2):
            labeler = PseudoLabeler(k1=12, k2=3, camera="penalty", penalty=penalty)
            found.append(labeler(rows, FixedSchedule(0.6), 0, cameras=cameras).labels.tolist())
            graph = penalize(plain, cameras, penalty)
            assert found[-1] == DBSCAN().fit_predict(graph, 0.6).tolist()
        assert found[0] != found[1] != found[2] != found[0]
        absurd = PseudoLabeler(k1=12, k2=3, camera="penalty", penalty=5.0)
        with pytest.raises(
            NoClustersError, match=r"try a lower clustering\.penalty \(now 5\.0\), a hi"
        ):
            absurd(rows, FixedSchedule(0.6), 0, cameras=np.zeros_like(cameras))

    def test_proxies_are_clustered_within_their_cameras_and_linked(self):
        rows, _, cameras = two_cameras(20, 8)
        found = {}
        for camera in ("whiten", "proxies"):
            labeler = PseudoLabeler(k1=12, k2=3, camera=camera)
            found[camera] = labeler(rows, FixedSchedule(0.3), 0, cameras=cameras).labels.tolist()
        points = whiten(rows, cameras)
        graph = camera_graph(points, cameras, 12, 3, 0.35)
        linked = LinkedProxies(DBSCAN(), points, 12, 3).fit_predict(graph, 0.3)
        assert found["proxies"] == linked.tolist() != found["whiten"]

    def test_doubts_and_attachments_are_by_what_is_left_of_the_embeddings(self):
        rows, identities, cameras = two_cameras()

        class Known:
            def __init__(self, labels):
                self.labels = labels

            def fit_predict(self, graph, eps):
                return self.labels.copy()

        options = {"k1": 12, "k2": 3, "camera": "center"}
        known = {"cameras": cameras, "views": [rows, rows]}
        labeler = PseudoLabeler(
            algorithm=Known(identities), refine=0.5, refine_neighbors=9, **options
        )
        assert labeler(rows, FixedSchedule(0.6), 0, **known).refined == 0
        adapted = center(rows, cameras)
        assert np.sum(refine(identities, [rows, rows], 0.5, 9) < 0) > 50
        some = number_without_gaps(np.where(np.arange(len(rows)) % 5 == 0, -1, identities))
        labeler = PseudoLabeler(
            algorithm=Known(some), outliers="attach", attach_within=1.05, **options
        )
        labels = labeler(rows, FixedSchedule(0.6), 0, cameras=cameras).labels
        assert labels.tolist() == attach(some, adapted, 1.05).tolist()
        assert labels.tolist() != attach(some, normalized(rows).astype(np.float32), 1.05).tolist()

    def test_a_word_that_is_no_mode_is_refused(self):
        with pytest.raises(ValueError, match="camera must be one of none, center"):
            PseudoLabeler(camera="centre")


def test_recluster_tells_the_labeler_the_cameras(monkeypatch):
    rows, identities, cameras = two_cameras()
    paths = tuple(Path(f"{i}.jpg") for i in range(len(rows)))
    world = SimpleNamespace(
        splits=SimpleNamespace(train=Records(paths, identities, cameras)), labels=None, match="mean"
    )
    world.set_pseudo_labels = lambda labels, epoch: setattr(world, "labels", labels)
    given_features = []
    memory = ClusterMemory(rows.shape[1])
    rebuild = memory.rebuild
    memory.rebuild = lambda f, *others: (given_features.append(f), rebuild(f, *others))
    embeddings = torch.nn.functional.normalize(torch.from_numpy(rows).float(), dim=1)
    monkeypatch.setattr(recluster, "embed_split", lambda *_: embeddings)
    callback = Recluster(FixedSchedule(0.6), PseudoLabeler(k1=12, k2=3, camera="center"))
    callback.refresh(SimpleNamespace(memory=memory, loss=None), world, 0)
    assert callback.summary["cluster/camera_entropy"] > 0.65
    assert given_features[0] is embeddings  # the memory has them as they are


class TestAtTestTime:
    def arguments(self):
        rows, identities, cameras = two_cameras(shift=1.0)
        query = np.arange(len(rows)) % 5 == 0
        parts = [(rows[m], identities[m], cameras[m]) for m in (query, ~query)]
        return rows, identities, cameras, query, [torch.from_numpy(a) for p in parts for a in p]

    @pytest.mark.slow
    def test_scores_are_those_of_centred_embeddings(self):
        rows, _, cameras, query, arguments = self.arguments()
        found = evaluate_retrieval(*arguments, camera_center=True)
        centered = torch.from_numpy(center(rows, cameras))
        arguments[0], arguments[3] = centered[query], centered[~query]
        assert found == evaluate_retrieval(*arguments)
        assert found["mAP"] > evaluate_retrieval(*self.arguments()[-1])["mAP"] + 0.05

    def test_the_metric_does_the_same(self):
        rows, identities, cameras, query, arguments = self.arguments()
        metric = ReIDRetrieval(camera_center=True)
        metric.update(
            *(torch.from_numpy(a) for a in (rows, identities, cameras, query)),
            indices=torch.arange(len(rows)),
        )
        expected = evaluate_retrieval(*arguments, camera_center=True)
        assert {k: float(v) for k, v in metric.compute().items()} == pytest.approx(
            {k: float(v) for k, v in expected.items()}
        )

    def test_without_cameras_it_is_an_error(self):
        *_, arguments = self.arguments()
        arguments[2], arguments[5] = -torch.ones(24, dtype=int), -torch.ones(96, dtype=int)
        with pytest.raises(ValueError, match="no camera"):
            evaluate_retrieval(*arguments, camera_center=True)
        arguments[2], arguments[5] = torch.arange(24), 24 + torch.arange(96)
        with pytest.raises(ValueError, match="no camera has two of these images"):
            evaluate_retrieval(*arguments, camera_center=True)

    @pytest.mark.slow
    def test_a_training_says_that_it_did(self, command, tiny):
        arguments = [*tiny, "epochs=1", "clustering.camera=center", "output=plain"]
        assert command(*arguments).code == 0
        arguments = [*arguments[:-1], "evaluate.camera_center=true", "output=centered"]
        outcome = command(*arguments)
        assert outcome.code == 0, outcome.err
        plain, centered = (
            json.loads(Path(name, "results.json").read_text()) for name in ("plain", "centered")
        )
        assert centered["note"] == "camera-centred at test time"
        assert "note" not in plain
        assert centered["initial"]["mAP"] != plain["initial"]["mAP"]  # the same network
        assert centered["clusters"] == plain["clusters"]
        assert "camera-centred at test time" in " ".join(outcome.out.split())
        assert EvaluatedModule.camera_center is False
        refused = command("resume=centered", "evaluate.camera_center=false")
        assert refused.code == 2
        assert "camera_center=false: earlier epochs of this run were" in refused.err
        assert json.loads(Path("centered/results.json").read_text()) == centered
        for name in ("config.yaml", ".hydra/overrides.yaml"):
            assert "camera_center=false" not in Path("centered", name).read_text()
            assert "camera_center: false" not in Path("centered", name).read_text()

    def test_scores_of_two_protocols_are_not_put_into_one_table(self):
        saved = EvaluationEvery(1, camera_center=True).state_dict()
        EvaluationEvery(3, camera_center=True).load_state_dict(saved)
        with pytest.raises(
            UserError, match="camera_center=false: earlier epochs of this run were evaluated"
        ):
            EvaluationEvery(1).load_state_dict(saved)

    def test_where_nothing_was_scored_nothing_is_said_of_scores(self):
        assert "note" not in summarize_run([{"epoch": 0}], 0, 1, camera_center=True)

    def test_the_setting_reaches_the_metric_and_the_results(self):
        class Module(EvaluatedModule):
            def networks(self):
                return {"val": torch.nn.Identity()}

        module = Module()
        for chosen in (True, False):
            EvaluationEvery(1, chosen, "market1501").setup(None, module, "validate")
            module.on_validation_epoch_start()
            assert module.retrieval["val"].camera_center is chosen
            results = summarize_run([{"epoch": 0, "val/mAP": 0.5} | SCORED], 0, 1, {"mAP": 60.0},
                                    camera_center=chosen)  # fmt: skip
            assert ("note" in results) is chosen
            assert ("difference" in results) is not chosen
        with pytest.raises(TypeError, match=r"evaluate\.camera_center must be true or false"):
            EvaluationEvery(1, camera_center="yes")

    def test_an_evaluation_says_that_it_did(self, command, tiny):
        arguments = [argument for argument in tiny if not argument.startswith("callbacks")]
        arguments += ["task=evaluate", "ckpt=bundled", "evaluate.camera_center=true", "output=run"]
        outcome = command(*arguments)
        assert outcome.code == 0, outcome.err
        results = json.loads(Path("run/results.json").read_text())
        assert results["note"] == "camera-centred at test time"
        assert results["options"]["camera_center"] is True
        assert "camera-centred at test time" in Path("run/matrix.md").read_text()
        assert "camera-centred at test time" in Path("run/matrix.csv").read_text()
        assert "camera-centred" in outcome.out


def test_a_dataset_without_cameras_is_one_line():
    rows, identities, _ = two_cameras(4)
    unknown = np.full(len(rows), -1)
    paths = tuple(Path(f"{i}.jpg") for i in range(len(rows)))
    trainer, module, datamodule = fakes(Records(paths, identities, unknown))
    for camera in ("center", "whiten", "penalty", "proxies", "ca_jaccard"):
        callback = Recluster(FixedSchedule(0.6), PseudoLabeler(camera=camera))
        with pytest.raises(
            UserError, match=f"clustering.camera={camera}: .*choose clustering.camera=none"
        ) as seen:
            callback.setup(trainer, module, "fit")
        assert "\n" not in str(seen.value)
    each = Records(paths, identities, np.arange(len(rows)))
    trainer, module, _ = fakes(each)
    with pytest.raises(UserError, match="no camera has two training images"):
        Recluster(FixedSchedule(0.6), PseudoLabeler(camera="center")).setup(trainer, module, "fit")
    trainer, module, datamodule = fakes(Records(paths, identities, unknown))
    Recluster(FixedSchedule(0.6), PseudoLabeler()).setup(trainer, module, "fit")
    assert datamodule.label_source is not None


def fakes(records, teacher=None):
    """A trainer, a module and a datamodule as far as ``Recluster.setup`` looks at them."""
    module = object.__new__(DCCCModule)
    module.__dict__ |= {"teacher": teacher, "_modules": {}, "_parameters": {}, "_buffers": {}}
    datamodule = object.__new__(ReIDDataModule)
    datamodule._splits = SimpleNamespace(train=records)
    datamodule.labels_epoch, datamodule.match = -1, "mean"
    trainer = SimpleNamespace(
        datamodule=datamodule,
        reload_dataloaders_every_n_epochs=1,
        world_size=1,
        current_epoch=0,
        max_epochs=1,
    )
    return trainer, module, datamodule
