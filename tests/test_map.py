"""The map: frames after evaluated epochs, their files and their page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dccc_lightning.data.records import Records, Splits
from dccc_lightning.metrics.cluster_margins import cluster_margins
from dccc_lightning.metrics.cluster_quality import churn, matched_clusters
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.reports.map_frames import (
    MapImages,
    frame_epochs,
    make_frame,
    read_frame,
    read_images,
    write_frame,
    write_images,
)
from dccc_lightning.training.callbacks import map_files
from dccc_lightning.training.callbacks.map_files import MapFiles


def embeddings(people=6, images=12, noise=0.3, seed=0, dimensions=32):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), images)
    rows = random.normal(size=(people, dimensions))[labels]
    rows = rows + noise * random.normal(size=rows.shape)
    labels[::7] = -1
    return UnitEmbeddings.of(rows), labels


@pytest.fixture(scope="module")
def frame():
    return make_frame(*embeddings(), epoch=3)


def test_a_frame_has_the_neighbours_and_margins_of_the_embeddings(frame):
    unit, labels = embeddings()
    distances = 1 - unit.rows @ unit.rows.T
    np.fill_diagonal(distances, -1)
    assert frame.neighbors.tolist() == distances.argsort(axis=1)[:, 1:7].tolist()
    margins = cluster_margins(labels, unit)
    np.testing.assert_allclose(frame.distances, margins.own, rtol=1e-6)
    np.testing.assert_allclose(frame.margins, margins.margin, rtol=1e-6)
    np.testing.assert_array_equal(frame.clusters, labels)
    assert frame.points.shape == (72, 2)


def test_a_frame_begins_with_the_one_before_so_that_images_stay(frame):
    later, labels = embeddings(noise=0.25)
    mirrored = replace(frame, points=frame.points * np.array([-1, 1], dtype=np.float32))
    for start in (frame, mirrored):
        moved = make_frame(later, labels, 5, start=start)
        assert np.corrcoef(start.points.ravel(), moved.points.ravel())[0, 1] > 0.8
    again = make_frame(later, labels, 5, start=mirrored)
    np.testing.assert_array_equal(moved.points, again.points)


def test_blocks_of_the_steps_are_returned_before_a_frame_is_made(tmp_path, monkeypatch):
    order, original = [], map_files.make_frame
    monkeypatch.setattr(map_files, "release_freed_memory", lambda: order.append("released"))
    monkeypatch.setattr(map_files, "make_frame", lambda *a: order.append("made") or original(*a))
    unit, labels = embeddings(people=2)
    train, none = Records.from_rows([("a.jpg", n, 0) for n in labels]), Records.from_rows([])
    MapFiles(tmp_path, 1).make(Splits("two", tmp_path, train, none, none), 0, unit, labels)
    assert order == ["released", "made"]
    assert frame_epochs(tmp_path / "map") == [0]


def test_more_images_than_wanted_are_a_fixed_sample_with_neighbours_among_them():
    unit, labels = embeddings()
    found = make_frame(unit, labels, most=40)
    np.testing.assert_array_equal(found.images, make_frame(unit, labels, most=40).images)
    assert found.neighbors.max() < 40
    rows = unit.rows[found.images]
    distances = 1 - rows @ rows.T
    np.fill_diagonal(distances, 2)
    np.testing.assert_array_equal(found.neighbors[:, 0], distances.argmin(axis=1))
    np.testing.assert_allclose(found.margins, cluster_margins(labels, unit).margin[found.images])
    assert len(make_frame(unit, labels, start=found).images) == 72  # another sample: anew


@pytest.mark.parametrize("images", [1, 2, 9])
def test_few_images_and_one_that_is_an_outlier_come_back_as_written(images, tmp_path):
    unit, labels = embeddings()
    written = make_frame(unit[np.arange(images)], labels[:images] * 0 - 1, 9)
    write_frame(tmp_path, written)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_0009.parquet"]
    read = read_frame(tmp_path, 9)
    for name in ("images", "points", "clusters", "distances", "margins", "neighbors", "epoch"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert read_frame(tmp_path, 8) is None


def test_files_of_a_map_are_read_in_order_and_damage_is_named(frame, tmp_path):
    assert read_images(tmp_path) is None
    for epoch in (11, 2):
        write_frame(tmp_path, replace(frame, epoch=epoch))
    (tmp_path / "epoch_x.parquet").touch()
    assert frame_epochs(tmp_path) == [2, 11]
    write_images(tmp_path, MapImages(["a.jpg", "ü.jpg"], ["1", None], [None, None]))
    assert read_images(tmp_path) == MapImages(["a.jpg", "ü.jpg"], ["1", None], [None, None])
    (tmp_path / "epoch_0002.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="epoch_0002"):
        read_frame(tmp_path, 2)


@pytest.mark.parametrize(
    ("every", "frames", "last", "wanted"),
    [(2, 8, 16, [1, 3, 5, 7, 9, 11, 13, 15]), (2, 8, 5, [1, 3, 4]), (100, 8, 3, [2]),
     (1, 1, 9, [8]), (2, 4, 70, [1, 23, 47, 69]), (1, 2, 10, [0, 9])],
)  # fmt: skip
def test_evaluated_epochs_have_frames_evenly_and_the_last_always(every, frames, last, wanted):
    assert MapFiles("run", every, frames).epochs(last) == wanted


def test_clusters_are_matched_as_the_churn_counts_them():
    random = np.random.default_rng(0)
    for _ in range(20):
        now, before = random.integers(-1, 6, (2, 40))
        pairs = matched_clusters(now, before)
        assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
        match = dict(pairs[:, :2].tolist())
        kept = [
            (a < 0 and b < 0) or (a >= 0 and match.get(a) == b)
            for a, b in zip(now, before, strict=True)
        ]
        assert churn(now, before) == pytest.approx(1 - np.mean(kept))
    assert matched_clusters([0, 0, -1], [-1, -1, 0]).shape == (0, 3)


@pytest.mark.slow
def test_a_run_writes_a_frame_for_each_evaluated_epoch(command, tiny, tmp_path):
    tiny = [argument for argument in tiny if argument != "callbacks.map=null"]
    outcome = command(*tiny, "output=run", "epochs=4", "eval_every=2", "callbacks.map.images=40")
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "run/map"
    assert frame_epochs(folder) == [1, 3]
    images = read_images(folder)
    assert len(images) == len(read_frame(folder, 3).images) == 40
    assert all(Path(path).is_file() for path in images.paths)
