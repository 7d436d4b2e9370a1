"""Sweeps: presets, the search and its study, pruning, and several jobs at once."""

import errno
import fcntl
import json
import logging
import re
import shlex
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import Command
from dccc_lightning import cli, sweeps
from dccc_lightning.cli.resume import resumed
from dccc_lightning.common.console import print_once
from dccc_lightning.common.faults import explain_failures
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.errors import UserError
from dccc_lightning.reports.objective import run_objective
from dccc_lightning.sweeps import job_commands, local_launcher, slurm_launcher, slurm_queue
from dccc_lightning.sweeps.job_clock import JobClock
from dccc_lightning.sweeps.job_commands import Job, start
from dccc_lightning.sweeps.local_launcher import gpu_slots, variables
from dccc_lightning.sweeps.search_space import parse_space
from dccc_lightning.sweeps.slurm_nodes import Node
from dccc_lightning.sweeps.slurm_queue import QueueReport
from dccc_lightning.sweeps.study import STUDY_FILE, TrialSource, open_study
from dccc_lightning.tasks import verify as verify_task
from dccc_lightning.training.callbacks.pruning import Pruning

optuna = pytest.importorskip("optuna")

ARGUMENTS = ["epochs=3", "scheduler.start=interval(0.5,0.8)", "scheduler=fixed,linear"]


def space(arguments=ARGUMENTS):
    return parse_space(OverridesParser.create(), arguments)


@pytest.fixture(autouse=True)
def _plugins():
    sweeps.register()


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
            is_global_zero=True, max_epochs=10, should_stop=False, lightning_module=None,
            strategy=SimpleNamespace(broadcast=lambda value: value),
        )  # fmt: skip
        for epoch in range(-1, 10):
            pruning.on_epoch_row(trainer, {"epoch": epoch, "val_best/mAP": score})
            if trainer.should_stop:
                break
        return epoch + 1, source.tell(trial.number, 100 * score).state.name

    assert [train(0.5 + i / 100) for i in range(5)] == [(10, "COMPLETE")] * 5
    assert train(0.1) == (4, "PRUNED")
    assert train(0.6) == (10, "COMPLETE")


def test_the_objective_of_a_run():
    rows = [
        {"epoch": -1, "val_best/mAP": 0.9},
        {"epoch": 0, "cluster/overall_silhouette": 0.4, "val_best/mAP": 0.7},
        {"epoch": 1, "cluster/overall_silhouette": 0.3, "val_best/mAP": 0.5},
        {"epoch": 2, "cluster/overall_silhouette": -1.0},
    ]
    assert run_objective(rows, "mAP") == 50
    assert run_objective(rows, "overall_silhouette") == pytest.approx(0.4)
    assert run_objective(rows[:1], "mAP") is None


def trainers(accelerator, *devices):
    return [{"accelerator": accelerator, "devices": count} for count in devices]


def test_gpus_are_shared_out_without_overlap(monkeypatch):
    monkeypatch.setattr(local_launcher, "visible_gpus", lambda: ["0", "2", "5", "7", "8"])
    assert gpu_slots(trainers("auto", 1), None) == [("0",), ("2",), ("5",), ("7",), ("8",)]
    assert gpu_slots(trainers("gpu", 1, 2, 1), None) == [("0", "2"), ("5", "7")]  # the widest
    assert gpu_slots(trainers("gpu", 2) + trainers("cpu", 6), 1) == [("0", "2")]
    assert gpu_slots(trainers("cpu", 2), 3) == [(), (), ()]
    for devices, jobs in [(2, 3), (6, None), ("auto", None)]:
        with pytest.raises(UserError):
            gpu_slots(trainers("auto", 1, devices), jobs)
    assert variables(("5", "7"), 2)["CUDA_VISIBLE_DEVICES"] == "5,7"


