"""The ablation study: what it runs, that it goes on where it was stopped, its tables."""

import csv
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from dccc_lightning.cli import conf_dir
from dccc_lightning.reports.metrics_table import write_rows
from environment import with_modules

STUDY = Path(__file__).parents[1] / "benchmarks" / "study"


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.syspath_prepend(STUDY)
    import study_plan

    return study_plan


@pytest.fixture
def tables(plan):
    import study_tables

    return study_tables


@pytest.mark.slow
def test_the_presets_differ_from_the_shared_settings_in_what_they_sweep_alone(plan):
    def settings(preset):
        config = OmegaConf.masked_copy(plan.composed(preset), list(shared))
        return OmegaConf.to_container(config)

    shared = [key for key in plan.composed("study") if key != "hydra"]
    for table in plan.TABLES:
        assert settings(f"study/{table.grid}") == settings("study")
        assert plan.title(table.grid).endswith(".")


def test_every_grid_of_the_study_is_in_its_list(plan):
    assert {path.stem for path in (conf_dir() / "sweep" / "study").glob("*.yaml")} == {
        table.grid for table in plan.TABLES
    }


@pytest.mark.slow
def test_a_run_that_two_tables_want_is_planned_once_and_early_seeds_come_first(plan, monkeypatch):
    tables = [
        plan.Table("parts", "report", plan.BOTH),
        plan.Table("memory", "report", plan.DEFAULT),
    ]
    monkeypatch.setattr(plan, "TABLES", tables)
    monkeypatch.setattr(plan, "STAGES", ((1, 2), (3,)))
    monkeypatch.setattr(plan, "SEEDS", (1, 2, 3))
    names = [job.name for job in plan.plan()]
    # 8 rows on two worlds and 4 on one; instance and dycl with DCPS and L_ss are in both
    assert len(names) == len(set(names)) == (8 * 2 + 2) * 3
    assert [n for n in names if "seed=3" in n] == names[-18:]
    assert names[0] == (
        "report-default,loss=cluster_contrast,memory=instance,scheduler=fixed,seed=1"
    )
    assert "report-harsh,seed=2" in names  # DCCC: nothing differs from the shared settings


@pytest.mark.slow
def test_every_setting_of_both_pairs_has_five_seeds(plan):
    seeds = {}
    for job in plan.plan():
        seeds.setdefault(job._replace(seed=0), set()).add(job.seed)
    assert {job.pair for job in seeds} == set(plan.PAIRS)
    assert all(found == {1, 2, 3, 4, 5} for found in seeds.values())


@pytest.mark.slow
def test_every_argument_of_the_study_is_a_setting_that_there_is(plan):
    rows = [row.changes for table in plan.TABLES for row in plan.rows(table.grid)]
    arguments = {argument for row in rows for argument in row}
    covering = {max(rows, key=lambda row: (a in row, len(row))) for a in arguments}
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for changes in covering:
            compose("train", [*plan.SHARED, *changes])


def test_an_experiment_is_planned_as_the_parts_that_it_chooses(plan):
    contrast = plan.changes({"experiment": "cluster_contrast"})
    parts = ("loss=cluster_contrast", "memory=instance", "scheduler=fixed")
    others = ("optimizer.schedule=step", "optimizer.warmup_epochs=0")
    assert contrast == tuple(sorted((*parts, *others)))
    for warmup, schedule, changes in (("3", "constant", parts), ("0", "step", contrast)):
        row = {"experiment": "cluster_contrast", "optimizer.warmup_epochs": warmup}
        row["optimizer.schedule"] = schedule  # what is said itself wins
        assert plan.changes(row) == changes
    for experiment in ("cluster_contrast", "dccc_plus"):
        by_name, by_parts = (
            plan.compose_all(["sweep=study", *arguments])
            for arguments in (
                [f"experiment={experiment}"],
                plan.changes({"experiment": experiment}),
            )
        )
        one, other = plan.leaves(by_name), plan.leaves(by_parts)
        assert one.keys() == other.keys()
        for key in one:  # what is written otherwise has the same value
            assert one[key] == other[key] or OmegaConf.select(by_name, key) == OmegaConf.select(
                by_parts, key
            )


def test_what_says_the_usual_in_other_words_changes_nothing(plan):
    assert plan.changes({"recipe.tau_w": "0.09", "experiment": "dccc"}) == ()
    assert plan.changes({"batch": "{clusters:8,instances:8}", "scheduler.start": "0.60"}) == ()
    assert plan.changes({"scheduler": "fixed", "epochs": "20", "seed": "1"}) == (
        "epochs=20",
        "scheduler=fixed",
    )


def write_run(folder, student, teacher):
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(["seed=1"]))
    scores = {"mAP": student, "rank1": 1.0, "rank10": 1.0}
    results = {"student": scores, "teacher": None, "seconds": 9.0}
    (folder / "results.json").write_text(json.dumps(results))
    last = {"epoch": 9, "step": 300, "val/mAP": student / 100, "cluster/ari": 0.5}
    last |= {"val_teacher/mAP": teacher / 100} if teacher else {}
    write_rows(folder / "metrics.csv", [{"epoch": -1, "step": 0, "val/mAP": 0.2}, last])


