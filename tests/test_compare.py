"""``task=compare``: finished trainings beside each other, with paired intervals by query."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
import yaml
from PIL import Image

from browser import CHROMIUM, chromium
from dccc_lightning.errors import UserError
from dccc_lightning.metrics.query_rankings import query_rankings
from dccc_lightning.metrics.retrieval_scores import evaluate_retrieval
from dccc_lightning.neighbors import aligned_similarity
from dccc_lightning.reports.cluster_table import write_cluster_table
from dccc_lightning.reports.compared_runs import (
    Agreement,
    agreement,
    changed_queries,
    difference,
    read_compared,
    why_not_compared,
)
from dccc_lightning.reports.comparison_page import agreement_rows
from dccc_lightning.reports.figures.chart import to_svg
from dccc_lightning.reports.figures.training_curves import compared_curves, line_styles
from dccc_lightning.reports.metrics_table import write_rows
from dccc_lightning.reports.query_table import write_query_table
from dccc_lightning.tasks.compare import compare, setting_rows
from dccc_lightning.tasks.report import report


def write_run(folder, precision, clusters, root, **more):
    folder.mkdir(parents=True)
    mAP = 100 * float(np.mean(precision))
    settings = {
        "task": {"_target_": "dccc_lightning.tasks.train.train"}, "seed": 1, "output": str(folder),
        "dataset": {"name": "market1501", "root": str(root)}, "image": {"height": 32, "width": 16},
        "callbacks": {"table": {"folder": str(folder)}}, "memory": {"tau_w": 0.05},
    } | more.pop("settings", {})  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    scores = dict.fromkeys(("mAP", "mINP", "rank1", "rank5", "rank10"), mAP)
    results = {"student": scores, "teacher": None, "epochs": 2, "seconds": 61.0,
               "protocol": "market1501", "peak_memory_mib": {"process": 700}} | more  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))
    rows = [{"epoch": e, "step": e, "val_best/mAP": mAP / 100, "train/loss": 1.0} for e in (0, 1)]
    write_rows(folder / "metrics.csv", rows)
    write_rows(folder / "timings.csv", [{"epoch": 0, "step": 1, "total": 2.0}])
    count = len(precision)
    queries = pa.table({
        "path": [f"{root}/query/{q}.jpg" for q in range(count)],
        "identity": [str(q // 2) for q in range(count)], "precision": list(map(float, precision)),
        "camera": ["c1"] * count,
        "hits": [[f"{root}/gallery/{q}.jpg", f"{root}/gallery/none.jpg"] for q in range(count)],
        "scores": [[0.9, 0.5]] * count, "right": [[True, False]] * count,
    })  # fmt: skip
    write_query_table(folder, queries.replace_schema_metadata({"network": "student"}))
    paths = [f"{root}/train/{n}.jpg" for n in range(len(clusters))]
    write_cluster_table(folder / "clusters", pa.table({"path": paths, "cluster": clusters}))
    return folder


@pytest.fixture
def pair(tmp_path):
    first = write_run(tmp_path / "a", [0.2, 0.4, 0.6, 0.8], [0, 0, 1, 1, 2, -1], "/one/data")
    second = write_run(tmp_path / "b", [0.3, 0.5, 0.5, 1.0], [0, 0, 0, 0, -1, 1], "/two/data")
    return read_compared([first, second])


def test_rankings_of_all_queries_agree_with_the_scores():
    random = np.random.default_rng(3)
    features = torch.from_numpy(random.normal(size=(60, 8)).astype(np.float32))
    labels = {"identity": random.integers(6, size=60), "camera": random.integers(3, size=60)}
    found = query_rankings("market1501", features, labels, 20, hits=4)
    sides = [(features[part], *(values[part] for values in labels.values()))
             for part in (slice(20), slice(20, 60))]  # fmt: skip
    expected = evaluate_retrieval(*sides[0], *sides[1])
    assert found.precision.mean() == pytest.approx(expected["mAP"].item(), abs=1e-12)
    unit = torch.nn.functional.normalize(features, dim=1).numpy()
    for query, hits, scores in zip(found.queries, found.hits, found.scores, strict=True):
        same = labels["identity"] == labels["identity"][query]
        left_out = same & (labels["camera"] == labels["camera"][query])
        places = np.array([g for g in range(20, 60) if not left_out[g]])
        order = places[np.argsort(-(unit[places] @ unit[query]), kind="stable")]
        assert hits.tolist() == order[:4].tolist()
        assert scores == pytest.approx(unit[hits] @ unit[query], abs=1e-5)


def test_rankings_of_images_that_turn_have_the_cosine_of_the_best_turn():
    features = torch.from_numpy(np.random.default_rng(5).normal(size=(12, 4, 6)))
    labels = {"identity": np.arange(12) % 3, "camera": np.full(12, -1)}
    found = query_rankings("market1501", features, labels, 3, hits=2)
    unit = torch.nn.functional.normalize(features, dim=-1)
    expected = aligned_similarity(unit[:3], unit[3:]).topk(2)
    assert found.hits.tolist() == (expected.indices + 3).tolist()
    assert found.scores == pytest.approx(expected.values.numpy(), abs=1e-5)


def test_rankings_of_each_image_against_all_others():
    features = torch.eye(2)[[0, 0, 1, 1]]
    labels = {"identity": np.array([7, 7, 8, 7]), "camera": np.full(4, -1)}
    found = query_rankings("leave_one_out", features, labels, 1, hits=5)
    assert found.queries.tolist() == [0, 1, 3]
    assert found.hits.tolist() == [[1, 2, 3, -1], [0, 2, 3, -1], [2, 0, 1, -1]]
    assert query_rankings("vehicleid", features, labels, 1) is None  # means over drawn galleries


def test_the_difference_is_paired_by_query_whatever_the_folder_and_the_order(pair):
    first, second = pair
    found = difference(first, second)
    assert found.mean == pytest.approx(7.5)
    assert found.low <= found.mean <= found.high
    assert found.queries == 4
    apart = difference(second, first)
    assert apart.mean == pytest.approx(-7.5)
    # Drawn once, the differences scatter as much as those of the queries, not as both runs do.
    gains = 100 * np.array([0.1, 0.1, -0.1, 0.2])
    assert found.high - found.low < 4 * gains.std()
    by_identity = difference(first, second, by_identity=True)
    assert by_identity.mean == pytest.approx(100 * np.mean([0.1, 0.05]))


def test_the_queries_that_changed_most_come_first(pair):
    gained, lost = changed_queries(*pair, 2)
    assert gained == [(3, 3), (0, 0)]
    assert lost == [(2, 2)]


def test_of_many_merged_clusters_ten_are_shown():
    merged = [(one, [2 * one, 2 * one + 1], 4) for one in range(12)]
    row = agreement_rows("b", Agreement(99, 0.5, 0.0, 0.0, merged, []))[3]
    assert row[0] == "b: 12 clusters merged"
    assert row[1].endswith("18, 19 into 9; and 2 more")


def test_labels_that_merged_and_split(pair):
    found = agreement(*pair)
    assert found.images == 6
    assert found.merged == [(0, [0, 1], 4)]
    assert found.split == []
    assert (found.only_first, found.only_second) == (1 / 6, 1 / 6)
    back = agreement(pair[1], pair[0])
    assert back.split == found.merged


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"settings": {"dataset": {"name": "msmt17", "root": "/x"}}}, "another data set: msmt17"),
        ({"protocol": "leave_one_out"}, "another protocol: leave_one_out beside market1501"),
        ({"note": "camera-centred at test time"}, "camera-centred"),
        ({"scored_queries": 3}, ""),
    ],
)
def test_scores_of_other_tests_are_not_compared(tmp_path, pair, more, why):
    other = write_run(tmp_path / "c", [0.5] * 4, [0], "/x", **more)
    run = read_compared([tmp_path / "a", other])[1]
    assert why in why_not_compared(pair[0], run)
    results = compare({"runs": [tmp_path / "a", other]}, tmp_path / "o")
    assert (results["differences"]["c"] is None) == bool(why)
    page = (tmp_path / "o" / "compare.html").read_text()
    assert ("c: scores are not compared" in page) == bool(why)


def test_other_numbers_of_queries_are_other_tests(tmp_path):
    folders = [
        write_run(tmp_path / name, [0.5], [0], "/x", scored_queries=count)
        for name, count in (("a", 3), ("b", 4))
    ]
    assert why_not_compared(*read_compared(folders)) == "other queries: 4 beside 3"


def test_settings_differ_in_the_method_or_in_places_alone(tmp_path):
    folders = [
        write_run(tmp_path / name, [0.5], [0], f"/{name}", settings={"memory": {"tau_w": tau}})
        for name, tau in (("a", 0.05), ("b", 0.09))
    ]
    method, places = setting_rows(read_compared(folders))
    assert method == [["memory.tau_w", "0.05", "0.09"]]
    assert [row[0] for row in places] == ["dataset.root"]


def test_a_value_that_equals_the_name_of_the_output_folder_is_a_setting(tmp_path):
    folders = [
        write_run(tmp_path / name, [0.5], [0], "/x", settings={
            "output": name, "seed": int(name), "table": f"{tmp_path}/{name}/table",
        })
        for name in "12"
    ]  # fmt: skip
    assert setting_rows(read_compared(folders)) == ([["seed", "1", "2"]], [])


def test_folders_of_jobs_and_of_runs_that_were_moved_are_no_settings(tmp_path):
    folders = []
    for name in "12":
        table = {"output": "o", "callbacks": {"table": {"folder": f"/old/sweep/{name}/table"}}}
        folders.append(write_run(tmp_path / name, [0.5], [0], "/x", settings=table))
        (folders[-1] / ".hydra").mkdir()
        noted = {"hydra": {"runtime": {"output_dir": f"/old/sweep/{name}"}}}
        (folders[-1] / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(noted))
    assert setting_rows(read_compared(folders)) == ([], [])


def test_the_page_has_tables_curves_and_both_rankings_of_changed_queries(tmp_path):
    root = tmp_path / "data"
    for name in ("query/0", "query/1", "gallery/0"):
        path = root / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 32), "red").save(path)
    folders = [
        write_run(tmp_path / "a", [0.2, 0.4], [0, 0], root),
        write_run(tmp_path / "<b>", [0.3, 0.1], [0, 0], root),
    ]
    results = compare({"runs": folders}, tmp_path / "o")
    assert results["differences"]["<b>"]["mean"] == pytest.approx(-10)
    page = (tmp_path / "o" / "compare.html").read_text()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert page.count("data:image/jpeg") == 6  # the images that can be read, at each place
    assert "none.jpg" in page  # the name of one that cannot
    assert page.count("<svg") == 2
    assert "700" in page


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "give two or more"),
        ("a", "give two or more"),
        (["a"], "give two or more"),
        (["a", "./a"], "given twice"),
        (["a", "none"], "none: no such folder"),
        (["a", "empty"], "empty: no run"),
        (["a", "started"], "not finished"),
        (["a", "broken"], "cannot be read"),
        (["a", "embedded"], "task=embed; trainings are compared"),
    ],
)
def test_what_is_no_pair_of_trainings_is_refused(tmp_path, monkeypatch, value, message):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "started", "broken"):
        write_run(tmp_path / name, [0.5], [0], "/x")
    (tmp_path / "started" / "results.json").unlink()
    (tmp_path / "broken" / "metrics.csv").write_text("epoch\nx,y\n")
    task = {"task": {"_target_": "dccc_lightning.tasks.embed.embed"}}
    write_run(tmp_path / "embedded", [0.5], [0], "/x", settings=task)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        compare({"runs": value}, tmp_path / "o")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("queries.parquet", b"PAR1", "queries.parquet is damaged"),
        ("queries.parquet", pa.table({"path": ["/x/query/0.jpg"]}), "queries.parquet has other"),
        ("clusters.parquet", b"", "clusters.parquet is damaged"),
        ("clusters.parquet", pa.table({"path": ["/x/train/0.jpg"]}), "cluster"),
        ("results.json", b"{}", "no 'seconds'"),
        ("results.json", b"[1]", "its files are not of a run"),
        ("config.yaml", b"", "its files are not of a run"),
        ("metrics.csv", b"epoch,step\n0,1,2\n", "metrics.csv: a row does not fit"),
        ("timings.csv", b"a\n1\n", "timings.csv: a row does not fit"),
    ],
)
def test_a_damaged_file_is_one_line_that_names_the_run(tmp_path, name, content, message):
    folders = [write_run(tmp_path / run, [0.5], [0], "/x") for run in "ab"]
    if isinstance(content, bytes):
        (folders[1] / name).write_bytes(content)
    else:
        pyarrow.parquet.write_table(content, folders[1] / name)
    with pytest.raises(UserError, match=f"runs=.*/b: cannot be read .*{message}"):
        compare({"runs": folders}, tmp_path / "o")


@pytest.mark.parametrize("precision", [math.nan, math.inf, None])
def test_a_precision_that_is_no_number_gives_no_interval(tmp_path, precision):
    folders = [write_run(tmp_path / run, [0.5, 0.25], [0, 0], "/x") for run in "ab"]
    file = folders[1] / "queries.parquet"
    table = pyarrow.parquet.read_table(file)
    place = table.column_names.index("precision")
    column = pa.array([0.5, precision], pa.float64())
    pyarrow.parquet.write_table(table.set_column(place, "precision", column), file)
    with pytest.raises(UserError, match="precision that is no number"):
        compare({"runs": folders}, tmp_path / "o")


def test_cluster_numbers_are_names_and_null_is_an_outlier(pair):
    first, second = pair
    huge = pa.table({"path": first.clusters["path"], "cluster": [5, 5, 10**12, 10**12, 7, -1]})
    found = agreement(replace(first, clusters=huge), second)
    assert found.merged == [(0, [5, 10**12], 4)]
    write_cluster_table(first.folder / "clusters", pa.table({
        "path": first.clusters["path"], "cluster": pa.array([None] * 5 + [3]),
    }))  # fmt: skip
    read = read_compared([first.folder])[0]
    assert read.clusters["cluster"].to_pylist() == [-1] * 5 + [3]
    assert agreement(first, read).ari is None  # no image is clustered by both


def test_other_divisions_and_other_queries_are_other_tests(tmp_path):
    data = {"name": "cuhk03", "root": "/x"}
    folders = [
        write_run(tmp_path / f"split{split}", [0.5], [0], "/x",
                  settings={"dataset": {**data, "split": split}})
        for split in (0, 1)
    ]  # fmt: skip
    assert "cuhk03 division 1 beside cuhk03 division 0" in why_not_compared(*read_compared(folders))
    folders = [write_run(tmp_path / f"queries{n}", [0.5] * n, [0], "/x") for n in (3, 2)]
    assert why_not_compared(*read_compared(folders)) == "other queries: 2 of 3 are of both"


@pytest.mark.parametrize(
    ("protocol", "root", "removed", "why"),
    [
        ("vehicleid", "/x", "ab", "vehicleid scores no single queries"),
        ("tracklets", "/x", "ab", "tracklets scores no single queries"),
        ("market1501", "/x", "b", "b has no queries.parquet"),
        ("market1501", "/y", "", "no query has one path in both"),
    ],
)
def test_a_missing_interval_has_its_reason(tmp_path, capsys, protocol, root, removed, why):
    settings = {"dataset": {"name": "market1501", "root": "/x"}}
    folders = [
        write_run(tmp_path / name, [0.5], [0], place, protocol=protocol, settings=settings)
        for name, place in (("a", "/x"), ("b", root))
    ]
    for name in removed:
        (tmp_path / name / "queries.parquet").unlink()
    assert compare({"runs": folders}, tmp_path / "o")["differences"] == {"b": None}
    assert why in capsys.readouterr().out


def test_a_run_has_one_line_style_in_all_charts():
    rows = {"a": [], "b": [{"epoch": 0, "train/loss": 1.0}, {"epoch": 1, "train/loss": 0.5}]}
    (chart,) = compared_curves(rows)
    assert "var(--c1)" in to_svg(chart)  # also where the first has no values
    assert "var(--c0)" not in to_svg(chart)
    assert len(set(line_styles("abcdefghij").values())) == 10


def test_report_names_the_task_for_single_runs(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / "runs" / name, [0.5], [0], "/x")
        (tmp_path / "runs" / name / ".hydra").mkdir()
        (tmp_path / "runs" / name / ".hydra" / "overrides.yaml").write_text("[]")
    with pytest.raises(UserError, match=r"task=compare runs=\[A,B\] .* task=runs folder="):
        report({"sweep_folder": tmp_path / "runs"}, tmp_path / "o")


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window_without_complaints(tmp_path, width):
    folders = [write_run(tmp_path / name, [0.5, value], [0, 0], "/x")
               for name, value in (("a" * 30, 0.4), ("b" * 30, 0.9))]  # fmt: skip
    compare({"runs": folders}, tmp_path / "o")
    page = tmp_path / "o" / "compare.html"
    script = (
        "<script>document.body.dataset.over = document.documentElement.scrollWidth - innerWidth"
    )
    page.write_text(page.read_text().replace("</body>", f"{script}</script></body>"))
    became, complaints = chromium(tmp_path, page, f"--window-size={width},900")
    assert not complaints
    assert int(re.search(r'data-over="(-?\d+)"', became).group(1)) <= 0