def test_the_gpus_of_a_process_are_those_that_it_was_given(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
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
until = time.monotonic() + 100
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
    outcome = command(
        "-m", "scheduler=fixed,linear,cosine", "hydra/launcher=local", "hydra.sweep.dir=sweep"
    )
    assert outcome.code == 2
    assert "job 3 of 3 failed: boom" in outcome.err
    assert "job 1 of 3 done" in outcome.out
    assert "scheduler=fixed" in outcome.out
    assert {(tmp_path / f"at_{number}").read_text() for number in (0, 1)} == {"4", "6"}
    assert (tmp_path / "sweep" / "2" / "error.txt").read_text() == "boom\n"
    assert "scheduler=cosine" in (tmp_path / "sweep" / "2" / ".hydra/overrides.yaml").read_text()
    assert not (tmp_path / "sweep" / "0" / "error.txt").exists()


def job(folder: Path, arguments: tuple[str, ...] = ("epochs=1",)) -> Job:
    trainer = {"devices": 1, "num_nodes": 1, "accelerator": "cpu"}
    return Job(3, arguments, folder, folder.parent / "3.txt", trainer)


ODD_FOLDERS = ["it's", "ä", "a (1)/b", "x=1", "b[1]", "b#c", "a b", r"back\\", r"a\'b", "run"]


def read(arguments: list[str]) -> dict[str, object]:
    """Return what Hydra reads."""
    overrides = OverridesParser.create().parse_overrides(arguments)
    return {override.key_or_group: override.value() for override in overrides}


@pytest.mark.parametrize("name", ODD_FOLDERS)
def test_a_job_is_a_command_that_can_be_repeated(name: str, tmp_path: Path) -> None:
    folder, fresh = tmp_path / name, job(tmp_path / name)
    assert fresh.command()[1:3] == fresh.repeatable_command()[1:3] == ["-m", "dccc_lightning"]
    whole = {"epochs": 1, "hydra.run.dir": str(folder)}
    assert read(fresh.command()[3:]) == whole
    repeatable = fresh.repeatable_command()[3:]
    assert read(repeatable) == whole | {"output": str(folder), "ckpt_path": "last"}
    assert resumed(repeatable).arguments == repeatable
    fresh.write_failure("no room")  # and has begun
    assert read(fresh.command()[3:]) == {"epochs": 1, "resume": str(folder)}
    goes_on = {"epochs": 1, "resume": str(folder), "output": str(folder), "ckpt_path": "last"}
    assert read(resumed(repeatable).arguments) == goes_on | {"hydra.run.dir": str(folder)}
    # As Hydra wants it, and as it is after a shell has taken the quotes away.
    for resume in (path_argument("resume", folder), f"resume={folder}"):
        assert read(resumed([resume]).arguments) == goes_on


def test_a_configuration_of_ones_own_goes_along_with_jobs_and_resumes(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    own = ["--config-dir", str(mine)]
    fresh = job(tmp_path / "run")._replace(flags=tuple(own))
    assert fresh.command()[3:5] == fresh.repeatable_command()[3:5] == own
    fresh.write_failure("no room")
    assert fresh.command()[3:5] == own
    sources = [{"path": "a", "provider": "main"}, {"path": str(mine), "provider": "command-line"}]
    saved = {"hydra": {"runtime": {"config_sources": sources}}}
    (tmp_path / "run" / ".hydra" / "hydra.yaml").write_text(json.dumps(saved))
    resume = path_argument("resume", tmp_path / "run")
    assert resumed([resume]).arguments[:2] == own
    for other in (["--config-dir=b"], ["--config-dir", "b"], ["-cd", "b"]):
        found = resumed(["seed=1", *other, resume]).arguments
        assert found[: len(other)] == other
        assert all("=" in argument for argument in found[len(other) :])
    mine.rmdir()  # not needed: the run goes on with its own settings
    assert resumed([resume]).arguments[0] != "--config-dir"


@given(path=st.text("a1e_/.-+@%: 'ä\\\"(=,null", min_size=1))
@example(path="null")
@example(path="1e5")
@settings(deadline=None, max_examples=100)
def test_hydra_reads_the_path_that_was_written(path: str) -> None:
    assert read([path_argument("output", path)]) == {"output": path}


def test_a_hint_can_be_given_as_it_is_printed(tmp_path: Path) -> None:
    for folder, shown in [(Path("runs/1"), "resume=runs/1"), (Path("b (1)"), "resume='b (1)'")]:
        with pytest.raises(UserError, match="No space") as told, explain_failures(folder):
            raise OSError(errno.ENOSPC, "No space left on device")
        assert f"then {shown} continues" in str(told.value)


def test_a_job_that_still_runs_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "import sys; print('trains', flush=True); sys.stdin.read()"
    monkeypatch.setattr(Job, "command", lambda job: [sys.executable, "-c", lines])
    monkeypatch.setattr(job_commands.subprocess, "DEVNULL", subprocess.PIPE)
    one = job(tmp_path / "run")
    one.write_failure("boom")
    running = start(one, {})
    try:
        assert not (tmp_path / "run" / "error.txt").exists()
        one.write_failure("boom")
        with pytest.raises(UserError, match=r"job 4 is still running \(log: .*3.txt\)"):
            start(one, {})
        assert (tmp_path / "run" / "error.txt").exists()
    finally:
        running.communicate()
    assert one.log.read_text() == "trains\n"
    start(one, {}).communicate()
    assert one.log.read_text() == "trains\n"  # that of the second start alone

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert start(one, {}).communicate() == (None, None)


def test_a_failure_is_forgotten_when_its_job_starts(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "sweep" / "2" / "error.txt"
    job(note.parent).write_failure("no room")
    (tmp_path / "sweep" / sweeps.SWEEP_FILE).write_text(asked("trainer=cpu"))
    lines = f"import os; print(os.path.exists({str(note)!r}))"
    monkeypatch.setattr(Job, "command", lambda job: [sys.executable, "-c", lines])
    outcome = command(*GRID, "hydra/launcher=local", "trainer=cpu")
    assert outcome.code == 0, outcome
    seen = [(tmp_path / "sweep" / "logs" / f"{number}.txt").read_text() for number in range(3)]
    assert seen == ["True\n", "True\n", "False\n"]


def test_no_jobs_at_once_are_refused() -> None:
    with pytest.raises(UserError, match="jobs"):
        local_launcher.LocalLauncher(0)


def test_a_job_that_has_begun_is_resumed_and_one_that_is_finished_is_left(tmp_path: Path) -> None:
    begun = job(tmp_path / "run")
    begun.write_failure("no room")
    assert begun.command()[3:] == ["epochs=1", f"resume={tmp_path / 'run'}"]
    (tmp_path / "run" / "results.json").write_text("{}")
    assert not begun.is_finished()  # for it has failed since
    begun.clear_failure()
    assert begun.is_finished()


GRID = ["-m", "scheduler=fixed,linear,cosine", "hydra.sweep.dir=sweep"]
ONE = ["-m", "scheduler=fixed", "hydra.sweep.dir=sweep"]


def asked(*arguments: str) -> str:
    """Return what Hydra saves of a sweep of the grid."""
    overrides = {"task": [GRID[1], *arguments]}
    return json.dumps({"hydra": {"overrides": overrides, "sweeper": {"params": None}}})


FINISHING = """
import os, pathlib, sys
number = sys.argv[1]
with open("calls", "a") as calls:
    calls.write(number + " ")
if number == "1" and not pathlib.Path("room").exists():
    sys.exit("error: no room")
folder = pathlib.Path("sweep") / number / ".hydra"
folder.mkdir(parents=True, exist_ok=True)
(folder / "overrides.yaml").write_text("[]")
(folder.parent / "results.json").write_text("{}")
"""


@pytest.mark.slow
def test_the_same_sweep_goes_on_with_what_is_not_finished(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Job, "command", lambda job: [sys.executable, "-c", FINISHING, str(job.number)]
    )
    grid = [*GRID, "hydra/launcher=local", "trainer=cpu"]
    first = command(*grid)
    assert first.code == 2
    assert "job 2 of 3 failed: no room" in first.err
    other = command(*grid, "seed=2")
    assert other.code == 2
    assert "hydra.sweep.dir=sweep: contains another sweep" in other.err
    plain = command(*GRID, "trainer=cpu")  # the same jobs, but nobody who leaves out what is done
    assert plain.code == 2
    assert "repeat its command with a launcher (hydra/launcher=local)" in plain.err
    (tmp_path / "room").touch()
    second = command(*grid)
    assert second.code == 0, second
    assert "2 of 3 jobs are already done" in second.out
    assert (tmp_path / "calls").read_text().split() == ["0", "1", "2", "1"]
    assert not (tmp_path / "sweep" / "1" / "error.txt").exists()


@pytest.mark.parametrize("content", ["", "hydra:\n  overrides: [", "hydra: 'ä"])
def test_a_sweep_whose_settings_are_cut_short_is_another_one(
    content: str, command: Command, tmp_path: Path
) -> None:
    begun = tmp_path / "sweep" / "0" / "metrics.csv"
    begun.parent.mkdir(parents=True)
    begun.touch()
    saved = tmp_path / "sweep" / sweeps.SWEEP_FILE
    saved.write_bytes(content.encode()[: 9 if "ä" in content else None])  # within the letter
    outcome = command(*GRID, "hydra/launcher=local", "trainer=cpu")
    assert outcome.code == 2
    assert "contains another sweep" in outcome.err
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {"0", sweeps.SWEEP_FILE}


# SLURM


def script_of(cluster: Path, number: int = 100) -> tuple[dict[str, str], list[str]]:
    """Return the options of a submitted script, and its other lines."""
    lines = (cluster / f"script_{number}").read_text().splitlines()
    given = [line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")]
    return dict(line.partition("=")[::2] for line in given), [
        line for line in lines if line and not line.startswith("#")
    ]


IN_QUEUE = """
import os, pathlib, subprocess, sys
number, *arguments = sys.argv[1:]
folder = pathlib.Path(arguments[-4].removeprefix("output="))
assert arguments[-3:] == ["ckpt_path=last", f"hydra.run.dir={folder}", "checkpoint.requeue=true"]
array = os.environ["SLURM_ARRAY_JOB_ID"] + "_" + os.environ["SLURM_ARRAY_TASK_ID"]
if number == "1":
    sys.exit("error: boom")
if not folder.exists():  # as at the time limit
    folder.mkdir(parents=True)
    subprocess.run(["scontrol", "requeue", array], check=True)
    sys.exit(138)
print("on", os.environ["SLURM_NTASKS"], "processes")
(folder / "results.json").write_text("{}")
"""


@pytest.fixture
def short_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a job be a few lines in place of a training."""
    whole = Job.repeatable_command

    def lines(job: Job) -> list[str]:
        return [sys.executable, "-c", IN_QUEUE, str(job.number), *whole(job)[3:]]

    monkeypatch.setattr(Job, "repeatable_command", lines)


def test_slurm_gets_an_array_whose_jobs_are_put_back_by_themselves_and_a_failed_one_is_told(
    command: Command, tmp_path: Path, cluster: Path, short_jobs: None
) -> None:
    outcome = command(
        *GRID, "hydra/launcher=slurm", "trainer.devices=2", "hydra.launcher.partition=a100",
        "hydra.launcher.minutes=90", "hydra.launcher.memory=64GB", "hydra.launcher.at_once=2",
        "hydra.launcher.account=vision", "hydra.launcher.constraint=nvlink",
        "hydra.launcher.cpus=6", "hydra.launcher.setup=['export HERE=1']",
        "+hydra.launcher.sbatch.qos=long",
    )  # fmt: skip
    assert outcome.code == 2, outcome
    assert (cluster / "script_100").exists(), outcome
    options, lines = script_of(cluster)
    log = str(tmp_path / "sweep" / "logs" / "%A_%a_%t_log.out")
    assert options == {
        "partition": "a100", "account": "vision", "constraint": "nvlink", "qos": "long",
        "time": "90", "nodes": "1", "ntasks-per-node": "2", "gpus-per-node": "2",
        "cpus-per-task": "6", "mem": "64GB", "array": "0-2%2", "signal": "USR1@120",
        "requeue": "", "open-mode": "append", "job-name": "dccc",
        "output": log.replace("%t", "0"),
    }  # fmt: skip
    assert lines[0] == "export HERE=1"
    srun = shlex.split(lines[-1])
    assert srun[0] == "srun"
    assert {"--cpus-per-task=6", "--kill-on-bad-exit=1", log} <= set(srun)

    assert "job 2 of 3 failed: boom" in outcome.err
    assert (tmp_path / "sweep" / "1" / "error.txt").read_text() == "boom\n"
    for number in ("0", "2"):
        assert f"job {int(number) + 1} of 3 done" in outcome.out
        states = (cluster / f"100_{number}" / "states").read_text().split()
        assert states == ["PENDING", "RUNNING", "PENDING", "RUNNING", "COMPLETED"]
        for rank in ("0", "1"):
            log = (tmp_path / "sweep" / "logs" / f"100_{number}_{rank}_log.out").read_text()
            assert "on 2 processes" in log


def test_slurm_is_not_given_a_job_twice(
    command: Command, tmp_path: Path, cluster: Path, short_jobs: None
) -> None:
    for name, state in [("90", "COMPLETED"), ("91", "RUNNING"), ("92", "TIMEOUT")]:
        (cluster / name).mkdir()
        (cluster / name / "states").write_text(f"{state}\n")
    (cluster / "91" / "recorded").write_text("NODE_FAIL\n")  # requeued from a node that failed
    (tmp_path / "sweep" / "logs").mkdir(parents=True)
    (tmp_path / "sweep" / sweeps.SWEEP_FILE).write_text(asked("trainer=cpu"))
    for number in range(3):
        (tmp_path / "sweep" / "logs" / f"{number}.slurm").write_text(str(90 + number))
    job(tmp_path / "sweep" / "0").write_failure("boom")

    def cancel() -> None:
        while not (cluster / "script_100").exists():  # from here on it waits
            time.sleep(0.05)
        (cluster / "91" / "recorded").unlink()
        (cluster / "91" / "states").write_text("CANCELLED by 7\n")

    user = threading.Thread(target=cancel, daemon=True)
    user.start()
    outcome = command(*GRID, "hydra/launcher=slurm", "trainer=cpu")
    user.join(10)
    assert "job 2 is already SLURM job 91, running" in outcome.out
    assert "job 2 of 3 failed: SLURM says CANCELLED" in outcome.err
    assert "job 1 of 3 done" in outcome.out
    assert "job 3 of 3 done" in outcome.out
    options, _ = script_of(cluster)
    assert options["array"] == "0-1%2"
    assert "gpus-per-node" not in options
    assert (tmp_path / "sweep" / "logs" / "2.slurm").read_text() == "100_1"


def test_slurm_is_asked_for_only_where_it_is(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    outcome = command(*ONE, "hydra/launcher=slurm")
    assert outcome.code == 2
    assert "no sbatch, srun, sacct, squeue here" in outcome.err


def test_a_slurm_without_accounting_is_refused(
    command: Command, tmp_path: Path, cluster: Path
) -> None:
    lines = "echo 'Slurm accounting storage is disabled' >&2; exit 1"
    (tmp_path / "bin" / "sacct").write_text(f"#!/bin/sh\n{lines}\n")
    outcome = command(*ONE, "hydra/launcher=slurm", "trainer=cpu")
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert "sacct does not answer (Slurm accounting storage is disabled)" in line
    assert not (cluster / "script_100").exists()


def test_a_job_that_slurm_has_forgotten_ends_with_its_results(
    command: Command, tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(job: Job) -> list[str]:
        results = job.folder / "results.json"
        lines = (
            f"from pathlib import Path; p = Path({str(results)!r}); "
            "p.parent.mkdir(parents=True, exist_ok=True); p.write_text('{}')"
        )
        return [sys.executable, "-c", lines]

    monkeypatch.setattr(Job, "repeatable_command", finish)
    (tmp_path / "bin" / "sacct").write_text("#!/bin/sh\necho 'JobID|State|NodeList'\n")
    job(tmp_path / "sweep" / "1").write_failure("boom")
    (tmp_path / "sweep" / sweeps.SWEEP_FILE).write_text(asked("trainer=cpu"))
    outcome = command(*GRID, "hydra/launcher=slurm", "trainer=cpu")
    assert outcome.code == 0, outcome
    assert "job 3 of 3 done" in outcome.out
    assert not (tmp_path / "sweep" / "1" / "error.txt").exists()


@pytest.mark.parametrize("lost", ["forgotten", "no_end"])
def test_a_job_that_slurm_has_forgotten_without_results_has_failed(
    lost: str, command: Command, tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [sys.executable, "-c", "pass"]
    monkeypatch.setattr(Job, "repeatable_command", lambda job: lines)
    monkeypatch.setattr(slurm_queue, "FORGOTTEN_SECONDS", 0.2)
    (cluster / lost).touch()
    outcome = command(*ONE, "hydra/launcher=slurm", "trainer=cpu")
    assert outcome.code == 2
    said = "not in SLURM's queue for 10 minutes, no end in sacct, and no"
    assert f"failed: {said} results" in outcome.err
    assert said in (tmp_path / "sweep" / "0" / "error.txt").read_text()


def test_what_is_submitted_is_cancelled_when_the_rest_is_refused(
    command: Command, tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [sys.executable, "-c", "import time; time.sleep(1)"]
    monkeypatch.setattr(Job, "repeatable_command", lambda job: lines)
    sbatch = tmp_path / "bin" / "sbatch"
    whole = sbatch.read_text()
    refusal = f"if [ -e {cluster}/script_100 ]; then echo 'no such QOS' >&2; exit 1; fi"
    sbatch.write_text(whole.replace("\n", f"\n{refusal}\n", 1))
    outcome = command(
        "-m", "trainer.devices=1,2", "trainer=cpu", "hydra/launcher=slurm", "hydra.sweep.dir=sweep"
    )
    assert outcome.code == 2
    assert "no such QOS" in outcome.err
    assert any("CANCELLED" in path.read_text() for path in cluster.glob("100*/states"))


def test_without_submitit_the_extra_is_named(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    outcome = command(*ONE, "hydra/launcher=slurm")
    assert outcome.code == 2
    assert "pip install 'dccc-lightning[slurm]'" in outcome.err


@pytest.mark.slow
@pytest.mark.ddp
def test_jobs_of_two_processes_each_run_beside_each_other(
    command: Command, tiny: list[str], tmp_path: Path
) -> None:
    outcome = command(
        "-m", *tiny, "trainer.devices=2", "epochs=1", "iterations=1", "scheduler=fixed,linear",
        "hydra/launcher=local", "hydra.launcher.jobs=2", "hydra.sweep.dir=sweep",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    for number in ("0", "1"):
        assert (tmp_path / "sweep" / number / "results.json").exists()
        printed = (tmp_path / "sweep" / "logs" / f"{number}.txt").read_text()
        assert printed.count("outputs:") == 1
    names = sorted(path.name for path in (tmp_path / "sweep").iterdir())
    assert names == ["0", "1", "logs", "multirun.yaml"]


@pytest.mark.slow
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


def test_the_rank_that_failed_is_heard_where_the_first_one_was_killed(tmp_path: Path) -> None:
    logs = [tmp_path / f"100_1_{rank}_log.out" for rank in range(3)]
    for log, text in zip(logs, ["starting", "starting\nerror: boom\n", "starting"], strict=True):
        log.write_text(text)
    failed = job(tmp_path)._replace(log=logs[0])
    assert failed.error_line() == "starting"
    assert slurm_launcher._failure(failed, "FAILED") == "boom"


def test_jobs_ask_for_what_a_node_has(cluster: Path, command: Command) -> None:
    (cluster / "nodes").write_text("main*|2|(null)|8000\nbig|64|gpu:8|500000\n")
    (cluster / "held").touch()
    for arguments, cpus in ([], "2"), (["trainer.devices=2"], "1"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(slurm_launcher, "_endings", lambda running: iter(()))
            command(*ONE[:2], "hydra/launcher=slurm", "trainer=cpu", *arguments,
                    f"hydra.sweep.dir=s{cpus}")  # fmt: skip
        script = max(cluster.glob("script_*")).read_text()
        assert f"#SBATCH --cpus-per-task={cpus}\n" in script
        assert f"--cpus-per-task={cpus} " in script.splitlines()[-1]


@pytest.mark.parametrize(
    ("launcher", "trainer", "said"),
    [
        ({"cpus": 8}, {}, "the nodes have at most 2; hydra.launcher.cpus=2"),
        ({}, {"accelerator": "gpu"}, "1 GPUs per node, and the nodes have at most 0"),
        ({}, {"num_nodes": 2}, "trainer.num_nodes=1"),
        ({}, {"devices": 4}, "fewer trainer.devices"),
    ],
)
def test_jobs_that_no_node_can_hold_are_refused(
    launcher: dict[str, int], trainer: dict[str, object], said: str, tmp_path: Path
) -> None:
    names = ("partition", "account", "constraint", "gpus", "cpus", "memory")
    usual = dict.fromkeys(names) | {"minutes": 1, "warning_seconds": 1, "at_once": 1}
    asking = slurm_launcher.SlurmLauncher(**usual | launcher, setup=[], sbatch={})
    one = job(tmp_path / "run")
    one = one._replace(trainer={**one.trainer, **trainer})
    with pytest.raises(UserError, match=re.escape(said)):
        asking._resources(one, [Node(2, 0, 8000)])


def test_a_sweep_whose_jobs_no_node_can_hold_leaves_nothing(
    cluster: Path, command: Command, tmp_path: Path
) -> None:
    (cluster / "nodes").write_text("main*|2|(null)|8000\n")
    outcome = command(*ONE, "hydra/launcher=slurm", "trainer=cpu", "hydra.launcher.memory=64GB")
    assert outcome.code == 2
    assert "hydra.launcher.memory=8000MB" in outcome.err
    assert not list(cluster.glob("script_*"))
    assert not (tmp_path / "sweep").exists()


def test_a_refused_submission_leaves_nothing(
    cluster: Path, command: Command, tmp_path: Path
) -> None:
    refusal = "sbatch: error: Invalid account or account/partition combination specified"
    (tmp_path / "bin" / "sbatch").write_text(f"#!/bin/sh\necho '{refusal}' >&2\nexit 1\n")
    outcome = command(*ONE, "hydra/launcher=slurm", "trainer=cpu")
    assert outcome.code == 2
    assert "Invalid account" in outcome.err
    assert not (tmp_path / "sweep").exists()


def test_the_clock_counts_batches_of_jobs_and_trials() -> None:
    grid, trials = JobClock(), JobClock(total=30)
    grid.begin(2, 0)
    assert (grid.name(1), grid.left()) == ("job 2 of 2", "")
    grid.tick()
    assert grid.left().endswith(" left)")
    grid.tick()
    assert grid.left() == ""
    grid.begin(2, 2)  # hydra.sweeper.max_batch_size
    assert grid.name(2) == "job 3 of 4"
    assert grid.left().endswith(" left)")
    trials.begin(1, 4)
    assert trials.name(4) == "job 5 of 30"


def test_why_jobs_wait_is_told_once(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for job_id, reason in (("100_0", "PartitionConfig"), ("100_1", "Priority"), ("100_2", "")):
        (cluster / job_id).mkdir()
        (cluster / job_id / "states").write_text("PENDING\n" if reason else "RUNNING\n")
        (cluster / job_id / "reason").write_text(reason or "None")
    report, ids = QueueReport(), {"100_0": 0, "100_1": 1, "100_2": 2, "99": 3}
    report.update(ids)
    said = capsys.readouterr().out
    assert "job 1: pending (PartitionConfig)\n" in said
    assert "with PartitionConfig the job never starts" in said
    assert "job 2: pending (Priority)\n" in said
    assert "job 3: running\n" in said
    report.update(ids)
    assert capsys.readouterr().out == ""
    (cluster / "100_1" / "states").write_text("RUNNING\n")
    (cluster / "100_1" / "reason").write_text("None")
    report.update(ids)
    assert capsys.readouterr().out == "job 2: running\n"


def test_a_job_is_gone_when_the_queue_has_been_without_it_for_long(
    cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(slurm_queue, "time", SimpleNamespace(monotonic=lambda: now))
    states, report, ids = cluster / "100_0" / "states", QueueReport(), {"100_0": 0, "99": 1}
    states.parent.mkdir()
    states.write_text("RUNNING\n")
    assert report.update(ids) == set()
    now += slurm_queue.FORGOTTEN_SECONDS
    (cluster / "down").touch()  # knows nothing of any job, and does not say so
    assert report.update(ids) == set()
    (cluster / "down").unlink()
    assert report.update(ids) == {"99"}
    states.write_text("FAILED\n")
    (cluster / "forgotten").touch()
    assert report.update(ids) == {"99"}
    states.write_text("PENDING\n")  # put back: its time begins anew
    now += slurm_queue.FORGOTTEN_SECONDS
    assert report.update(ids) == {"99"}
    states.write_text("FAILED\n")
    assert report.update(ids) == {"99"}
    now += slurm_queue.FORGOTTEN_SECONDS
    assert report.update(ids) == {"100_0", "99"}


@pytest.mark.slow
def test_the_jobs_of_a_sweep_are_named_with_the_time_left_and_remarks_come_once(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def task(settings: dict, output: Path) -> dict:
        warnings.warn("as before", stacklevel=1)
        logging.getLogger("dccc_lightning").warning("and this")
        print_once("note: the same")
        return {}

    monkeypatch.setattr(verify_task, "verify", task)
    outcome = command("-m", "task=verify", "memory.tau_w=0.6,0.9", "scheduler.start=0.6,0.7",
                      "hydra.sweep.dir=s")  # fmt: skip
    assert outcome.code == 0, outcome
    named = [line for line in outcome.out.splitlines() if line.startswith("job ")]
    assert named[0] == "job 1 of 4: tau_w=0.6 start=0.6"
    assert re.fullmatch(r"job 2 of 4: tau_w=0.6 start=0.7 \(\d+:\d\d left\)", named[1])
    assert len(named) == 4
    assert outcome.out.count("note: the same") == 1
    assert outcome.err.count("warning: as before") == 1
    assert outcome.err.count("and this") == 1