@pytest.mark.slow
def test_the_tables_hold_what_is_finished_and_say_which_seeds(plan, tables, tmp_path):
    page, folder = tmp_path / "page.md", tmp_path / "study"
    page.write_text(f"by hand\n{tables.MARK}old")
    contrast = "loss=cluster_contrast,memory=instance,scheduler=fixed"
    write_run(folder / f"report-default,{contrast},seed=1", 50.0, None)
    write_run(folder / f"report-default,{contrast},seed=2", 54.0, None)
    write_run(folder / "report-harsh,seed=1", 30.0, 33.0)
    write_run(folder / "report-harsh,seed=3", 40.0, 43.0)
    (folder / "report-default,seed=2").mkdir(parents=True)  # cut short
    (folder / "report-harsh,seed=1" / "commit.txt").write_text("abc")
    tables.write_tables(folder, page)
    text = page.read_text()
    assert text.startswith(f"by hand\n{tables.MARK}")
    assert "4 of " in text
    assert "3 by version unknown, 1 by version abc" in text
    assert "old" not in text
    fixed, dccc = (
        "| fixed | instance | cluster_contrast |",
        "| exponential | dycl | soft_contrastive |",
    )
    assert f"{fixed} 50.0 |  | 0.50 |  |  |  |  |  | 1 / none |" in text  # what all rows have
    assert f"{dccc}  |  |  |  | 30.0 | 33.0 | 0.50 |  | none / 1 |" in text
    write_run(folder / "report-harsh,seed=2", 32.0, 35.0)
    tables.write_tables(folder, page)
    assert f"{fixed} 52.0 ± 2.8 |  | 0.50 ± 0.00 |  |  |  |  |  | 1, 2 / none |" in page.read_text()
    assert "| before training |  |  | 20.0 |  |  |  | 20.0 |  |  |  |  |" in text
    assert text.count("\n## ") == 2  # parts, dccc_plus; in the others is nothing to compare yet
    assert "| dycl | cluster_contrast |" not in text
    with page.with_suffix(".csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["student mAP"] for line in lines] == ["50.0", "30.0", "54.0", "32.0", "40.0"]
    assert f"{'parts':20} report  {'5 of 48':>18}" in tables.status(folder)


@pytest.mark.slow
def test_a_table_over_one_number_is_a_curve_once_it_has_three_points(plan, tables, tmp_path):
    import study_curves

    wanted = [table for table in plan.TABLES if table.grid == "tau_w"]
    for number, change in enumerate(("recipe.tau_w=0.01,", "recipe.tau_w=1.0,", "")):
        assert study_curves.curves(wanted, tables.finished(tmp_path)) is None
        write_run(tmp_path / f"report-default,{change}seed=1", 50.0 + number, None)
    write_run(tmp_path / "report-default,seed=2", 60.0, 61.0)
    done = tables.finished(tmp_path)
    assert list(study_curves.values(wanted[0], done)) == [0.01, 0.09, 1.0]
    picture = study_curves.curves(wanted, done)
    assert Image.open(io.BytesIO(picture)).size[0] > 400


def test_a_page_without_a_place_for_the_tables_is_refused(tables, tmp_path):
    (tmp_path / "page.md").write_text("nothing")
    with pytest.raises(ValueError, match="needs the line"):
        tables.write_tables(tmp_path, tmp_path / "page.md")


SMALL = """
import sys
import study_plan, study_runner
study_plan.TABLES = (study_plan.Table("memory", "report", study_plan.DEFAULT),)
study_plan.STAGES = ((1,),)
study_plan.SHARED = ["sweep=study", *sys.argv[2:]]
sys.exit(study_runner.run(study_runner.Path(sys.argv[1]), at_once=1))
"""


@pytest.mark.slow
def test_a_study_that_was_stopped_makes_what_is_missing(tiny, tmp_path):
    folder = tmp_path / "study"
    command = [sys.executable, "-c", SMALL, str(folder), *tiny]
    environment = with_modules(STUDY)
    options = {"env": environment, "stdout": subprocess.PIPE, "text": True}

    first = subprocess.Popen(command, **options)
    deadline = time.monotonic() + 300
    while not any(folder.glob("*/results.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=300)
    assert first.returncode == 128 + signal.SIGTERM
    made = {path: path.stat().st_mtime_ns for path in folder.glob("*/results.json")}
    assert 0 < len(made) < 4

    cut_short = folder / "report-default,memory=instance,seed=1"
    cut_short.mkdir(exist_ok=True)
    (cut_short / "results.json").unlink(missing_ok=True)
    (cut_short / "left.txt").write_text("of the run that was cut short")
    made.pop(cut_short / "results.json", None)
    second = subprocess.run(command, **options, timeout=300, check=True)
    assert f"{4 - len(made)} of 4 runs are missing" in second.stdout
    assert len(list(folder.glob("*/results.json"))) == 4
    assert not (cut_short / "left.txt").exists()
    assert all(path.stat().st_mtime_ns == at for path, at in made.items())

    third = subprocess.run(command, **options, timeout=300, check=True)
    assert "0 of 4 runs are missing" in third.stdout


@pytest.mark.slow
def test_a_run_that_fails_is_told_and_the_others_go_on(tiny, tmp_path):
    folder = tmp_path / "study"
    environment = with_modules(STUDY)
    script = SMALL.replace("memory", "loss")
    bad = [*tiny, "epochs=1", "model.weights=missing.pt"]
    command = [sys.executable, "-c", script, str(folder), *bad]
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode != 0
    assert ended.stdout.count("FAILED, exit code 2, error: ") == 3
    assert "missing.pt" in ended.stdout
