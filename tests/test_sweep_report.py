"""The report of a sweep: rows over seeds, the best one, failed jobs, pictures, one page."""

import csv
import io
import itertools
import json
import math
import re
import statistics
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from PIL import Image

from dccc_lightning.errors import UserError
from dccc_lightning.reports.figures.chart import to_svg
from dccc_lightning.reports.figures.heat_maps import (
    cells,
    colour_range,
    heat_maps,
    noise_of,
    scale,
)
from dccc_lightning.reports.figures.parallel_coordinates import axis, parallel_coordinates
from dccc_lightning.reports.metrics_table import write_rows
from dccc_lightning.reports.results import CAMERA_CENTERED
from dccc_lightning.reports.sweep_importance import importance
from dccc_lightning.reports.sweep_jobs import read_jobs
from dccc_lightning.reports.sweep_table import jobs_to_csv, tabulate, to_csv, to_markdown
from dccc_lightning.tasks.report import report

SCORES = {
    "fixed": {0.5: [50.0, 54.0], 0.7: [40.0, 41.0]},
    "linear": {0.5: [60.0, 66.0], 0.7: [70.0]},
}


def write_job(folder, arguments, mAP=None, epochs=2, of=2, error=None):
    (folder / ".hydra").mkdir(parents=True)
    (folder.parent / "multirun.yaml").touch()
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(arguments))
    (folder / "config.yaml").write_text(yaml.safe_dump({"epochs": of}))
    if error:
        (folder / "error.txt").write_text(f"Traceback\n  a line\n{error}\n")
    if mAP is None:
        return
    scores = {"mAP": mAP, "mINP": 1.0, "rank1": mAP + 5, "rank5": 1.0, "rank10": mAP + 10}
    lower = scores | {"mAP": mAP - 3, "rank1": 99.0}
    results = {"student": lower, "teacher": scores, "epochs": epochs, "seconds": 10.0}
    (folder / "results.json").write_text(json.dumps(results))
    write_rows(
        folder / "metrics.csv",
        [{"epoch": -1, "step": 0, "val/mAP": 0.1}]
        + [
            {"epoch": e, "step": e + 1, "val/mAP": mAP / 100, "cluster/eps": 0.6 - e / 100,
             "cluster/num_clusters": 20 + e, "cluster/overall_silhouette": 0.2}
            for e in range(epochs)
        ],
    )  # fmt: skip


@pytest.fixture
def sweep(tmp_path):
    folder, number = tmp_path / "sweep", 0
    for kind, starts in SCORES.items():
        for start, values in starts.items():
            for seed, value in enumerate(values, 1):
                arguments = [
                    f"scheduler={kind}", f"scheduler.start={start}", f"seed={seed}", "epochs=2"
                ]  # fmt: skip
                write_job(folder / str(number), arguments, value)
                number += 1
    write_job(
        folder / str(number),
        ["scheduler=linear", "scheduler.start=0.7", "seed=2", "epochs=2"],
        error="ValueError: <boom> | here",
    )
    (folder / "logs").mkdir()
    return folder


def test_jobs_that_differ_in_the_seed_alone_make_one_row_and_the_best_comes_first(sweep):
    table = tabulate(read_jobs(sweep))
    assert table.varying == ("scheduler", "scheduler.start")
    assert [tuple(row.setting.values()) for row in table.rows] == [
        ("linear", "0.7"), ("linear", "0.5"), ("fixed", "0.5"), ("fixed", "0.7")
    ]  # fmt: skip
    spread = table.rows[1].spread("mAP")
    assert spread.mean == 63
    assert spread.deviation == pytest.approx(np.std([60, 66], ddof=1))
    assert table.rows[0].spread("mAP") == (70, None)
    assert table.best is table.rows[0]
    # Of the better network, even where the other has a higher rank-1.
    assert table.rows[0].spread("rank1").mean == 75


def test_divisions_of_the_people_make_one_row_too(tmp_path):
    for split, value in enumerate((60, 66, 63)):
        write_job(tmp_path / str(split), ["dataset=viper", f"dataset.split={split}"], value)
    jobs = read_jobs(tmp_path)
    [row] = tabulate(jobs).rows
    assert row.spread("mAP") == (63, 3)
    lines = list(csv.DictReader(io.StringIO(jobs_to_csv(jobs))))
    assert [line["dataset.split"] for line in lines] == ["0", "1", "2"]


