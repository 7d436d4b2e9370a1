"""Outliers dropped, kept as single centroids or attached; labels that neighbourhoods bear out."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.clustering.dcps import FixedSchedule
from dccc_lightning.clustering.experimental.attachment import attach, centroids
from dccc_lightning.clustering.experimental.refinement import agreement, refine
from dccc_lightning.clustering.outliers import number_without_gaps, outliers_to_clusters
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.data.records import Records
from dccc_lightning.errors import UserError
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.neighbors.nearest import knn
from dccc_lightning.reports.metrics_table import read_rows
from dccc_lightning.training.callbacks import recluster
from dccc_lightning.training.callbacks.recluster import Recluster
from test_ddp import assert_same_results, run


def normalized(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def scene(seed=0, people=6, images=8, noise=0.3):
    """Clusters, and between them some images of nobody."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.repeat(np.arange(people), images), np.full(12, -1)])
    middles = rng.normal(size=(people, 16))
    rows = np.concatenate([middles[labels[:-12]], rng.normal(size=(12, 16))])
    rows[-12:-6] += 2 * middles  # six are of somebody, in part
    return normalized(rows + noise * rng.normal(size=rows.shape)), labels


def slow_attach(labels, rows, within):
    rows = rows.astype(np.float64)
    clusters = range(labels.max() + 1)
    middles = [normalized(rows[labels == c].mean(axis=0)[None])[0] for c in clusters]
    reach = [
        within * np.mean([np.linalg.norm(row - middles[c]) for row in rows[labels == c]])
        for c in clusters
    ]
    attached = labels.copy()
    for image in np.flatnonzero(labels < 0):
        distances = [np.linalg.norm(rows[image] - middle) for middle in middles]
        nearest = int(np.argmin(distances))
        if distances[nearest] <= reach[nearest]:
            attached[image] = nearest
    return attached


@pytest.mark.parametrize("seed", range(8))
def test_an_outlier_between_two_clusters_joins_the_first(seed):
    # The halves of one cluster's rows are swapped in the other's: only rounding tells them apart.
    a, b, c, own = np.random.default_rng(seed).integers(1, 99, (4, 40))
    rows = np.block([[a, b], [a, c], [b, a], [c, a], [own, own]])
    labels = np.array([0, 0, 1, 1, -1])
    for order in ([0, 1, 2, 3, 4], [2, 3, 0, 1, 4]):
        assert attach(labels, rows[order], within=9).tolist() == [0, 0, 1, 1, 0]


labelings = st.lists(st.integers(-1, 4), min_size=1, max_size=30).map(np.array)


class TestNumbers:
    @settings(max_examples=25, deadline=None)
    @given(labelings)
    def test_singles_are_new_clusters_of_one(self, labels):
        labels = number_without_gaps(labels)
        found = outliers_to_clusters(labels)
        np.testing.assert_array_equal(found[labels >= 0], labels[labels >= 0])
        assert np.unique(found).tolist() == list(range(found.max() + 1))
        assert all(np.sum(found == single) == 1 for single in found[labels < 0])
        assert np.all(np.diff(found[labels < 0]) > 0)

    @settings(max_examples=25, deadline=None)
    @given(labelings)
    def test_renumbering_closes_gaps_and_keeps_the_order(self, labels):
        found = number_without_gaps(labels)
        np.testing.assert_array_equal(found < 0, labels < 0)
        names = np.unique(labels[labels >= 0]).tolist()
        assert [names[n] for n in found[found >= 0]] == labels[labels >= 0].tolist()

    def test_centroids_are_those_of_the_memory(self):
        rows, labels = scene()
        memory = ClusterMemory(16)
        memory.rebuild(torch.from_numpy(rows), labels)
        np.testing.assert_allclose(centroids(rows, labels), memory.centroids, atol=1e-6)


