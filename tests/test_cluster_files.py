"""Which image is in which cluster: distances and margins, and the files of a run."""

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dccc_lightning.data.records import Records, Splits
from dccc_lightning.metrics.cluster_margins import cluster_margins
from dccc_lightning.neighbors import UnitEmbeddings
from dccc_lightning.reports.cluster_page import cluster_page
from dccc_lightning.reports.cluster_table import (
    cluster_sizes,
    cluster_table,
    read_cluster_table,
    write_cluster_table,
)  # fmt: skip
from dccc_lightning.reports.query_table import read_query_table


def plain_margins(labels, features):
    """One image after another, against the centre of every cluster."""
    unit = [row / np.linalg.norm(row) for row in np.asarray(features, dtype=np.float64)]
    centres = {}
    for cluster in sorted(set(labels) - {-1}):
        members = [row for row, label in zip(unit, labels, strict=True) if label == cluster]
        centres[cluster] = np.mean(members, axis=0) / np.linalg.norm(np.mean(members, axis=0))
    own, second, other = [], [], []
    for row, label in zip(unit, labels, strict=True):
        distances = {cluster: 1 - row @ centre for cluster, centre in centres.items()}
        own.append(distances.pop(label, math.nan))
        second.append(min(distances, key=distances.get, default=-1))
        other.append(distances.get(second[-1], math.nan))
    return own, second, other


@given(
    st.integers(0, 10_000),
    st.lists(st.integers(-1, 4), min_size=1, max_size=30),
    st.sampled_from([1.0, 1e-4]),
)
def test_margins_are_those_of_a_plain_loop(seed, chosen, spread):
    labels = [sorted(set(chosen) | {-1}).index(label) - 1 for label in chosen]
    rng = np.random.default_rng(seed)
    features = rng.normal(size=6) + spread * rng.normal(size=(len(labels), 6))
    features = features.astype(np.float32)
    found = cluster_margins(labels, torch.from_numpy(features))
    own, second, other = plain_margins(labels, UnitEmbeddings.of(features).rows)
    np.testing.assert_allclose(found.own, own, atol=1e-12)
    np.testing.assert_allclose(found.other, other, atol=1e-12)
    assert found.second.tolist() == second
    np.testing.assert_allclose(found.margin, np.subtract(other, own), atol=1e-12)


def test_distances_of_equal_images_are_exactly_zero():
    rng = np.random.default_rng(0)
    different = rng.normal(size=(40, 2048)).astype(np.float32)
    labels = np.arange(80) % 40  # an image and its copy in each cluster, then a cluster each
    found = cluster_margins(labels, np.concatenate([different, 3 * different]))
    assert np.array_equal(found.own, np.zeros(80))
    assert found.other.min() > 0.5
    alone = cluster_margins(np.arange(80), np.concatenate([different, 3 * different]))
    for distances in alone.own, alone.other, alone.margin:
        assert np.array_equal(distances, np.zeros(80))


def test_blocks_are_joined(monkeypatch):
    rng = np.random.default_rng(0)
    labels, features = rng.integers(-1, 7, 50), rng.normal(size=(50, 4)).astype(np.float32)
    whole = cluster_margins(labels, features)
    monkeypatch.setattr("dccc_lightning.metrics.cluster_margins._BLOCK", 7)
    for part, expected in zip(cluster_margins(labels, features), whole, strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-12)
    with pytest.raises(ValueError, match="one length, got 3 and 50"):
        cluster_margins([0, 0, 1], features)


def test_a_run_says_which_image_is_in_which_cluster(command, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command(*tiny, "epochs=2", "callbacks.clusters.every=2", "output=run").code == 0
    table = pyarrow.parquet.ParquetFile("run/clusters.parquet").read(use_threads=False)
    rows = table.to_pylist()
    with Path("run/clusters.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [row["path"] for row in rows]
    with Path("run/metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    clusters = {row["cluster"] for row in rows if not row["outlier"]}
    assert clusters == set(range(int(float(last["cluster/num_clusters"]))))
    share = np.mean([row["outlier"] for row in rows])
    assert share == pytest.approx(float(last["cluster/outlier_ratio"]))
    for row in rows:
        assert row["outlier"] == (row["cluster"] == -1) == (row["distance"] is None)
        assert row["camera"]
        assert row["second"] != row["cluster"]
        assert (row["margin"] is None) == row["outlier"]
    report, page = Path("run/report.html").read_text(), Path("run/clusters.html").read_text()
    for cluster in clusters:
        assert f'href="clusters.html#cluster-{cluster}"' in report
        assert f'id="cluster-{cluster}"' in page
    for row in rows:
        assert Path(row["path"]).name in page
    queries = read_query_table(Path("run"))
    results = json.loads(Path("run/results.json").read_text())
    network = queries.schema.metadata[b"network"].decode()
    precision = 100 * np.mean(queries["precision"].to_numpy())
    assert precision == pytest.approx(results[network]["mAP"], abs=1e-3)
    kept = pyarrow.parquet.ParquetFile("run/clusters/epoch_0001.parquet").read(use_threads=False)
    assert kept.equals(table)
    assert not (tmp_path / "run/clusters/epoch_0000.parquet").exists()


def test_the_table_names_session_and_tracklet(tmp_path):
    columns = {"session": np.array([1, 0, -1]), "tracklet": np.array([7, -1, 7])}
    paths = tuple(tmp_path / name for name in "abc")
    records = Records(paths, np.full(3, -1), np.full(3, -1), columns)
    none = Records.from_rows([])
    splits = Splits("mine", tmp_path, records, none, none, column_names={"session": ("mon", "tue")})
    labels = np.zeros(3, dtype=np.int64)
    table = cluster_table(splits, labels, cluster_margins(labels, np.eye(3)))
    assert table.column_names[:5] == ["path", "camera", "session", "tracklet", "split"]
    assert table["session"].to_pylist() == ["tue", "mon", None]
    assert table["tracklet"].to_pylist() == ["7", None, "7"]
    assert table["camera"].to_pylist() == [None] * 3


def test_the_page_lists_every_file_of_every_cluster(tmp_path):
    paths = [tmp_path / "cam<1>" / f"{name}.jpg" for name in ("a", "b&c", "d", "e", "f")]
    records = Records.from_rows([(path, -1, camera) for camera, path in enumerate(paths)])
    none = Records.from_rows([])
    labels = np.array([1, 1, 0, -1, 1])
    features = np.array([[1, 0.2], [1, 0], [0, 1], [-1, 0], [0.1, 1]])
    splits = Splits("mine", tmp_path, records, none, none)
    table = cluster_table(splits, labels, cluster_margins(labels, features))
    assert cluster_sizes(table) == [(1, 3), (0, 1)]
    page = cluster_page(table, "mine: clusters")
    headings = re.findall(r"<summary>(.*?)</summary>", page)
    assert headings == [
        "Cluster 1: 3 images, 3 cameras",
        "Cluster 0: 1 image, 1 camera",
        "Outliers: 1 image, 1 camera",
    ]
    assert re.findall(r">([^<>]*)</a>", page)[0] == "a.jpg"  # nearest to its centre
    assert "nearer to cluster 0" in page.partition("f.jpg</a>")[2].partition("</li>")[0]
    assert "cam%3C1%3E/b%26c.jpg" in page
    assert "<1>" not in page
    write_cluster_table(tmp_path / "clusters", table)
    assert read_cluster_table(tmp_path / "clusters").equals(table)
    assert read_cluster_table(tmp_path / "none") is None