def test_scores_by_statistics_of_the_test_images_are_called_so(sweep, command):
    for path in sweep.glob("*/results.json"):
        results = json.loads(path.read_text()) | {"note": CAMERA_CENTERED}
        path.write_text(json.dumps(results))
    assert command("task=report", f"sweep_folder={sweep}", "output=page").code == 0
    for name in ("table.md", "report.html"):
        assert f"Sweep sweep, {CAMERA_CENTERED}" in Path("page", name).read_text()


def test_the_markdown_marks_the_best_and_lists_failed_jobs(sweep):
    text = to_markdown(tabulate(read_jobs(sweep)), "Sweep")
    lines = text.splitlines()
    best = next(line for line in lines if "**linear**" in line)
    assert "**70.0**" in best
    assert sum("**" in line for line in lines) == 1
    assert "| 63.0 ± 4.2 |" in text
    failed = next(line for line in lines if "boom" in line)
    assert "scheduler=linear scheduler.start=0.7 seed=2" in failed
    assert r"ValueError: <boom> \| here" in failed


def test_csv_holds_unrounded_figures(sweep):
    jobs = read_jobs(sweep)
    rows = list(csv.DictReader(io.StringIO(to_csv(tabulate(jobs)))))
    assert [float(row["mAP_mean"]) for row in rows] == [70, 63, 52, 40.5]
    assert rows[0]["mAP_std"] == ""
    assert float(rows[3]["mAP_std"]) == statistics.stdev([40, 41])
    each = list(csv.DictReader(io.StringIO(jobs_to_csv(jobs))))
    assert [row["state"] for row in each] == ["done"] * 7 + ["failed"]
    assert each[7]["error"] == "ValueError: <boom> | here"
    assert [row["seed"] for row in each] == ["1", "2", "1", "2", "1", "2", "1", "2"]


def test_a_job_that_ended_early_is_never_the_best(tmp_path):
    search = ["+callbacks.pruning.trial=0", "+callbacks.pruning.after=0.5"]
    write_job(tmp_path / "0", ["a=1", *search], 50.0)
    write_job(tmp_path / "1", ["a=2", *search], 90.0, epochs=1)
    write_job(tmp_path / "2", ["a=3", *search])
    jobs = read_jobs(tmp_path)
    assert [job.state for job in jobs] == ["done", "pruned", "unfinished"]
    table = tabulate(jobs)
    assert table.varying == ("a",)
    assert table.best.setting == {"a": "1"}
    assert "pruned" in table.cells(table.rows[1])[1]


def test_without_scores_the_silhouette_orders(tmp_path):
    for number, silhouette in enumerate((0.2, 0.4)):
        folder = tmp_path / str(number)
        write_job(folder, [f"a={number}"])
        (folder / "results.json").write_text(json.dumps({"epochs": 1, "seconds": 1.0}))
        write_rows(folder / "metrics.csv", [
            {"epoch": 0, "step": 1, "cluster/num_clusters": 5,
             "cluster/overall_silhouette": silhouette / 2}
        ])  # fmt: skip
    table = tabulate(read_jobs(tmp_path))
    assert table.objective == "overall_silhouette"
    assert table.best.setting == {"a": "1"}
    assert table.best.spread("overall_silhouette").mean == pytest.approx(0.2)


def test_the_cells_of_a_heat_map(sweep):
    table = tabulate(read_jobs(sweep))
    found = cells(table, "scheduler.start", "scheduler")
    assert (found.across.ticks, found.down.ticks) == (["0.5", "0.7"], ["fixed", "linear"])
    np.testing.assert_allclose(found.means, [[52, 40.5], [63, 70]])
    seeds = [
        [np.std([50, 54], ddof=1), np.std([40, 41], ddof=1)],
        [np.std([60, 66], ddof=1), np.nan],
    ]
    np.testing.assert_allclose(found.deviations, seeds)
    assert found.settings.tolist() == [[1, 1], [1, 1]]
    text = to_svg(heat_maps(table)["heatmap_scheduler_scheduler.start.png"])
    said = re.findall(r"<title>([^<]*)</title>", text)
    assert "scheduler=fixed scheduler.start=0.5: 52.0 ± 2.8" in said
    assert "scheduler=linear scheduler.start=0.7: 70.0" in said
    assert text.count(">± 2.8<") == 1  # beside the mean, in the cell too


