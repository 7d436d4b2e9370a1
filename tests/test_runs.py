"""``task=runs``: an index of the runs below a folder, with their states and scores."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from browser import CHROMIUM, chromium
from dccc_lightning.cli import messages
from dccc_lightning.cli.argument_checks import with_verb
from dccc_lightning.cli.configuration import conf_dir
from dccc_lightning.cli.setting_names import folders
from dccc_lightning.common import lock
from dccc_lightning.errors import UserError
from dccc_lightning.reports import run_records
from dccc_lightning.reports.metrics_table import write_rows
from dccc_lightning.reports.run_records import find_runs, read_run
from dccc_lightning.tasks.runs import runs


def write_run(folder, arguments=(), mAP=None, task="train.train", dataset="market1501", error=None,
              rows=2, of=2, started="2026-11-28 10:00:00,000"):  # fmt: skip
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(arguments)))
    settings = {"task": {"_target_": f"dccc_lightning.tasks.{task}"}, "epochs": of,
                "dataset": {"name": dataset, "root": "/data/zebras"}}  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / "run.log").write_text(f"{started} INFO here\n")
    write_rows(folder / "metrics.csv", [
        {"epoch": e, "step": e, "val_best/mAP": 0.1 + e / 100, "cluster/num_clusters": 7,
         "cluster/overall_silhouette": 0.25} for e in range(rows)
    ])  # fmt: skip
    if error:
        (folder / "error.txt").write_text(f"Traceback\n{error}\n")
    if mAP is not None:
        scores = {"mAP": mAP, "rank1": mAP + 5, "rank10": mAP + 10}
        results = {"student": scores, "epochs": rows, "seconds": 65.0, "protocol": "market1501"}
        (folder / "results.json").write_text(json.dumps(results))


@pytest.fixture
def outputs(tmp_path):
    folder = tmp_path / "outputs"
    write_run(folder / "a" / "one", ["experiment=dccc_plus", "seed=3", "output=x"], 50.0)
    write_run(folder / "two", started="2026-11-29 10:00:00,000", rows=1)
    (folder / "two" / "checkpoints").mkdir()
    (folder / "two" / "checkpoints" / "last.ckpt").touch()
    write_run(folder / "three", error="ValueError: <boom>", dataset="folder")
    (folder / "grid").mkdir()
    (folder / "grid" / "multirun.yaml").touch()
    write_run(folder / "grid" / "0", ["seed=1"], 40.0)
    write_run(folder / "grid" / "1", ["seed=2"], 44.0)
    return folder


def by_name(folder):
    return {record.name: record for record in find_runs(folder)}


def test_runs_are_read_with_recipe_state_and_scores(outputs):
    found = by_name(outputs)
    assert next(iter(found)) == "two"  # the newest
    one = found["a/one"]
    assert (one.state, one.recipe, one.arguments) == ("finished", "dccc_plus", "seed=3")
    assert (one.measures["mAP"], one.measures["rank1"], one.protocol) == (50.0, 55.0, "market1501")
    assert one.epochs == (2, 2)
    two = found["two"]
    assert (two.state, two.epochs) == ("stopped", (1, 2))
    assert two.why == f"resume={outputs}/two continues"
    assert two.measures["mAP"] == 10.0  # of the last evaluation
    three = found["three"]
    assert (three.state, three.why, three.dataset) == ("failed", "ValueError: <boom>", "zebras")
    assert [found[f"grid/{n}"].sweep for n in (0, 1)] == ["grid", "grid"]


def test_a_run_whose_log_is_locked_by_another_process_is_running(outputs):
    code = (
        "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, 2); print(1, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(outputs / "a" / "one" / "run.log")],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:  # fmt: skip
        other.stdout.readline()
        assert by_name(outputs)["a/one"].state == "running"
        other.communicate(b"\n")
    assert by_name(outputs)["a/one"].state == "finished"
    assert lock.take(outputs / "a" / "one" / "run.log")  # reading left no lock
    lock.release()


def test_a_finished_run_that_was_resumed_for_more_epochs_is_not_finished(outputs):
    path = outputs / "a" / "one" / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"epochs": 1}))
    assert by_name(outputs)["a/one"].state == "stopped"


@pytest.mark.parametrize("name", ["config.yaml", "results.json", "metrics.csv"])
def test_a_file_that_cannot_be_read_costs_its_run_alone(outputs, name):
    (outputs / "a" / "one" / name).write_text("{a: [}\n1")
    found = by_name(outputs)
    assert found["a/one"].state == "unreadable"
    assert found["a/one"].why
    assert sum(record.state == "unreadable" for record in found.values()) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metrics.csv", "epoch,step\n0,1,2\n"),
        ("metrics.csv", "epoch\n" + "1" * 200_000),
        ("results.json", "[]"),
        ("config.yaml", ""),
    ],
)
def test_files_of_another_form_are_unreadable(outputs, name, text):
    (outputs / "a" / "one" / name).write_text(text)
    assert by_name(outputs)["a/one"].state == "unreadable"


def test_a_folder_that_was_removed_meanwhile_is_unreadable(tmp_path):
    found = read_run(tmp_path / "gone", tmp_path)
    assert (found.state, found.started) == ("unreadable", "")


def test_a_folder_that_cannot_be_listed_is_unreadable(outputs, monkeypatch):
    listed = os.scandir

    def scandir(path):
        if path == str(outputs / "a"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = by_name(outputs)
    assert found["a"].state == "unreadable"
    assert len(found) == 5


def test_tasks_end_with_their_own_file(tmp_path):
    write_run(tmp_path / "embed", task="embed.embed", rows=0)
    (tmp_path / "embed" / "embeddings.json").write_text("{}")
    write_run(tmp_path / "crop", task="crop.crop", rows=0)
    write_run(tmp_path / "evaluate", task="evaluate.evaluate", rows=0)
    (tmp_path / "evaluate" / "results.json").write_text('{"scores": {}, "datasets": {}}')
    found = by_name(tmp_path)
    assert found["embed"].state == found["evaluate"].state == "finished"
    assert (found["crop"].state, found["crop"].why) == ("stopped", "before its end")
    assert [found[name].dataset for name in ("crop", "embed")] == ["", ""]  # by default none


def test_the_task_is_named_as_on_the_command_line_with_the_data_set_it_was_given(tmp_path):
    write_run(tmp_path / "map", task="map.draw_map", rows=0)
    write_run(tmp_path / "embed", ["dataset=viper"], task="embed.embed", dataset="viper", rows=0)
    found = by_name(tmp_path)
    assert (found["map"].task, found["embed"].dataset) == ("map", "viper")


@pytest.mark.parametrize("task", [path.stem for path in (conf_dir() / "task").glob("*.yaml")])
def test_the_last_file_of_every_task_is_one_that_it_names(task):
    module = Path(run_records.__file__).parents[1] / "tasks" / f"{task}.py"
    assert re.search(rf"\b{run_records._RESULTS.get(task, 'results.json')}\b", module.read_text())


def test_an_evaluation_of_one_network_on_one_dataset_has_its_scores(tmp_path):
    cells = {"cosine": {"mAP": 61.0, "rank1": 72.0}}
    for name, scores in (
        ("one", {"a": {"cows": cells}}),
        ("two", {"a": {"cows": cells, "x": cells}}),
    ):
        facts = {dataset: {"protocol": "leave_one_out"} for dataset in scores["a"]}
        write_run(tmp_path / name, task="evaluate.evaluate", rows=0)
        content = json.dumps({"scores": scores, "datasets": facts})
        (tmp_path / name / "results.json").write_text(content)
    found = by_name(tmp_path)
    assert found["one"].measures == {"mAP": 61.0, "rank1": 72.0}
    assert (found["one"].protocol, found["one"].dataset) == ("leave_one_out", "cows")
    assert (found["two"].measures, found["two"].dataset) == ({}, "cows + x")


def test_figures_that_are_no_numbers_are_left_out(tmp_path):
    write_run(tmp_path / "run", mAP=50.0)
    write_rows(tmp_path / "run" / "metrics.csv", [
        {"epoch": e, "step": e, "cluster/num_clusters": math.nan,
         "cluster/overall_silhouette": silhouette} for e, silhouette in enumerate((math.nan, 0.5))
    ])  # fmt: skip
    measures = by_name(tmp_path)["run"].measures
    assert "clusters" not in measures
    assert measures["overall_silhouette"] == 0.5


def test_jobs_in_folders_of_a_sweep_are_of_the_sweep(outputs):
    write_run(outputs / "grid" / "teacher" / "0")
    assert by_name(outputs)["grid/teacher/0"].sweep == "grid"
    assert {record.sweep for record in find_runs(outputs / "grid")} == {"grid"}
    assert read_run(outputs / "grid" / "0", outputs / "grid" / "0").sweep == ""


def test_without_scripts_sweeps_are_open_and_there_is_no_filter(outputs, tmp_path):
    runs({"folder": outputs}, tmp_path / "o")
    page = (outputs / "runs.html").read_text().split("<script>")[0]
    assert '<tbody class="group">' in page
    assert '<div class="choice" hidden>' in page


def test_the_index_is_written_beside_the_runs_and_refreshed(outputs, tmp_path):
    first = runs({"folder": outputs}, tmp_path / "first")
    assert first["runs"] == {
        "running": 0, "finished": 3, "stopped": 1, "failed": 1, "unreadable": 0
    }  # fmt: skip
    (outputs / "two" / "report.html").touch()
    runs({"folder": outputs}, tmp_path / "second")
    page = (outputs / "runs.html").read_text()
    links = re.findall(r'<a href="([^"]+)"', page)
    assert set(links) == {"a/one", "two/report.html", "three", "grid/0", "grid/1"}
    assert "&lt;boom&gt;" in page
    assert "grid: 2 jobs" in page
    rows = list(csv.DictReader((tmp_path / "second" / "runs.csv").open()))
    assert rows[0]["folder"] == str(outputs / "two")
    assert {row["sweep"] for row in rows} == {"", "grid"}


def test_scores_of_other_protocols_are_no_best_of_a_sweep(outputs, tmp_path):
    path = outputs / "grid" / "0" / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"protocol": "leave_one_out"}))
    runs({"folder": outputs}, tmp_path / "o")
    head = (outputs / "runs.html").read_text().split('<tr class="head">')[1].split("</tr>")[0]
    assert "44.0" not in head
    assert "0.250" in head  # the silhouette knows no protocol


@pytest.mark.parametrize("folder", ["none", "empty"])
def test_a_folder_without_runs_is_refused(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"folder=.*{folder}: no "):
        runs({"folder": tmp_path / folder}, tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_the_command_may_begin_with_the_name_of_a_task(outputs, command):
    outcome = command("runs", f"folder={outputs}", "output=index")
    assert outcome.code == 0, outcome
    assert "resume=" in outcome.out
    assert with_verb(["epochs=1", "runs"], conf_dir()) == ["epochs=1", "runs"]
    assert with_verb([], conf_dir()) == []
    # Hydra requires all settings on one side of its flags.
    assert with_verb(["train", "-m", "seed=1,2"], conf_dir()) == ["-m", "seed=1,2", "task=train"]
    assert with_verb(["train", "seed=1,2", "-m"], conf_dir())[0] == "task=train"
    assert with_verb(["runs", "--cfg", "job"], conf_dir()) == ["task=runs", "--cfg", "job"]
    assert with_verb(["runs", "--info"], conf_dir()) == ["task=runs", "--info"]


def test_a_misspelt_first_word_is_answered_with_the_task():
    places = folders(conf_dir(), [])
    told = messages._unread("evalute", "Error", ["evalute", "ckpt=x"], places)
    assert told.startswith("evalute: no such task; did you mean task=evaluate? valid: calibrate, ")
    assert "task" not in messages._unread("evalute", "Error", ["ckpt=x", "evalute"], places)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_the_page_sorts_filters_and_opens_sweeps(outputs, tmp_path):
    runs({"folder": outputs}, tmp_path / "o")
    page = outputs / "runs.html"
    script = """<script>
