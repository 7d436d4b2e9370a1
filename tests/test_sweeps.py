"""Sweeps: presets, the search and its study, pruning, and several jobs at once."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from conftest import Command
from dccc_lightning import cli, sweeping
from dccc_lightning.callbacks.pruning import Pruning
from dccc_lightning.errors import UserError
from dccc_lightning.reports.objective import run_objective
from dccc_lightning.sweeping import local_launcher
from dccc_lightning.sweeping.job_commands import Job
from dccc_lightning.sweeping.local_launcher import gpu_slots, variables
from dccc_lightning.sweeping.search_space import parse_space
from dccc_lightning.sweeping.study import STUDY_FILE, TrialSource, open_study

optuna = pytest.importorskip("optuna")

ARGUMENTS = ["epochs=3", "scheduler.start=interval(0.5,0.8)", "scheduler=fixed,linear"]


def space(arguments=ARGUMENTS):
    return parse_space(OverridesParser.create(), arguments)


@pytest.fixture(autouse=True)
def _plugins():
    sweeping.register()


@pytest.mark.parametrize(("preset", "jobs"), [("dcps_grid", 18), ("ablation", 24)])
def test_a_preset_is_a_grid_whose_jobs_all_compose(preset, jobs):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(cli.conf_dir()), version_base="1.3"):
        config = compose("train", [f"sweep={preset}"], return_hydra_config=True)
        params = [f"{key}={value}" for key, value in config.hydra.sweeper.params.items()]
        overrides = OverridesParser.create().parse_overrides(params)
        (batch,) = BasicSweeper.split_arguments(overrides, None)
        assert len(batch) == len({tuple(job) for job in batch}) == jobs
        for option in {value for job in batch for value in job if not value.startswith("seed")}:
            compose("train", [option])


def test_the_ranges_of_the_search_preset_are_read():
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(cli.conf_dir()), version_base="1.3"):
        config = compose("train", ["sweep=dcps_range"], return_hydra_config=True)
    sweeper = config.hydra.sweeper
    assert sweeper._target_ == "hydra_plugins.dccc_lightning.OptunaSweeper"
    read = space([f"{key}={value}" for key, value in sweeper.params.items()])
    assert {key.partition(".")[2] for key in read.ranges} == {"start", "floor", "rate"}
    # Every corner has to be a schedule: a floor above the start is refused by it.
    assert read.ranges["scheduler.floor"].high <= read.ranges["scheduler.start"].low


def test_sweep_syntax_becomes_ranges_and_the_later_argument_wins():
    read = space(
        ["a=interval(0.5,0.8)", "b=range(2,9,3)", "c=x,y", "d=tag(log,interval(0.001,0.1))",
         "seed=1", "c=choice(z,y)", "seed=2"]
    )  # fmt: skip
    assert read.fixed == ("seed=2",)
    assert (read.ranges["a"].low, read.ranges["a"].high, read.ranges["a"].log) == (0.5, 0.8, False)
    assert (read.ranges["b"].low, read.ranges["b"].high, read.ranges["b"].step) == (2, 8, 3)
    assert read.ranges["c"].choices == ("z", "y")
    assert read.ranges["d"].log
    assert read.corner() == ["seed=2", "a=0.5", "b=2", "c=z", "d=0.001"]


@pytest.mark.parametrize("arguments", [["seed=1"], ["a=interval(0.8,0.5)"]])
def test_a_search_without_a_range_or_with_an_empty_one_is_refused(arguments):
    with pytest.raises(UserError):
        space(arguments)


def value_of(params):
    return params["scheduler.start"] * (2 if params["scheduler"] == "linear" else 1)


def drawn_params(path, trials):
    """Go on with a study until it has so many trials; the parameters of each, in order."""
    source = TrialSource(open_study(path), space(), "mAP", seed=3, startup=3)
    params = []
    while source.drawn < trials:
        trial = source.draw()
        params.append(trial.params)
        source.tell(trial.number, value_of(trial.params))
    return params


def test_a_study_that_was_stopped_draws_what_it_would_have_drawn(tmp_path):
    whole = drawn_params(tmp_path / "whole.log", 9)
    parts = drawn_params(tmp_path / "parts.log", 4)
    cut = TrialSource(open_study(tmp_path / "parts.log"), space(), "mAP", seed=3, startup=3)
    assert cut.draw().params == whole[4]  # and then the machine went down
    parts += drawn_params(tmp_path / "parts.log", 9)
    assert parts == whole
    assert len({json.dumps(p) for p in whole}) == 9
    states = [t.state.name for t in open_study(tmp_path / "parts.log").get_trials()]
    assert states.count("COMPLETE") == 9
    assert states.count("FAIL") == 1


def test_a_finished_study_draws_nothing_more_and_other_questions_are_refused(tmp_path):
    path = tmp_path / STUDY_FILE
    drawn_params(path, 2)
    assert drawn_params(path, 2) == []
    for arguments, objective in [
        (["epochs=4", *ARGUMENTS[1:]], "mAP"),
        ([*ARGUMENTS[:2], "scheduler=fixed,step"], "mAP"),
        (ARGUMENTS, "overall_silhouette"),
    ]:
        with pytest.raises(UserError, match="other"):
            TrialSource(open_study(path), space(arguments), objective, seed=3, startup=3)


def test_a_file_that_is_no_study_is_named(tmp_path):
    (tmp_path / STUDY_FILE).write_text('{"op_code": 77}\n[]\n')
    with pytest.raises(UserError, match=STUDY_FILE):
        open_study(tmp_path / STUDY_FILE)


def test_a_trial_below_the_median_ends_after_its_share_of_the_epochs(tmp_path):
    path = tmp_path / STUDY_FILE
    source = TrialSource(open_study(path), space(), "mAP", seed=0, startup=3)

    def train(score):
        """Return after how many of ten epochs a trial of this score ended."""
        trial = source.draw()
        pruning = Pruning(path, trial.number, "mAP", after=0.4)
        trainer = SimpleNamespace(
            is_global_zero=True, max_epochs=10, should_stop=False,
            strategy=SimpleNamespace(broadcast=lambda value: value),
        )  # fmt: skip
        for epoch in range(-1, 10):
            pruning.on_epoch_row(trainer, {"epoch": epoch, "val/mAP": score})
            if trainer.should_stop:
                break
        return epoch + 1, source.tell(trial.number, 100 * score).state.name

    assert [train(0.5 + i / 100) for i in range(5)] == [(10, "COMPLETE")] * 5
    assert train(0.1) == (4, "PRUNED")
    assert train(0.6) == (10, "COMPLETE")


def test_the_objective_of_a_run():
    rows = [
        {"epoch": -1, "val/mAP": 0.9},
        {"epoch": 0, "cluster/num_clusters": 5, "cluster/silhouette": 0.5,
         "cluster/outlier_ratio": 0.2, "val/mAP": 0.6, "val_teacher/mAP": 0.7},
        {"epoch": 1, "cluster/num_clusters": 5, "cluster/silhouette": 0.3,
         "cluster/outlier_ratio": 0.0, "val/mAP": 0.5, "val_teacher/mAP": 0.4},
    ]  # fmt: skip
    assert run_objective(rows, "mAP") == 50
    assert run_objective(rows, "overall_silhouette") == pytest.approx(0.4)
    assert run_objective(rows[:1], "mAP") is None


def test_gpus_are_shared_out_without_overlap(monkeypatch):
    monkeypatch.setattr(local_launcher, "visible_gpus", lambda: ["0", "2", "5", "7", "8"])
    assert gpu_slots("auto", 1, None) == [("0",), ("2",), ("5",), ("7",), ("8",)]
    assert gpu_slots("gpu", 2, None) == [("0", "2"), ("5", "7")]
    assert gpu_slots("gpu", 2, 1) == [("0", "2")]
    assert gpu_slots("cpu", 2, 3) == [(), (), ()]
    for devices, jobs in [(2, 3), (6, None), ("auto", None)]:
        with pytest.raises(UserError):
            gpu_slots("auto", devices, jobs)
    assert variables(("5", "7"), 2)["CUDA_VISIBLE_DEVICES"] == "5,7"


def test_the_gpus_of_a_process_are_those_that_it_was_given(monkeypatch):
    monkeypatch.setattr(local_launcher.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, 4")
    assert local_launcher.visible_gpus() == ["GPU-a", "4"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert local_launcher.visible_gpus() == ["0", "1"]


STAND_IN = """
import os, pathlib, sys, time
number, together = sys.argv[1], int(sys.argv[2])
pathlib.Path("at_" + number).write_text(os.environ["CUDA_VISIBLE_DEVICES"])
if number == "2":
    sys.exit("error: boom")