def test_a_cell_of_several_settings_has_their_mean_and_the_noise_of_their_seeds(tmp_path):
    values = {("0.5", "x"): (50, 54), ("0.6", "x"): (60, 60), ("0.6", "y"): (40, 41)}
    number = 0
    for (a, b), pair in values.items():
        for c, offset in (("p", 0), ("q", 10)):
            for seed, value in enumerate(pair):
                given = [f"a={a}", f"b={b}", f"c={c}", f"seed={seed}"]
                write_job(tmp_path / str(number), given, value + offset)
                number += 1
    found = cells(tabulate(read_jobs(tmp_path)), "b", "a")
    np.testing.assert_allclose(found.means, [[57, np.nan], [65, 45.5]])
    np.testing.assert_allclose(found.deviations, [[8**0.5, np.nan], [0, 0.5**0.5]])
    assert found.settings.tolist() == [[2, 0], [2, 2]]


def test_parallel_coordinates_have_a_line_for_each_setting_of_three_arguments(tmp_path):
    for number, (a, b, c) in enumerate(itertools.product("xy", ("0.1", "0.2"), ("1e-5", "1e-2"))):
        write_job(tmp_path / str(number), [f"a={a}", f"b={b}", f"c={c}"], 50.0 + number)
    write_job(tmp_path / "8", ["a=x", "b=0.3", "c=1e-5"], 90.0, epochs=1, of=2)
    table = tabulate(read_jobs(tmp_path))
    chart = parallel_coordinates(table)
    text = to_svg(chart)
    said = set(re.findall(r"<title>([^<]*)</title>", text))
    assert len(said) == sum(not row.is_pruned for row in table.rows)
    assert "a=y b=0.2 c=1e-2: 57.0" in said
    assert ElementTree.fromstring(text).get("aria-label") == "mAP over 3 arguments"
    two = [replace(row, setting={**row.setting, "c": "1"}) for row in table.rows]
    assert parallel_coordinates(replace(table, rows=two)) is None


def test_axes_of_numbers_are_to_scale_and_of_few_values_even():
    few = axis(["0.9", "0.1", "0.2"])
    assert few.heights == {"0.1": 0, "0.2": 0.5, "0.9": 1}
    linear = axis([str(value) for value in range(11)])
    assert linear.heights["3"] == pytest.approx(0.3)
    assert [text for _, text in linear.ticks] == ["0", "2.5", "5", "7.5", "10"]
    wide = axis([str(10.0**-value) for value in range(11)])
    assert wide.heights["0.001"] == pytest.approx(0.7)
    texts = axis([f"name{value}" for value in range(30)] + ["inf"])
    assert len(texts.ticks) <= 8


def test_many_numbers_are_put_into_equal_bins():
    values = [str(v) for v in np.linspace(0.5, 1.0, 11)]
    read = scale(values)
    assert read.ticks == ["0.5 to 0.6", "0.6 to 0.7", "0.7 to 0.8", "0.8 to 0.9", "0.9 to 1"]
    assert read.places["0.5"] == 0
    assert read.places["1.0"] == 4
    assert read.places["0.75"] == 2
    assert sorted(read.places.values()) == list(read.places.values())
    assert scale(["10", "9", "2"]).ticks == ["2", "9", "10"]


def test_the_report_is_whole_and_its_page_needs_nothing_else(sweep, tmp_path):
    output = tmp_path / "report"
    output.mkdir()
    results = report({"sweep_folder": str(sweep)}, output)
    assert results["jobs"] == {"done": 7, "pruned": 0, "failed": 1, "unfinished": 0}
    assert results["best"]["setting"] == {"scheduler": "linear", "scheduler.start": "0.7"}
    assert results["best"]["mAP"] == 70
    assert json.loads((output / "results.json").read_text()) == results
    pictures = ["curves.png", "heatmap_scheduler_scheduler.start.png"]
    assert sorted(p.name for p in output.iterdir()) == sorted(
        [*pictures, "jobs.csv", "report.html", "results.json", "table.csv", "table.md"]
    )
    for name in pictures:
        with Image.open(output / name) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 22)) > 10
    page = (output / "report.html").read_text()
    assert page.count("<svg") == 5
    assert "data:image" not in page  # in the colours of the page, light and dark
    assert not re.search(r'(?:src|<link[^>]*href)="(?!data:)', page)
    assert "&lt;boom&gt;" in page
    assert "<boom>" not in page
    assert page.count('class="best"') == 1
    assert "mAP: scheduler against scheduler.start" in page
    assert "prefers-color-scheme: dark" in page