const names = () => [...document.querySelectorAll("tbody:not([hidden]) tr:not([hidden])")]
  .filter((row) => row.offsetParent).map((row) => row.cells[0].firstChild.textContent);
const title = (name) => [...document.querySelectorAll("th button")]
  .find((button) => button.textContent === name);
const said = [];
title("mAP").click(); title("mAP").click(); said.push(names().join());
document.getElementById("filter").value = "seed=1";
document.getElementById("filter").dispatchEvent(new Event("input")); said.push(names().join());
document.getElementById("filter").value = "";
document.getElementById("filter").dispatchEvent(new Event("input"));
document.querySelector("tr.head button").click(); said.push(names().join());
document.getElementById("filter").value = "seed=2";
document.getElementById("filter").dispatchEvent(new Event("input")); said.push(names().join());
document.body.dataset.said = said.join(" | ");
</script></body>"""
    page.write_text(page.read_text().replace("</body>", script))
    became, complaints = chromium(tmp_path, page)
    assert not complaints
    said = re.search(r'data-said="([^"]*)"', became).group(1).split(" | ")
    assert said[0] == "a/one,grid: 2 jobs,three,two"
    assert said[1] == "grid: 2 jobs,grid/0"  # a filter opens the sweep
    assert said[2] == "a/one,grid: 2 jobs,grid/1,grid/0,three,two"
    assert said[3] == "grid: 2 jobs,grid/1"


def test_an_error_is_kept_in_the_folder_of_a_run_that_had_started(outputs, tmp_path, monkeypatch):
    from dccc_lightning.cli import command
    from dccc_lightning.cli.run_folder import OutputGuard

    folder = outputs / "two"
    monkeypatch.setattr(OutputGuard, "continues", False)
    monkeypatch.setattr(OutputGuard, "absent", [])
    with pytest.raises(SystemExit, match="2"):
        command._record_failure(folder, UserError("a line"), is_sweep=False)
    assert (folder / "error.txt").read_text() == "a line\n"
    assert by_name(outputs)["two"].state == "failed"
    (folder / "error.txt").unlink()
    monkeypatch.setattr(OutputGuard, "continues", True)  # a resume that was refused
    monkeypatch.setattr(OutputGuard, "earlier", {})
    monkeypatch.setattr(OutputGuard, "progress", [
        (folder / name).stat().st_mtime_ns for name in ("metrics.csv", "checkpoints/last.ckpt")
    ])  # fmt: skip
    with pytest.raises(SystemExit, match="2"):
        command._record_failure(folder, UserError("a line"), is_sweep=False)
    assert by_name(outputs)["two"].state == "stopped"