class TestAttaching:
    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 99), st.sampled_from([0.0, 0.9, 1.3, 2.0, 9.0]))
    def test_is_that_of_a_loop_over_images(self, seed, within):
        rows, labels = scene(seed)
        found = attach(labels, rows.astype(np.float32), within)
        np.testing.assert_array_equal(found, slow_attach(labels, rows.astype(np.float32), within))

    def test_takes_more_the_further_it_may_reach_and_keeps_the_clustered(self):
        rows, labels = scene()
        taken = [int((attach(labels, rows, within) >= 0).sum()) for within in (0, 1.3, 2, 9)]
        assert taken[0] == 48
        assert taken == sorted(taken)
        assert taken[0] < taken[2] < taken[3] == len(labels)
        np.testing.assert_array_equal(attach(labels, rows, 9)[:48], labels[:48])

    def test_goes_block_by_block(self, monkeypatch):
        rows, labels = scene()
        expected = attach(labels, rows, 2)
        monkeypatch.setattr("dccc_lightning.clustering.experimental.attachment._BLOCK", 1)
        np.testing.assert_array_equal(attach(labels, rows, 2), expected)


def slow_agreement(labels, indices):
    shares = []
    for label, around in zip(labels, indices, strict=True):
        possible = min(len(around), np.sum(labels == label) - 1)
        alike = sum(labels[j] == label for j in around)
        shares.append(0.0 if label < 0 else alike / possible if possible else 1.0)
    return shares


class TestRefinement:
    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 99), st.integers(1, 12), st.floats(0, 1))
    def test_keeps_what_both_views_bear_out(self, seed, k, share):
        rows, labels = scene(seed, noise=0.8)
        views = [rows, scene(seed, noise=1.0)[0]]
        shares = [slow_agreement(labels, knn(view, k + 1)[1][:, 1:]) for view in views]
        expected = [
            label if min(ours) >= share else -1
            for label, *ours in zip(labels.tolist(), *shares, strict=True)
        ]
        alone = [label for label in expected if expected.count(label) == 1]
        expected = [-1 if label in alone else label for label in expected]
        assert refine(labels, views, share, k).tolist() == expected

    def test_a_wrong_label_is_taken_back(self):
        rows, labels = scene(noise=0.1)
        wrong = labels.copy()
        wrong[3] = 4
        kept = refine(wrong, [rows, rows], 0.5, 6)
        assert kept[3] == -1
        np.testing.assert_array_equal(np.delete(kept, 3), np.delete(labels, 3))

    def test_nobody_is_left_alone(self):
        angles = np.deg2rad([0, 10, 12, 40, 41])
        rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        labels = np.array([0, 0, -1, 1, 1])  # the second is nearest to the third, the first to it
        assert agreement(labels, knn(rows, 2)[1][:, 1:]).tolist() == [1, 0, 0, 1, 1]
        assert refine(labels, [rows], 0.5, 1).tolist() == [-1, -1, -1, 1, 1]

    def test_one_view_that_disagrees_is_enough(self):
        rows, labels = scene(noise=0.1)
        other = rows.copy()
        other[3] = rows[10]
        assert refine(labels, [rows, rows], 0.5, 6)[3] == labels[3]
        assert refine(labels, [rows, other], 0.5, 6)[3] == -1

    def test_more_neighbours_than_images_are_all_of_them(self):
        rows, labels = scene()
        np.testing.assert_array_equal(
            refine(labels, [rows], 0.5, 10**6), refine(labels, [rows], 0.5, len(labels) - 1)
        )

    def test_the_smallest_clusters(self):
        assert agreement(np.array([0, 1, 1]), np.array([[1], [0], [1]])).tolist() == [1, 0, 1]


class Fixed:
    """A clustering that always gives the same labels."""

    def __init__(self, labels):
        self.labels = labels

    def fit_predict(self, graph, eps):
        return self.labels.copy()


def labeler(labels, **chosen):
    return PseudoLabeler(k1=8, k2=2, algorithm=Fixed(labels), **chosen)