def test_a_heat_map_of_too_many_texts_costs_that_map(tmp_path, caplog):
    for number in range(60):
        given = [f"name=text{number}$_{{$", f"batch={number % 2}", f"start=0.{number % 3 + 1}"]
        write_job(tmp_path / "sweep" / str(number), given, mAP=50.0)
    report({"sweep_folder": tmp_path / "sweep"}, tmp_path / "out")
    warned = sorted(r.getMessage() for r in caplog.records if r.levelname == "WARNING")
    assert len(warned) == 2
    assert all("name has 60 values, more than 40" in message for message in warned)
    maps = {path.name for path in (tmp_path / "out").glob("heatmap_*.png")}
    assert maps == {"heatmap_batch_start.png"}
    assert (tmp_path / "out" / "curves.png").exists()
    assert "text59$_{$" in (tmp_path / "out" / "report.html").read_text()


def test_what_a_search_draws_is_rounded_for_people_alone(tmp_path):
    for number, start in enumerate((0.5665074998819105, 0.6123456789012345)):
        write_job(tmp_path / str(number), [f"scheduler.start={start}", "seed=1"], 50.0)
    table = tabulate(read_jobs(tmp_path))
    assert {table.cells(row)[0] for row in table.rows} == {"0.5665", "0.6123"}
    assert "0.5665074998819105" in to_csv(table)
    assert "0.5665074998819105" not in to_markdown(table, "drawn")


def test_only_failed_jobs_make_a_report_too(tmp_path):
    write_job(tmp_path / "sweep" / "0", ["a=1"], error="boom")
    results = report({"sweep_folder": str(tmp_path / "sweep")}, tmp_path / "report")
    assert results["best"] is None
    assert "boom" in (tmp_path / "report" / "report.html").read_text()


def test_a_folder_that_is_no_sweep_is_named(tmp_path):
    for folder in (None, tmp_path / "nowhere", tmp_path):
        with pytest.raises(UserError, match="sweep_folder"):
            report({"sweep_folder": folder}, tmp_path / "report")
    write_job(tmp_path / "0", ["a=1"])
    (tmp_path / "0" / "results.json").write_text("{")
    with pytest.raises(UserError, match="0: not a job"):
        read_jobs(tmp_path)


def test_scores_of_two_protocols_are_not_compared(sweep, tmp_path, capsys):
    one = report({"sweep_folder": str(sweep)}, tmp_path / "one")
    assert one["protocols"] == ["market1501"]
    assert "protocol market1501" in (tmp_path / "one" / "table.md").read_text().splitlines()[0]
    path = sweep / "0" / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"protocol": "leave_one_out"}))
    table = tabulate(read_jobs(sweep))
    assert table.best is None
    assert [row.protocol for row in table.rows] == ["leave_one_out"] + ["market1501"] * 4
    assert table.header()[2] == "protocol"
    assert "scheduler,scheduler.start,protocol,jobs" in to_csv(table)
    found = report({"sweep_folder": str(sweep)}, tmp_path / "two")
    assert found["best"] is None
    assert found["protocols"] == ["leave_one_out", "market1501"]
    written = {path.name for path in (tmp_path / "two").iterdir()}
    assert written == {"table.md", "table.csv", "jobs.csv", "report.html", "results.json"}
    text = (tmp_path / "two" / "table.md").read_text()
    assert "(leave_one_out, market1501) are not comparable" in text
    assert "**" not in text
    assert "Not compared: scores of 2 protocols." in (tmp_path / "two/report.html").read_text()
    assert "not compared: scores of different protocols" in " ".join(
        capsys.readouterr().out.split()
    )