until = time.monotonic() + 20
while len(list(pathlib.Path().glob("at_*"))) < together:  # the others have to run beside this one
    if time.monotonic() > until:
        sys.exit("error: alone")
    time.sleep(0.02)
time.sleep(0.2)
"""


def test_jobs_run_beside_each_other_on_gpus_of_their_own_and_a_failed_one_is_told(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Job, "command", lambda job: [sys.executable, "-c", STAND_IN, str(job.number), "2"]
    )
    monkeypatch.setattr(local_launcher, "visible_gpus", lambda: ["4", "6"])
    start = time.monotonic()
    outcome = command(
        "-m", "scheduler=fixed,linear,cosine", "hydra/launcher=local", "hydra.sweep.dir=sweep"
    )
    assert time.monotonic() - start < 20
    assert outcome.code == 2
    assert "job 2 failed: boom" in outcome.err
    assert "job 0 done" in outcome.out
    assert "scheduler=fixed" in outcome.out
    assert {(tmp_path / f"at_{number}").read_text() for number in (0, 1)} == {"4", "6"}
    assert (tmp_path / "sweep" / "2" / "error.txt").read_text() == "boom\n"
    assert "scheduler=cosine" in (tmp_path / "sweep" / "2" / ".hydra/overrides.yaml").read_text()
    assert not (tmp_path / "sweep" / "0" / "error.txt").exists()


def test_a_job_is_a_command_that_can_be_repeated(tmp_path: Path) -> None:
    job = Job(3, ("epochs=1",), tmp_path / "it's", tmp_path / "log")
    override = OverridesParser.create().parse_override(job.command()[-1])
    assert override.key_or_group == "hydra.run.dir"
    assert override.value() == str(tmp_path / "it's")
    assert job.command()[1:4] == ["-m", "dccc_lightning", "epochs=1"]


def test_a_search_goes_on_in_its_folder(
    command: Command, tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = [
        "-m", *tiny, "epochs=1", "iterations=1", "sweep=dcps_range", "hydra.sweep.dir=search",
    ]  # fmt: skip
    first = command(*search, "hydra.sweeper.trials=1")
    assert first.code == 0, first
    assert "trial 0: complete, mAP" in first.out
    second = command(*search, "hydra.sweeper.trials=2")
    assert second.code == 0, second
    assert "trial 1: complete, mAP" in second.out
    assert "trial 0:" not in second.out
    assert "best: trial" in second.out
    for number in ("0", "1"):
        assert (tmp_path / "search" / number / "results.json").exists()
    trials = open_study(tmp_path / "search" / STUDY_FILE).get_trials()
    for trial in trials:
        results = json.loads((tmp_path / f"search/{trial.number}/results.json").read_text())
        assert trial.value == pytest.approx(
            max(results[network]["mAP"] for network in ("student", "teacher")), abs=1e-4
        )
        assert len(trial.intermediate_values) == 1
    report = command("task=report", "sweep_folder=search", "output=report")
    assert report.code == 0, report
    assert (tmp_path / "report" / "report.html").exists()


def test_a_preset_without_m_says_what_is_missing(command: Command, tmp_path: Path) -> None:
    outcome = command("sweep=dcps_grid", "trainer=cpu")
    assert outcome.code == 2
    assert "-m" in outcome.err
    assert list(tmp_path.iterdir()) == []