class TestPseudoLabels:
    def test_dropped_is_the_default_and_single_leaves_the_labels(self):
        rows, labels = scene()
        for chosen in ({}, {"outliers": "single"}):
            found = labeler(labels, **chosen)(rows, FixedSchedule(0.6), 0)
            np.testing.assert_array_equal(found.labels, labels)
            assert (found.attached, found.refined) == (0, 0)

    def test_attached_are_counted(self):
        rows, labels = scene()
        found = labeler(labels, outliers="attach", attach_within=2.0)(rows, FixedSchedule(0.6), 0)
        np.testing.assert_array_equal(found.labels, attach(labels, rows, 2.0))
        assert found.attached == int((found.labels >= 0).sum()) - 48 > 0

    def test_refinement_comes_last_and_leaves_no_gaps(self):
        rows, labels = scene(noise=0.1)
        scattered = np.where(labels == 2, -1, labels)
        scattered[[0, 9, 25, 33]] = 2  # a cluster of strangers, which all disown
        chosen = {"outliers": "attach", "attach_within": 9.0, "refine": 0.5, "refine_neighbors": 5}
        found = labeler(scattered, **chosen)(rows, FixedSchedule(0.6), 0, views=[rows, rows])
        expected = refine(attach(scattered, rows, 9.0), [rows, rows], 0.5, 5)
        assert found.num_clusters == 5
        assert np.unique(found.labels).tolist() == [-1, 0, 1, 2, 3, 4]
        np.testing.assert_array_equal(found.labels, number_without_gaps(expected))
        assert found.refined == int(np.sum(attach(scattered, rows, 9.0) != expected)) >= 4

    def test_two_clusters_are_left_in_any_case(self, caplog):
        rng = np.random.default_rng(0)
        rows, labels = rng.normal(size=(40, 16)), np.arange(40) % 2
        found = labeler(labels, refine=1.0)(rows, FixedSchedule(0.6), 3, views=[rows, rows])
        np.testing.assert_array_equal(found.labels, labels)
        assert "epoch 3: refinement would leave fewer than two clusters" in caplog.text

    def test_refinement_needs_views(self):
        rows, labels = scene()
        with pytest.raises(ValueError, match="refine needs views"):
            labeler(labels, refine=0.5)(rows, FixedSchedule(0.6), 0)

    @pytest.mark.parametrize(
        "chosen",
        [{"outliers": "keep"}, {"attach_within": -1.0}, {"refine": 1.1}, {"features": "mean"},
         {"refine_neighbors": 0}],
    )  # fmt: skip
    def test_refuses_bad_settings(self, chosen):
        with pytest.raises(ValueError, match=next(iter(chosen))):
            PseudoLabeler(**chosen)


class World:
    """A module with student and teacher, and a datamodule, as far as ``refresh`` knows them."""

    def __init__(self, student, teacher, monkeypatch):
        self.rows = {"student": student, "teacher": teacher}
        self.teacher, self.labels = "teacher", None
        paths = tuple(Path(f"{i}.jpg") for i in range(len(student)))
        nobody = np.full(len(student), -1)
        self.splits = SimpleNamespace(train=Records(paths, nobody, nobody))
        self.memory, self.match = ClusterMemory(student.shape[1]), "mean"
        self.loss = None
        self.embedded = []
        monkeypatch.setattr(recluster, "embed_split", self.embed)

    def embed(self, module, datamodule, split, network="student"):
        self.embedded.append(network)
        return torch.from_numpy(self.rows[network]).float()

    def set_pseudo_labels(self, labels, epoch):
        self.labels = labels

    def refresh(self, chosen):
        callback = Recluster(FixedSchedule(0.6), chosen)
        callback.refresh(self, self, 0)
        return callback