def test_colours_span_ten_points_and_the_noise_at_least():
    means = np.array([[50.0, 51.4], [np.nan, 50.5]])
    assert colour_range(means, "mAP", 0.0) == pytest.approx((45.7, 55.7))
    assert colour_range(means, "mAP", 5.0) == pytest.approx((40.7, 60.7))
    assert colour_range(means * 2, "overall_silhouette", 0.0) == pytest.approx((100, 102.8))


def test_the_argument_that_moves_the_score_is_the_most_important(tmp_path):
    for number, (kind, start) in enumerate(itertools.product("abc", (0.4, 0.5, 0.6))):
        arguments = [f"scheduler={kind}", f"scheduler.start={start}", "seed=1"]
        write_job(tmp_path / "sweep" / str(number), arguments, 20.0 + 100 * start + (kind == "b"))
    jobs = read_jobs(tmp_path / "sweep")
    table = tabulate(jobs)
    shares = importance(table)
    assert list(shares) == ["scheduler.start", "scheduler"]
    assert shares["scheduler.start"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)
    assert importance(replace(table, rows=table.rows[:3])) == {}
    assert importance(replace(table, varying=("scheduler",))) == {}
    alike = [replace(job, measures={"mAP": 50.0}) for job in jobs]
    assert importance(tabulate(alike)) == {}  # nothing to explain
    other = [replace(jobs[0], protocol="leave_one_out"), *jobs[1:]]
    assert importance(tabulate(other)) == {}


def test_the_noise_is_pooled_over_the_settings(tmp_path):
    for number, (start, value) in enumerate(((0.5, 50), (0.5, 54), (0.6, 60), (0.6, 60))):
        write_job(tmp_path / str(number), [f"scheduler.start={start}", f"seed={number}"], value)
    assert noise_of(tabulate(read_jobs(tmp_path))) == pytest.approx(2)  # of 8 ** 0.5 and 0
    assert noise_of(tabulate(read_jobs(tmp_path)[:1])) == 0


def test_the_page_links_the_jobs_and_has_the_command_of_the_best(sweep, tmp_path):
    (sweep / "4" / "report.html").touch()
    report({"sweep_folder": sweep}, tmp_path / "page")
    page = (tmp_path / "page" / "report.html").read_text()
    assert '<a href="../sweep/4/report.html">4</a>' in page
    assert '<a href="../sweep/0">0</a>' in page
    assert page.index(">2</td><td><a href=") < page.index("</tbody>")  # beside their number
    assert "python -m dccc_lightning scheduler=linear scheduler.start=0.7 seed=1 epochs=2" in page


def test_the_command_of_the_best_has_the_arguments_as_they_were_given(tmp_path):
    given = ["+trainer.profiler=simple", "~callbacks.panels", "seed=1", "output=x"]
    write_job(tmp_path / "sweep" / "0", given, 50.0)
    report({"sweep_folder": tmp_path / "sweep"}, tmp_path / "page")
    page = (tmp_path / "page" / "report.html").read_text()
    command = "dccc_lightning +trainer.profiler=simple &#39;~callbacks.panels&#39; seed=1</pre>"
    assert command in page


def test_arguments_that_only_failed_jobs_lack_are_not_compared(tmp_path):
    folder = tmp_path / "sweep"
    for number, (a, b) in enumerate(itertools.product(("0.1", "inf"), ("x", "y"))):
        write_job(folder / str(number), [f"a={a}", f"b={b}", "c=1"], 50.0 + number)
    write_job(folder / "4", ["a=0.1", "b=x"], error="ValueError: no")
    table = tabulate(read_jobs(folder))
    assert table.varying == ("a", "b", "c")
    assert table.differing == ("a", "b")
    assert list(heat_maps(table)) == ["heatmap_a_b.png"]
    assert set(importance(table)) == {"a", "b"}  # inf is a choice, not an end of a range


def test_scores_that_are_no_numbers_are_left_out(tmp_path):
    for number, mAP in enumerate((math.nan, 50.0)):
        write_job(tmp_path / "sweep" / str(number), [f"a={number}"], mAP)
    table = tabulate(read_jobs(tmp_path / "sweep"))
    assert [row.name() for row in table.rows] == ["a=1", "a=0"]
    assert "mAP" not in table.rows[1].jobs[0].measures
