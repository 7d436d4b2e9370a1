"""Panels against slow and plain references, and the page that they end up on."""

import errno
import html as html_module
import json
import re
import shlex
import subprocess
import sys
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning.trainer.states import TrainerFn
from scipy.sparse import csr_matrix

from browser import CHROMIUM, chromium
from dccc_lightning.clustering.jaccard import NeighborGraph, jaccard_graph
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.common import progress
from dccc_lightning.data.records import Records
from dccc_lightning.errors import UnwritableFileError, UserError
from dccc_lightning.metrics import cluster_quality
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval
from dccc_lightning.module import DCCCModule
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.reports import make_panels
from dccc_lightning.reports.boards import cluster_boards, fonts
from dccc_lightning.reports.boards.cluster_boards import ClusterFigures, cluster_rows, outlier_rows
from dccc_lightning.reports.boards.ranking_board import Split, ranking_rows
from dccc_lightning.reports.boards.thumbnails import Thumbnails
from dccc_lightning.reports.figures.chart import PALETTE, Chart, set_tooltips, to_svg
from dccc_lightning.reports.figures.cluster_sizes import size_chart
from dccc_lightning.reports.figures.distance_histograms import (
    distance_charts,
    distance_histograms,
)
from dccc_lightning.reports.figures.embedding_map import (
    layout,
    map_charts,
    sample,
    within_square,
)
from dccc_lightning.reports.figures.label_flow import flow_chart, label_flow
from dccc_lightning.reports.figures.training_curves import (
    eps_choices,
    plot_curves,
    training_curves,
)
from dccc_lightning.reports.make_panels import Clustered, Evaluated
from dccc_lightning.reports.map_frames import make_frame
from dccc_lightning.reports.panels import read_panels, write_panels
from dccc_lightning.reports.run_page import Report, run_page, write_report
from dccc_lightning.training.callbacks import running_page
from dccc_lightning.training.callbacks.epoch_panels import Panels
from dccc_lightning.training.callbacks.recluster import Recluster
from dccc_lightning.training.callbacks.running_page import RunningPage, follow
from environment import with_modules

EVIL = "</script><img src=x onerror=console.error(1)>"
BOARDS = {f"clusters/{kind}" for kind in ("largest", "tightest", "loosest", "outliers")}
ALWAYS = BOARDS | {"map", "distances", "sizes", "flow", "thumbnails/boards", "thumbnails/map"}


def records(identities, cameras):
    rows = [(Path(f"{i}.jpg"), int(p), int(c)) for i, (p, c) in
            enumerate(zip(identities, cameras, strict=True))]  # fmt: skip
    return Records.from_rows(rows)


def world(seed=0, people=6, images=10, labelled=True):
    """Unit embeddings of people, labels with two outliers and one mixed cluster."""
    random = np.random.default_rng(seed)
    identities = np.repeat(np.arange(people), images)
    centers = random.normal(size=(people, 16))
    rows = centers[identities] + 0.3 * random.normal(size=(len(identities), 16))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    labels = identities.copy()
    labels[[3, 4]] = -1
    labels[images : images + 3] = 0
    known = identities if labelled else np.full(len(identities), -1)
    return rows, labels, records(known, random.integers(0, 3, len(identities)))