class TestRecluster:
    def test_single_outliers_are_centroids_that_no_batch_has(self, monkeypatch):
        rows, labels = scene()
        world = World(rows, rows, monkeypatch)
        summary = world.refresh(labeler(labels, outliers="single")).summary
        np.testing.assert_array_equal(world.labels, labels)  # -1 is never drawn
        assert world.memory.num_clusters == 6 + 12
        np.testing.assert_allclose(world.memory.centroids[6:], rows[-12:], atol=1e-6)
        assert (summary["cluster/num_clusters"], summary["cluster/outliers"]) == (6, 12)
        world.refresh(labeler(labels))
        assert world.memory.num_clusters == 6

    @pytest.mark.parametrize("features", ["student", "teacher", "average"])
    def test_memory_and_clusters_are_of_the_features_chosen(self, monkeypatch, features):
        rows, labels = scene()
        other = normalized(rows + 0.2 * np.random.default_rng(5).normal(size=rows.shape))
        world = World(rows, other, monkeypatch)
        world.refresh(labeler(labels, features=features))
        used = {"student": rows, "teacher": other, "average": normalized(rows + other)}[features]
        np.testing.assert_allclose(
            world.memory.centroids, centroids(used.astype(np.float32), labels), atol=1e-6
        )
        both = ["student", "teacher"]
        assert world.embedded == (both if features == "average" else [features])

    @pytest.mark.parametrize("features", ["student", "teacher"])
    def test_refinement_asks_both_networks(self, monkeypatch, features):
        rows, labels = scene(noise=0.1)
        other = rows.copy()
        other[3] = rows[10]  # the teacher sees somebody else
        world = World(rows, other, monkeypatch)
        chosen = labeler(labels, refine=0.5, refine_neighbors=6, features=features)
        summary = world.refresh(chosen).summary
        assert world.labels[3] == -1
        assert summary["cluster/refined"] == 1
        assert "cluster/attached" not in summary

    def test_the_teacher_may_be_what_is_not_finite(self, monkeypatch):
        rows, labels = scene()
        other = rows.copy()
        other[7, 2] = np.nan
        world = World(rows, other, monkeypatch)
        with pytest.raises(UserError, match=r"embedding of 7\.jpg is NaN"):
            world.refresh(labeler(labels, features="teacher"))

    def test_plain_labelers_are_told_nothing_new(self, monkeypatch):
        rows, labels = scene()

        class Old(PseudoLabeler):
            def __call__(self, features, schedule, epoch):
                return super().__call__(features, schedule, epoch)

        world = World(rows, rows, monkeypatch)
        summary = world.refresh(Old(k1=8, k2=2, algorithm=Fixed(labels))).summary
        assert not {"cluster/attached", "cluster/refined"} & set(summary)
        assert world.embedded == ["student"]


@pytest.mark.slow
def test_all_of_it_trains_and_resumes(command, tiny):
    """The whole road; a good part of the images are outliers at this eps."""
    arguments = [
        *tiny, "clustering.camera=center", "clustering.outliers=single", "clustering.refine=0.3",
        "clustering.features=average", "scheduler=fixed", "scheduler.start=0.3",
        "eval_every=1",
    ]  # fmt: skip
    outcome = command(*arguments, "output=whole")
    assert outcome.code == 0, outcome.err
    assert command(*arguments, "epochs=1", "output=parts").code == 0
    assert command("resume=parts", "epochs=2").code == 0
    whole, parts = (Path(name, "metrics.csv").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    saved = torch.load("whole/checkpoints/last.ckpt", weights_only=True, map_location="cpu")
    labels = saved["ReIDDataModule"]["labels"]
    singles = int((labels < 0).sum())
    assert singles > 0
    assert len(saved["state_dict"]["memory.centroids"]) == int(labels.max()) + 1 + singles
    assert len(json.loads(Path("parts/results.json").read_text())["clusters"]) == 2


def test_a_loss_without_a_teacher_has_no_teacher_to_ask(command, tiny):
    outcome = command(*tiny, "loss=cluster_contrast", "clustering.features=teacher", "output=run")
    assert outcome.code == 2
    assert "clustering: features and refine need the teacher" in " ".join(outcome.err.split())


@pytest.mark.slow
@pytest.mark.ddp
@pytest.mark.parametrize(
    ("choices", "others"),
    [
        (["camera=whiten", "outliers=single", "refine=0.3", "features=average"], []),
        (
            ["camera=proxies", "outliers=attach", "features=teacher"],
            ["scheduler=adaptive", "scheduler.criterion=valley"],
        ),
        (["camera=penalty", "outliers=single"], ["clustering=hdbscan"]),
    ],
)
def test_two_processes_find_what_one_finds(choices, others, tiny, tmp_path):
    arguments = [*tiny, *others, *(f"clustering.{choice}" for choice in choices)]
    for devices in (1, 2):
        outcome = run(tmp_path, *arguments, f"trainer.devices={devices}", f"output={devices}")
        assert outcome.returncode == 0, outcome.stderr
    assert any(row["cluster/outliers"] > 0 for row in read_rows(tmp_path / "1" / "metrics.csv")[1:])
    assert_same_results(tmp_path / "1", tmp_path / "2", epochs=2)