def load(split, indices, height):
    """An image whose red channel is its position."""
    pixels = np.zeros((len(indices), height, height // 2, 3), dtype=np.uint8)
    pixels[..., 0] = np.asarray(indices)[:, None, None] % 251
    pixels[..., 1] = {"train": 0, "query": 90, "gallery": 180}[split]
    return pixels


def all_panels(load=load):
    """All panels of the world."""
    rows, labels, train = world()
    query, _, whose = world(seed=1)
    frame = make_frame(UnitEmbeddings.of(rows), labels)
    labeler = PseudoLabeler(8, 3)
    found = Clustered(rows, labels, np.roll(labels, 1), 0.5, train, labeler, frame=frame)
    evaluated = Evaluated(query[::5], query, whose.select(range(0, 60, 5)), whose, "teacher")
    return make_panels.make_panels(found, evaluated, load)


@pytest.fixture(scope="module")
def made():
    return {panel.name: panel for panel in all_panels()}


BROKEN = {
    "map": ("map_charts", MemoryError("Unable to allocate 8 GiB")),
    "distances": ("distance_charts", ValueError("Image size is too large")),
    "sizes": ("size_chart", RuntimeError("out of memory\nsecond line")),
    "flow": ("label_flow", KeyError(3)),
    "rankings": ("ranking_rows", np.linalg.LinAlgError("no convergence")),
    "clusters/loosest": ("board", UserError("cannot read the image x.jpg")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_picture_that_fails_is_one_warning_and_the_others_are_made(
    name, made, monkeypatch, caplog
):
    where, error = BROKEN[name]
    real = make_panels.board

    def fail(*arguments):
        if where == "board" and arguments[0] != name:
            return real(*arguments)
        raise error

    monkeypatch.setattr(f"dccc_lightning.reports.make_panels.{where}", fail)
    found = all_panels()
    lost = {name, "thumbnails/map"} if name == "map" else {name}
    assert {panel.name for panel in found} == made.keys() - lost
    (message,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert message.startswith(f"no panel {name}: ")
    assert len(message.splitlines()) == 1
    assert str(error).split("\n")[0] in message


@pytest.mark.parametrize("where", ["map_charts", "ranking_rows"])
@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left"), UnwritableFileError("x.png cannot be written")],
)
def test_a_full_disk_is_no_fault_of_a_picture(where, error, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(f"dccc_lightning.reports.make_panels.{where}", fail)
    with pytest.raises(type(error)):
        all_panels()


def test_an_image_that_has_gone_costs_the_boards_that_show_it(made, caplog):
    gone = {tile["key"] for row in made["rankings"].data["rows"] for tile in row["tiles"]}

    def load_some(split, indices, height):
        if {f"{split}/{index}" for index in indices} & gone:
            raise UserError("cannot read the image x.jpg")
        return load(split, indices, height)

    found = {panel.name: panel for panel in all_panels(load_some)}
    assert made.keys() - found.keys() == {"rankings"}
    assert [r.getMessage() for r in caplog.records] == [
        "no panel rankings: cannot read the image x.jpg"
    ]
    page = run_page(report(found.values()))
    assert '<section id="clusters">' in page
    assert '<section id="rankings">' not in page


def test_a_panel_that_cannot_be_written_costs_that_panel(made, tmp_path, monkeypatch, caplog):
    def fail(image, suffix):
        raise MemoryError

    monkeypatch.setattr("dccc_lightning.reports.panels.encoded", fail)
    write_panels(tmp_path, [made["map"], made["flow"]], 0)
    assert [record.getMessage() for record in caplog.records] == [
        f"no panel {name}: MemoryError" for name in ("map", "flow")
    ]
    assert read_panels(tmp_path) == {}


def test_many_clusters_make_a_small_chart():
    many = size_chart({"sizes": list(range(50_000, 0, -1)), "outliers": 0})
    assert len(to_svg(many)) < 20_000
    assert many.note.startswith("50,000 clusters")
    few = to_svg(size_chart({"sizes": [3, 2, 1], "outliers": 0}))
    assert tooltips(few) == ["1: 3", "2: 2", "3: 1"]


def tooltips(page):
    """Texts that are shown where a chart is pointed at."""
    return [html_module.unescape(text) for text in re.findall(r"<title>([^<]*)</title></", page)]


def chart(draw, title="chart"):
    return Chart(title, draw)


def test_a_chart_shows_its_values_and_follows_the_theme_of_its_page():
    def draw(axes):
        (line,) = axes.plot([1, 2, 3], [0.5, 0.7, 0.6], marker="o", label=EVIL)
        set_tooltips(line, ["a", EVIL, "c"])
        axes.legend()

    text = to_svg(chart(draw, EVIL))
    assert tooltips(text) == ["a", EVIL, "c"]
    assert EVIL not in text
    assert not re.search("#[0-9a-f]{6}|<style|xmlns|font-family", text)
    used = set(re.findall(r"var\(--(\w+)\)", text))
    assert {"c0", "dim", "line", "text", "card"} <= used <= PALETTE.keys()
    references = set(re.findall(r'(?:url\(|href=")#(\w+)', text))
    assert references == set(re.findall(r' id="(\w+)"', text))
    assert references
    assert references.isdisjoint(re.findall(r' id="(\w+)"', to_svg(chart(draw, "another"))))


def test_an_axis_of_epochs_has_whole_numbers_and_one_of_eps_has_not():
    choice = {"epoch": 0, "eps": 0.5, "criterion": "knee", "candidates": [0.4, 0.6],
              "scores": [0.0, 1.0]}  # fmt: skip
    rows = [{"epoch": epoch, "train/loss": 2.0 - epoch} for epoch in (0, 1)]
    (losses,), (scores,) = training_curves(rows), eps_choices([choice])
    texts = re.findall(r"text-anchor: middle[^>]*>([^<]*)<", to_svg(losses))
    assert texts == ["1", "2", "epochs trained"]
    assert ">0.44<" in to_svg(scores)


def test_dollars_in_names_are_no_formulas(tmp_path):
    plot_curves([{"epoch": 0, "train/loss": 1.0}], tmp_path / "c.png", "costs $5_{3$")
    assert (tmp_path / "c.png").exists()


def report(panels=(), **changes):
    scores = dict.fromkeys(("mAP", "mINP", "rank1", "rank5", "rank10"), 50.0)
    results = {"initial": scores, "student": scores | {"mAP": 61.25}, "teacher": None,
               "best": None, "epochs": 2, "seconds": 75.0, "seed": 1,
               "versions": {"dccc_lightning": "0.1"}}  # fmt: skip
    rows = [{"epoch": e, "step": e, "val/mAP": 0.5 + e / 10, "train/loss": 2.0 - e,
             "cluster/eps": 0.6, "cluster/num_clusters": 5} for e in range(2)]  # fmt: skip
    timings = [{"epoch": 0, "step": 1, "training": 6.0, "embedding": 2.0, "total": 8.0}]
    fields = {"title": "world", "results": results, "rows": rows, "timings": timings,
              "panels": {panel.name: (panel, 1) for panel in panels},
              "command": "python -m dccc_lightning seed=1",
              "differences": [("epochs", "16", "2")]}  # fmt: skip
    return Report(**fields | changes)


def test_every_panel_is_there_and_survives_its_files(made, tmp_path):
    assert set(made) == ALWAYS | {"clusters/mixed", "rankings"}
    assert all(panel.image is not None and panel.data for panel in made.values())
    write_panels(tmp_path, made.values(), epoch=4)
    read = read_panels(tmp_path)
    assert set(read) == set(made)
    assert all(epoch == 4 for _, epoch in read.values())
    assert read["map"][0].data == json.loads(json.dumps(made["map"].data))
    assert (tmp_path / "clusters-largest.png").exists()
    assert not list(tmp_path.glob(".*"))
    assert read_panels(tmp_path / "absent") == {}


def test_without_identities_there_is_neither_a_mixed_board_nor_a_ranking():
    rows, labels, train = world(labelled=False)
    frame = make_frame(UnitEmbeddings.of(rows), labels)
    found = Clustered(rows, labels, None, 0.5, train, PseudoLabeler(8, 3), frame=frame)
    panels = make_panels.make_panels(found, None, load)
    assert {panel.name for panel in panels} == ALWAYS - {"flow"}
    data = {panel.name: panel.data for panel in panels}
    assert "identities" not in data["distances"]
    assert "identity" not in data["map"]
    assert {tile["frame"] for row in data["clusters/largest"]["rows"] for tile in row["tiles"]} == {
        ""
    }
    assert "id " not in json.dumps(data)


def test_figures_of_clusters_are_those_of_loops():
    rows, labels, train = world()
    figures = ClusterFigures(rows, labels, train)
    for cluster in range(6):
        members = np.flatnonzero(labels == cluster)
        pairs = [1 - rows[i] @ rows[j] for i in members for j in members if i < j]
        identities = train.identities[members].tolist()
        commonest = max(sorted(set(identities)), key=identities.count)
        assert figures.sizes[cluster] == len(members)
        assert figures.spreads[cluster] == pytest.approx(np.mean(pairs), rel=1e-4)
        assert figures.commonest[cluster] == commonest
        assert figures.shares[cluster] == identities.count(commonest) / len(identities)
    assert figures.order("largest")[0] == 0
    assert figures.order("mixed").tolist() == [0]
    assert figures.order("tightest").tolist() == figures.order("loosest")[::-1].tolist()


def test_a_row_goes_outwards_and_marks_strangers():
    rows, labels, train = world()
    figures = ClusterFigures(rows, labels, train)
    row = cluster_rows(figures, "largest")[0]
    shown = [int(tile.key.split("/")[1]) for tile in row.tiles]
    near = [float(rows[i] @ figures.centroids[0]) for i in shown]
    assert near == sorted(near, reverse=True)
    for index, tile in zip(shown, row.tiles, strict=True):
        assert tile.frame == ("right" if train.identities[index] == 0 else "wrong")
    assert "11 images" in row.title
    assert "2 identities, 73% of one" in row.title
    outliers = [tile.key for row in outlier_rows(figures) for tile in row.tiles]
    assert sorted(outliers) == ["train/3", "train/4"]


@pytest.mark.parametrize("block", [1, 40, 2**22])
def test_boards_do_not_depend_on_the_size_of_blocks(block, monkeypatch):
    rows, labels, train = world()
    labels = np.where(np.arange(len(labels)) % 3 == 0, -1, labels)
    monkeypatch.setattr(cluster_boards, "_BLOCK", block)
    figures = ClusterFigures(rows, labels, train)
    outliers = np.flatnonzero(labels < 0)
    nearest = (rows[outliers] @ figures.centroids.T).max(axis=1)
    tiles = [tile for row in outlier_rows(figures) for tile in row.tiles]
    assert sorted(tile.key for tile in tiles) == sorted(f"train/{i}" for i in outliers)
    assert tiles[0].key == f"train/{outliers[nearest.argmax()]}"
    assert tiles[0].caption.startswith(f"{1 - nearest.max():.2f}\n")
    for cluster in range(6):
        center = rows[labels == cluster].astype(np.float64).sum(axis=0)
        np.testing.assert_allclose(figures.centroids[cluster], center / np.linalg.norm(center))
        row = next(r for r in cluster_rows(figures, "largest") if f"cluster {cluster} " in r.title)
        cosines = [float(rows[int(t.key[6:])] @ figures.centroids[cluster]) for t in row.tiles]
        assert cosines == sorted(cosines, reverse=True)


def test_memory_of_boards_does_not_grow_with_outliers_times_clusters(monkeypatch):
    rng, images, clusters = np.random.default_rng(0), 12_000, 4_000
    rows = rng.normal(size=(images, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = np.concatenate([np.full(images - clusters, -1), np.arange(clusters)])
    monkeypatch.setattr(cluster_boards, "_BLOCK", 2**18)
    figures = ClusterFigures(rows, labels, records(np.zeros(images), np.zeros(images)))
    tracemalloc.start()
    found = outlier_rows(figures)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 4
    assert peak < 16e6  # all cosines at once: 256 MB
    monkeypatch.setattr(cluster_boards, "MOST_COMPARED", 30 * clusters)
    assert len(outlier_rows(figures)) == 3  # of evenly spaced outliers, 30 at most


def test_rankings_follow_the_protocol():
    query, _, whose = world(seed=1)
    queries = whose.select(range(0, 60, 10))
    rows = ranking_rows(Split(query[::10], queries), Split(query, whose))
    precisions = [float(row.title.split()[-1].rstrip("%")) for row in rows]
    assert precisions == sorted(precisions, reverse=True)
    shown = evaluate_retrieval(query[::10], queries.identities, queries.cameras,
                               query, whose.identities, whose.cameras)["mAP"].item()  # fmt: skip
    assert np.mean(precisions) == pytest.approx(100 * shown, abs=0.05)
    for row in rows:
        position = int(row.tiles[0].key.split("/")[1])
        assert row.tiles[0].frame == "query"
        for tile in row.tiles[1:]:
            hit = int(tile.key.split("/")[1])
            same = whose.identities[hit] == queries.identities[position]
            assert tile.frame == ("right" if same else "wrong")
            assert not (same and whose.cameras[hit] == queries.cameras[position])


def test_rankings_are_camera_centered_where_the_scores_are():
    rows, labels, train = world()
    query, _, whose = world(seed=1)
    shifted = query + 3 * np.eye(3, 16)[whose.cameras]
    found = Clustered(rows, labels, None, 0.5, train, PseudoLabeler(8, 3))
    boards = {}
    for centers in (False, True):
        evaluated = Evaluated(shifted, shifted, whose, whose, "teacher", centers)
        panels = {panel.name: panel for panel in make_panels.make_panels(found, evaluated, load)}
        boards[centers] = panels["rankings"].data
        assert boards[centers]["note"].endswith("camera-centred at test time") is centers
    worst = [float(board["rows"][-1]["title"].split()[-1].rstrip("%")) for board in boards.values()]
    assert worst[1] > worst[0] + 10


@pytest.mark.parametrize("block", [1, 100, 2**22])
def test_distances_are_counted_as_loops_count_them(block, monkeypatch):
    monkeypatch.setattr("dccc_lightning.reports.figures.distance_histograms._BLOCK", block)
    rows, labels, train = world(images=6)
    graph = jaccard_graph(rows, 8, 3, 0.9)
    found = distance_histograms(graph, labels, train.identities, 0.5)
    full = np.full((len(rows), len(rows)), np.inf)
    stored = csr_matrix(graph.distances).tocoo()
    full[stored.row, stored.col] = stored.data
    for name, groups in (("clusters", labels), ("identities", train.identities)):
        pairs = [(i, j) for i in range(len(rows)) for j in range(i) if min(groups[[i, j]]) >= 0]
        for kind, wanted in (("within", True), ("between", False)):
            mine = [full[i, j] for i, j in pairs if (groups[i] == groups[j]) == wanted]
            near = [min(value, 0.9) for value in mine if np.isfinite(value)]
            assert found[name][kind] == np.histogram(near, found["edges"])[0].tolist()
            assert found[name][f"{kind}_beyond"] == len(mine) - len(near)


def test_a_distance_beyond_the_last_edge_by_rounding_is_counted():
    every = np.array([0, 0.9, 0.9, 0], dtype=np.float32), np.array([0, 1, 0, 1]), [0, 2, 4]
    distances = csr_matrix(every)
    one = np.zeros(2, dtype=np.int64)
    found = distance_histograms(NeighborGraph(distances, 0.9), one, one - 1, 0.5)
    assert sum(found["clusters"]["within"]) == 1


@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_the_flow_agrees_with_churn_and_counts_everyone(pairs):
    labels, previous = np.array(pairs).T
    flow = label_flow(labels, previous)
    images = [flow[name] for name in ("kept", "moved", "left", "joined", "out")]
    assert sum(images) == len(labels)
    stayed = (flow["kept"] + flow["out"]) / len(labels)
    assert stayed == pytest.approx(1 - cluster_quality.churn(labels, previous))


def test_the_flow_knows_what_merged_and_what_split():
    previous = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
    assert label_flow(np.array([5] * 6 + [6, 6, 7, 7]), previous)["merged"] == 1
    assert label_flow(np.array([5] * 6 + [6, 6, 7, 7]), previous)["split"] == 1
    assert label_flow(previous, previous)["merged"] == 0


def test_the_map_is_the_same_every_time_and_keeps_people_together():
    rows, _, _ = world(people=4, images=20)
    first = layout(rows)
    np.testing.assert_array_equal(first, layout(rows))
    square = within_square(first)
    assert (square.min(), square.max()) == (0, 1)
    people = np.repeat(np.arange(4), 20)
    gaps = np.linalg.norm(first[:, None] - first[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert np.mean(people[gaps.argmin(axis=1)] == people) > 0.9
    assert np.linalg.norm(layout(rows[:5]), axis=1) == pytest.approx(1)  # too few: a circle
    assert len(np.unique(layout(rows[:5]), axis=0)) == 5
    assert len(np.unique(layout(rows[[0] * 9]), axis=0)) == 9  # as if the network had collapsed
    chosen = sample(5000, 100)
    assert len(set(chosen.tolist())) == 100
    np.testing.assert_array_equal(chosen, sample(5000, 100))


def test_thumbnails_come_apart_as_they_were_put_together():
    keys = ["train/7", "query/3", "train/7", "gallery/250", "train/1"]
    thumbnails = Thumbnails.load(keys, load, 16)
    assert len(thumbnails.places) == 4
    again = Thumbnails.cut(thumbnails.panel("thumbnails/x", "x"))
    for name in keys:
        split, index = name.split("/")
        pixel = np.asarray(again[name])[3, 5]
        assert pixel.tolist() == load(split, [int(index)], 16)[0, 3, 5].tolist()


def test_the_page_holds_every_part_and_nothing_from_elsewhere(made):
    page = run_page(report(made.values()))
    for part in ("figures", "curves", "map", "distances", "clusters", "rankings", "time", "run"):
        assert f'<section id="{part}">' in page
    assert "61.2 %" in page
    assert "eps 0.500" in page
    assert "python -m dccc_lightning seed=1" in page
    assert "<td>epochs</td><td>16</td><td>2</td>" in page
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert not re.search(r"url\((?!#|\$\{picture\})", page)
    assert page == run_page(report(made.values()))


def test_pointing_at_charts_shows_their_values(made):
    shown = tooltips(run_page(report(made.values())))
    assert {"student, 1: 50", "student, 2: 60", "loss, 2: 1"} <= set(shown)
    counts = made["distances"].data["clusters"]
    bars = [int(text.split(": ")[1]) for text in shown if text.startswith("pairs in one cluster, ")]
    assert bars == [count for count in counts["within"] if count]
    sizes = made["sizes"].data["sizes"]
    assert [f"{rank}: {size}" for rank, size in enumerate(sizes, 1)] == [
        text for text in shown if re.fullmatch(r"\d+: \d+", text)
    ]
    flow = made["flow"].data
    bands = [f"{name}: {flow[name]}" for name in ("kept", "moved", "joined", "left", "out")]
    assert [text for text in bands if not text.endswith(": 0")] == [
        text for text in shown if text in bands
    ]


def test_a_page_and_the_picture_of_a_panel_are_one_chart(made):
    for name, charts in (("map", map_charts(made["map"].data)),
                         ("sizes", [size_chart(made["sizes"].data)]),
                         ("flow", [flow_chart(made["flow"].data)]),
                         ("distances", distance_charts(made["distances"].data))):  # fmt: skip
        page = run_page(report([made[name]]))
        assert all(to_svg(one) in page for one in charts)
        dark = np.asarray(made[name].image.convert("L")) < 200
        assert 0.001 < dark.mean() < 0.8


def test_the_page_of_a_run_without_identities_or_panels_has_no_empty_parts():
    figures = {name: {"epoch": 0, "num_clusters": 7.0, "outlier_ratio": 0.25}
               for name in ("first", "best", "last")}  # fmt: skip
    results = report().results | {"student": None, "initial": None, "figures": figures}
    page = run_page(report(results=results, timings=[]))
    assert "no identities, so no scores" in page
    assert "25.0%" in page
    assert [part for part in ("map", "rankings", "time") if f'<section id="{part}">' in page] == []


class Page(HTMLParser):
    """A page as a tree's worth of facts: elements, their text, and whether they nest."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for tag, name in self.open:
            self.texts[tag] = self.texts.get(tag, "") + data
            if name:
                self.texts[f"#{name}"] = self.texts.get(f"#{name}", "") + data + " "

    def all(self, tag, **wanted):
        return [
            found
            for name, found in self.elements
            if name == tag
            and all(found.get(key.rstrip("_")) == value for key, value in wanted.items())
        ]


def test_the_page_as_a_document_shows_all_that_it_should(made):
    page = Page(run_page(report(made.values())))
    assert page.all("meta", name="viewport")
    assert page.texts["style"].count("prefers-color-scheme: dark") == 1
    figures = page.texts["#figures"]
    for text in ("61.2 %", "50.0 % before training", "before training", "student, last epoch",
                 "rank-1", "rank-10"):  # fmt: skip
        assert text in figures
    charts = [chart["aria-label"] for chart in page.all("svg")]
    wanted = {"mAP on the test split, %", "Loss", "eps (DCPS)", "Clusters",
              "From the last epoch's labels to these", "Cluster sizes, images",
              "Pairs of images: one cluster against two", "by cluster", "by identity",
              "by camera"}  # fmt: skip
    assert wanted <= set(charts)
    folded = {board["id"]: "open" in board for board in page.all("details")}
    assert folded == dict.fromkeys([*BOARDS, "clusters/mixed", "rankings"], False) | {
        "clusters/largest": True,
        "rankings": True,
    }
    frames = {figure["class"] for figure in page.all("figure")}
    assert frames == {"", "query", "right", "wrong"}
    assert "t-SNE of 60 images" in page.texts["#map"]
    for text in ("training", "6.0", "75%", "embedding", "2.0", "25%"):
        assert text in page.texts["#time"]
    for text in ("How to reproduce", "seed=1", "Settings that differ", "epochs", "16", "2"):
        assert text in page.texts["#run"]
    assert {link["href"] for link in page.all("a")} == {
        f"#{part['id']}" for part in page.all("section")
    }


def test_accents_are_drawn_and_long_names_shortened():
    box = fonts.font(11).getmask("\uffff")
    for letter in "ñéüøçžőŁß":
        assert bytes(fonts.font(11).getmask(letter)) != bytes(box), letter
    kept = fonts.shortened("cam warehouse-north-17", fonts.font(10), 60)
    assert kept.startswith("…")
    assert kept.endswith("17")
    assert fonts.font(10).getlength(kept) <= 60


def test_names_of_the_user_stay_text(made):
    page = run_page(report(made.values(), map_page=EVIL, title=EVIL, command=EVIL,
                          differences=[(EVIL, EVIL, EVIL)], environment={EVIL: EVIL}))  # fmt: skip
    assert "<img src=x" not in page
    assert page.count("</script>") == 1


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_works_in_a_browser(made, tmp_path):
    path = tmp_path / "report.html"
    write_report(path, report(made.values(), title=EVIL))
    probe = """<script>
      document.body.dataset.wide = document.documentElement.scrollWidth > window.innerWidth;
    </script></body>"""
    path.write_text(path.read_text().replace("</body>", probe))
    dom, complaints = chromium(tmp_path, path)
    assert complaints == []
    assert 'data-wide="false"' in dom
    assert dom.count("<figure") > 50
    assert dom.count("<svg") >= 6
    assert f"<h1>{html_module.escape(EVIL, quote=False)}</h1>" in dom


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_fits_a_phone_in_the_dark(made, tmp_path):
    write_report(tmp_path / "report.html", report(made.values()))
    (tmp_path / "phone.html").write_text("""<body><iframe src="report.html"
      style="width:390px;height:800px;border:0"></iframe><script>
      onload = () => {
        const page = frames[0].document, root = page.documentElement;
        document.body.dataset.wide = root.scrollWidth > root.clientWidth;
        document.body.dataset.back = frames[0].getComputedStyle(page.body).backgroundColor;
      };</script></body>""")
    dark = ("--allow-file-access-from-files", "--blink-settings=preferredColorScheme=0")
    dom, complaints = chromium(tmp_path, tmp_path / "phone.html", *dark)
    assert complaints == []
    assert 'data-wide="false"' in dom
    assert 'data-back="rgb(20, 23, 27)"' in dom


@pytest.fixture
def tiny(tiny):
    return [argument for argument in tiny if not argument.startswith("callbacks.")]


PHASES = {"reading images", "embedding the training images", "finding neighbours",
          "counting near pairs", "computing distances", "clustering", "describing the clusters",
          "training, epoch 1/2", "training, epoch 2/2", "embedding query and gallery",
          "ranking the gallery", "making the panels of the report",
          "reading images for the boards"}  # fmt: skip


def test_a_run_leaves_its_panels_timings_and_a_page(command, tiny, tmp_path, monkeypatch):
    phases, remove = [], progress.PHASES.remove_task

    def remove_task(number):
        phases.extend(task for task in progress.PHASES.tasks if task.id == number)
        remove(number)

    monkeypatch.setattr(progress.PHASES, "remove_task", remove_task)
    outcome = command(*tiny, "output=run", "seed=5")
    assert outcome.code == 0, outcome.err
    assert {phase.description for phase in phases} >= PHASES
    assert [p for p in phases if p.total is not None and p.completed != p.total] == []
    assert progress.PHASES.tasks == []
    assert not re.search(r"[\x1b\r]", outcome.out + outcome.err)
    lines = [line.split()[0] for line in outcome.out.splitlines()]
    assert [line for line in lines if re.fullmatch(r"\d+/2|start", line)] == ["start", "1/2", "2/2"]
    panels = read_panels(tmp_path / "run/panels")
    assert {"clusters/largest", "map", "distances", "sizes", "flow", "rankings"} <= set(panels)
    assert {epoch for _, epoch in panels.values()} == {1}
    rows = (tmp_path / "run/metrics.csv").read_text()
    assert "training" not in rows
    timings = (tmp_path / "run/timings.csv").read_text().splitlines()
    assert len(timings) == 4
    columns = set(timings[0].split(","))
    assert {"embedding", "clustering", "training", "evaluation", "other", "total"} <= columns
    page = (tmp_path / "run/report.html").read_text()
    assert "<pre>python -m dccc_lightning" in page
    assert "seed=5</pre>" in page  # and not into the same folder again
    assert "<td>seed</td><td>0</td><td>5</td>" in page
    assert "<td>batch.clusters</td><td>8</td><td>4</td>" in page
    assert "callbacks.recluster" not in page  # it repeats what other settings say
    assert "beside the epochs" in page
    assert "<title>synthetic: run</title>" in page
    assert '<section id="rankings">' in page


@pytest.mark.slow
def test_a_run_that_is_ended_early_has_its_panels(command, tiny, tmp_path):
    early = (
        "+callbacks.early={_target_:pytorch_lightning.callbacks.EarlyStopping,"
        "monitor:train/loss,stopping_threshold:1e9,check_on_train_epoch_end:true}"
    )
    outcome = command(*tiny, "output=run", "epochs=3", early)
    assert outcome.code == 0, outcome.err
    panels = read_panels(tmp_path / "run/panels")
    assert {"clusters/largest", "map", "distances"} <= set(panels)
    assert {epoch for _, epoch in panels.values()} == {0}


@pytest.mark.slow
def test_the_page_says_how_to_repeat_a_job_of_a_sweep(command, tiny, tmp_path):
    job = ["sweep=study", *tiny, "epochs=1", "callbacks.panels=null", "checkpoint.requeue=true"]
    assert command(*job, "hydra.run.dir=first").code == 0
    page = (tmp_path / "first/report.html").read_text()
    said = html_module.unescape(re.search("<pre>(.*?)</pre>", page)[1])
    assert "checkpoint.requeue" not in said
    outcome = command(*shlex.split(said)[3:])
    assert outcome.code == 0, outcome.err
    repeated = (tmp_path / "outputs/repeated/metrics.csv").read_bytes()
    assert repeated == (tmp_path / "first/metrics.csv").read_bytes()


@pytest.mark.slow
def test_panels_come_every_so_many_epochs_and_cost_no_second_embedding(
    command, tiny, tmp_path, monkeypatch
):
    from dccc_lightning.tasks import run_report
    from dccc_lightning.training.callbacks import epoch_panels

    embed, embedded, written, pages = Recluster.embed, [], [], []

    def counted(self, module, datamodule, epoch):
        embedded.append(epoch)
        return embed(self, module, datamodule, epoch)

    monkeypatch.setattr(Recluster, "embed", counted)
    monkeypatch.setattr(epoch_panels, "write_panels", lambda _, made, epoch: written.append(epoch))
    monkeypatch.setattr(run_report, "write_report", lambda _, found: pages.append(found))
    outcome = command(*tiny, "output=run", "callbacks.panels.every=1", "eval_every=1")
    assert outcome.code == 0, outcome.err
    assert written == [0, 1]
    assert embedded == [0, 1]
    running, final = pages
    assert running.progress.startswith("Training: epoch 1 of 2 ended at ")
    assert (running.results["epochs"], len(running.rows), final.progress) == (1, 2, "")
    last = 100 * running.rows[1]["val/mAP"]
    assert running.results["student"]["mAP"] == pytest.approx(last, abs=1e-3)


@pytest.mark.parametrize(("seconds", "expected"), [(1, [2, 4]), (1.1, [2])])
def test_the_page_of_a_running_training_is_written_after_evaluated_epochs(
    seconds, expected, made, caplog, monkeypatch
):
    clock, page, written = [100.0], RunningPage(every=2), []
    monkeypatch.setattr(running_page.time, "perf_counter", lambda: clock[0])

    def write(done):
        written.append(done)
        clock[0] += seconds

    follow(SimpleNamespace(callbacks=[page]), write)
    trainer = SimpleNamespace(max_epochs=6, is_global_zero=True)
    for epoch in range(-1, 6):
        clock[0] += 10
        page.on_epoch_row(trainer, {"epoch": float(epoch)})
    assert written == expected  # the page of the whole run follows the last
    clock[0] += 100
    page.write = lambda done: 1 // 0
    page.on_epoch_row(trainer, {"epoch": 1.0})
    assert "no report.html: ZeroDivisionError" in caplog.text
    head = Page(run_page(report(made.values(), progress="reload it"))).texts["header"]
    assert "reload it" in head


def test_images_that_have_gone_cost_the_panels_and_not_the_run(
    command, tiny, tmp_path, monkeypatch
):
    from dccc_lightning.training.callbacks import epoch_panels

    def gone(*_):
        raise UserError("cannot read the image x.jpg")

    def exhausted(*_, **__):
        raise MemoryError("Unable to allocate 3 GiB")

    monkeypatch.setattr(epoch_panels, "make_panels", gone)
    monkeypatch.setattr("dccc_lightning.reports.figures.training_curves.plot_curves", exhausted)
    outcome = command(*tiny, "output=run")
    assert outcome.code == 0
    assert "no panels: cannot read the image x.jpg" in outcome.err + outcome.out
    assert "no curves.png: MemoryError: Unable to allocate 3 GiB" in outcome.err + outcome.out
    assert (tmp_path / "run/results.json").exists()
    assert (tmp_path / "run/report.html").exists()


def assert_complete(run, epoch):
    """Check the panels of the last epoch and the page that they are on."""
    panels = read_panels(run / "panels")
    assert {"clusters/largest", "map", "distances", "sizes", "rankings"} <= set(panels)
    assert {found for _, found in panels.values()} == {epoch}
    page = (run / "report.html").read_text()
    for part in ("figures", "curves", "map", "distances", "clusters", "rankings", "time", "run"):
        assert f'<section id="{part}">' in page


@pytest.mark.slow
def test_a_run_resumed_within_its_last_epoch_has_its_panels(command, tiny, tmp_path, monkeypatch):
    original = DCCCModule.training_step

    def stopped(self, batch, batch_idx):
        if (self.current_epoch, batch_idx) == (1, 1):
            raise KeyboardInterrupt
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(DCCCModule, "training_step", stopped)
        assert command(*tiny, "output=run", "checkpoint.every_n_steps=1").code == 130
    assert not (tmp_path / "run" / "panels").exists()
    outcome = command("resume=run")
    assert outcome.code == 0, outcome.err
    assert_complete(tmp_path / "run", epoch=1)


@pytest.mark.slow
@pytest.mark.ddp
def test_two_processes_make_the_panels_once(tiny, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dccc_lightning", *tiny, "epochs=1", "trainer.devices=2",
         "output=run", "+callbacks.notes._target_=rank_notes.PanelNotes",
         f"+callbacks.notes.folder={tmp_path}"],
        cwd=tmp_path, env=with_modules(Path(__file__).parent), capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("made_*")) == ["made_0"]
    assert (tmp_path / "made_0").read_text() == "1"
    assert_complete(tmp_path / "run", epoch=0)
    assert done.stdout.count("1/1 ") == 1
    assert not re.search(r"[\x1b\r]", done.stdout + done.stderr)


def test_a_part_of_the_test_images_makes_no_pictures_of_rankings(tmp_path):
    module = DCCCModule.__new__(DCCCModule)
    torch.nn.Module.__init__(module)
    splits = SimpleNamespace(query=range(2), gallery=range(4))
    trainer = SimpleNamespace(
        state=SimpleNamespace(fn=TrainerFn.FITTING), current_epoch=0, max_epochs=1,
        datamodule=SimpleNamespace(splits=splits),
    )  # fmt: skip
    for rows, keeps in ((6, True), (4, False)):
        panels = Panels(tmp_path)
        metric = SimpleNamespace(
            gathered=lambda rows=rows: (torch.zeros(2, 3), torch.zeros(rows - 2, 3))
        )
        module.retrieval = {"val": metric}
        panels.on_validation_epoch_end(trainer, module)
        assert (panels._evaluation is not None) is keeps
