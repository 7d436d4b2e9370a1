"""A run that was stopped anywhere goes on where it was, to the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from conftest import LENGTH, Command
from dccc_lightning.cli import resume as cli_resume
from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.errors import UserError
from dccc_lightning.module import DCCCModule
from dccc_lightning.reports.metrics_table import read_rows

EVERY_STEP = "checkpoint.every_n_steps=1"


class Stop(BaseException):
    """Stand in for a kill: nothing catches it."""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def assert_same_run(one: Path, other: Path) -> None:
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    # Nothing half-written is left.
    assert [path for path in other.rglob(".*") if path.name != ".hydra"] == []


def start(arguments: list[str], folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dccc_lightning", *arguments],
        cwd=folder, env=os.environ | environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@contextmanager
def broken_off(
    monkeypatch: pytest.MonkeyPatch, place: tuple[int, int], reason: BaseException
) -> Iterator[None]:
    """Let a run end at an epoch and a step."""
    original = DCCCModule.training_step

    def interrupted(self: DCCCModule, batch, batch_idx: int) -> torch.Tensor:
        if (self.current_epoch, batch_idx) == place:
            raise reason
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(DCCCModule, "training_step", interrupted)
        yield


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("stop_at", "options", "steps_left"),
    [
        ((0, 1), [], 12),  # before the first checkpoint: anew
        ((1, 2), [EVERY_STEP], 7),
        ((3, 2), ["checkpoint.every_n_steps=2"], 1),
        pytest.param((1, 0), [], 9, marks=pytest.mark.slow),
        pytest.param((2, 2), [], 6, marks=pytest.mark.slow),
        pytest.param((0, 1), [EVERY_STEP], 11, marks=pytest.mark.slow),
        pytest.param((0, 2), [EVERY_STEP], 10, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_ends_as_if_it_had_not_been(
    stop_at: tuple[int, int], options: list[str], steps_left: int, whole: Path, command: Command,
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    original = DCCCModule.training_step
    made: list[tuple[int, int]] = []
    stops = True

    def interrupted(self: DCCCModule, batch, batch_idx: int) -> torch.Tensor:
        if stops and (self.current_epoch, batch_idx) == stop_at:
            raise Stop
        made.append((self.current_epoch, batch_idx))
        return original(self, batch, batch_idx)

    monkeypatch.setattr(DCCCModule, "training_step", interrupted)
    with pytest.raises(Stop):
        command(*tiny, *LENGTH, *options, "output=run")
    stops = False
    made.clear()
    outcome = command("resume=run")
    assert outcome.code == 0, outcome
    assert len(made) == steps_left
    assert_same_run(whole, tmp_path / "run")
    assert (tmp_path / "run" / "results.json").exists()


KILLED = """
import os, sys
from dccc_lightning import cli
from dccc_lightning.module import DCCCModule

def step(self, batch, batch_idx, original=DCCCModule.training_step):
    if (self.current_epoch, batch_idx) == (2, 1):
        os._exit(9)
    return original(self, batch, batch_idx)

DCCCModule.training_step = step
sys.argv[0] = "dccc_lightning"
cli.main()
"""
"""A command that ends as if by a kill, in its eighth step."""


@pytest.mark.slow
def test_a_run_whose_loader_has_workers_goes_on_after_a_kill(
    whole: Path, tiny: list[str], tmp_path: Path
) -> None:
    arguments = [*tiny, *LENGTH, EVERY_STEP, "loader.workers=2", "output=run"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert killed.returncode == 9, killed.stderr
    process = start(["resume=run"], tmp_path)
    assert process.wait(200) == 0, process.communicate()[1]
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["experiment=dccc_plus"],
        ["loss=ncplr", "memory=dcmip", "memory.instances_from=1", "clustering.outliers=single"],
        ["clustering.camera=proxies", "clustering.outliers=attach", "scheduler=adaptive"],
    ],
)
def test_what_is_beyond_the_paper_goes_on_within_an_epoch_as_well(
    options: list[str], command: Command, tiny: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    arguments = [*options, *tiny, "epochs=3", "iterations=3"]
    assert command(*arguments, "output=whole").code == 0
    with broken_off(monkeypatch, (1, 2), Stop()), pytest.raises(Stop):
        command(*arguments, EVERY_STEP, "output=run")
    assert command("resume=run").code == 0
    assert_same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize(
    "place",
    [
        "between two renames",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("writing", "clustering")),
    ],
)
def test_a_run_stopped_outside_a_step_goes_on_as_well(
    place: str, whole: Path, command: Command, tiny: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    calls = 0

    def interrupting(original):
        def interrupted(*arguments, **options):
            nonlocal calls
            if place != "writing" or arguments[0].name.startswith(".last.ckpt."):
                calls += 1
            if calls == 3:
                raise Stop
            return original(*arguments, **options)

        return interrupted

    with monkeypatch.context() as patch:
        if place == "clustering":
            patch.setattr(PseudoLabeler, "__call__", interrupting(PseudoLabeler.__call__))
        elif place == "writing":
            patch.setattr(Path, "replace", interrupting(Path.replace))
        else:
            patch.setattr(os, "link", interrupting(os.link))
        with pytest.raises(Stop):
            command(*tiny, *LENGTH, EVERY_STEP, "output=run")
    # As by a kill in the panels of the last epoch, which the resumed run may make otherwise.
    left = tmp_path / "run" / "panels" / ".flow.png.252688010633965"
    left.parent.mkdir()
    left.touch()
    assert command("resume=run").code == 0
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.slow
def test_a_finished_run_can_be_made_longer(
    whole: Path, command: Command, tiny: list[str], tmp_path: Path
) -> None:
    assert command(*tiny, *LENGTH, "epochs=2", "output=run").code == 0
    assert command("resume=run", "epochs=4").code == 0
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.slow
def test_ckpt_path_last_starts_and_later_continues(
    whole: Path, command: Command, tiny: list[str], tmp_path: Path
) -> None:
    arguments = [*tiny, *LENGTH, "output=outputs/synthetic/run", "ckpt_path=last"]
    first = command(*arguments, "epochs=2")
    assert first.code == 0
    assert "no run in outputs/synthetic/run yet" in first.err
    assert len(read_rows(tmp_path / "outputs/synthetic/run/metrics.csv")) == 3
    second = command(*arguments, "epochs=4")  # in the same folder, as a queue repeats it
    assert second.code == 0
    assert "no run" not in second.err
    assert command("ckpt_path=last").code == 0  # the newest, which has nothing left to do
    assert_same_run(whole, tmp_path / "outputs/synthetic/run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ckpt_path=last"], "no run under outputs/"),
        (["ckpt_path=last", "dataset=msmt17"], "no run of msmt17 under outputs/"),
        (["ckpt_path=previous", "output=new"], "new contains no run"),
        (["ckpt_path=last", "-m"], "cannot be part of a sweep"),
        (["resume=photos"], "not a run folder"),
        (["resume=photos", "output=new"], "not a run folder"),
    ],
)
def test_nothing_to_continue_is_one_line(
    arguments: list[str], message: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    outcome = command(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    assert list((tmp_path / "photos").iterdir()) == []


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_offered(
    whole: Path, command: Command, tiny: list[str], tmp_path: Path
) -> None:
    assert command(*tiny, *LENGTH, "epochs=3", "output=run").code == 0
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "last.ckpt").write_bytes((checkpoints / "last.ckpt").read_bytes()[:1000])
    outcome = command("resume=run", "epochs=4")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert "run/checkpoints/last.ckpt is damaged" in outcome.err
    assert "of epoch 2, step 6 is intact: resume=run ckpt_path=previous" in outcome.err
    assert command("resume=run", "epochs=4", "ckpt_path=previous").code == 0
    assert_same_run(whole, tmp_path / "run")

    for name in ("last.ckpt", "previous.ckpt"):
        torch.save({"state_dict": {}}, checkpoints / name)
    outcome = command("resume=run")
    assert outcome.code == 2
    assert "is not a checkpoint of a run of this package" in outcome.err
    assert "start in another folder" in outcome.err
    assert (tmp_path / "run" / "metrics.csv").exists()


@pytest.mark.slow
def test_damage_in_the_middle_of_a_file_is_seen_and_previous_survives_it(
    command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(*tiny, "epochs=2", "output=run").code == 0
    last, previous = (tmp_path / "run" / "checkpoints" / f"{n}.ckpt" for n in ("last", "previous"))
    content = bytearray(last.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = bytes(4096)
    last.write_bytes(content)
    outcome = command("resume=run", "epochs=4")
    assert outcome.code == 2
    assert "last.ckpt is damaged" in outcome.err
    good = previous.read_bytes()

    def save(*_: object, **__: object) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(pl.Trainer, "save_checkpoint", save)
        with pytest.raises(Stop):
            command("resume=run", "epochs=4", "ckpt_path=previous")
    assert previous.read_bytes() == good


@pytest.mark.slow
def test_new_settings_win_over_those_in_the_checkpoint(
    command: Command, tiny: list[str], tmp_path: Path
) -> None:
    assert command(*tiny, "epochs=1", "output=run").code == 0
    before = weights(tmp_path / "run")
    arguments = ["optimizer.lr=1e-12", "optimizer.weight_decay=0"]
    assert command("resume=run", "epochs=2", *arguments).code == 0
    after = weights(tmp_path / "run")
    name = "student.backbone.conv1.weight"
    assert (after[name] - before[name]).abs().max() < 1e-9
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    (group,) = state["optimizer_states"][0]["param_groups"]
    assert group["initial_lr"] == 1e-12
    assert group["weight_decay"] == 0


@pytest.mark.slow
def test_a_run_cannot_end_before_where_it_is(
    command: Command, tiny: list[str], tmp_path: Path
) -> None:
    assert command(*tiny, "epochs=2", "output=run").code == 0
    results = (tmp_path / "run" / "results.json").read_bytes()
    outcome = command("resume=run", "epochs=1")
    assert (outcome.code, outcome.err) == (
        2, "error: epochs=1: 2 are completed; give as many or more\n"
    )  # fmt: skip
    assert (tmp_path / "run" / "results.json").read_bytes() == results
    assert "epochs: 2" in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.slow
def test_a_resume_that_fails_later_keeps_the_arguments_that_it_went_on_with(
    command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(*tiny, "epochs=1", "output=run").code == 0
    with broken_off(monkeypatch, (2, 0), UserError("no room")):
        assert command("resume=run", "epochs=4").code == 2
    assert "epochs: 4" in (tmp_path / "run" / "config.yaml").read_text()
    assert command("resume=run").code == 0
    assert read_rows(tmp_path / "run" / "metrics.csv")[-1]["epoch"] == 3


@pytest.mark.slow
def test_what_an_epoch_was_begun_with_cannot_change_within_it(
    command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with broken_off(monkeypatch, (1, 2), Stop()), pytest.raises(Stop):
        command(*tiny, *LENGTH, EVERY_STEP, "model.bn_group_size=8", "output=run")
    for argument, message in {
        "iterations=1": "iterations=1: the interrupted epoch has completed 2 steps",
        "trainer.accumulate_grad_batches=2": "was started with 1; change it after the end",
        "seed=9": "seed=9: the interrupted epoch was started with 0; change it after the end",
        "batch.clusters=2": "batch.clusters=2: the interrupted epoch was started with 4",
        "trainer.accumulate_grad_batches=3": "cannot be split into 3 parts",
    }.items():
        outcome = command("resume=run", argument)
        assert outcome.code == 2, outcome
        assert message in outcome.err
    assert command("resume=run").code == 0  # what was refused is forgotten
    outcome = command("resume=run", "epochs=5", "trainer.accumulate_grad_batches=2")
    assert outcome.code == 0, outcome  # after the end of an epoch
    rows = read_rows(tmp_path / "run" / "metrics.csv")
    assert [row["step"] for row in rows] == [0, 3, 6, 9, 12, 15]


@pytest.mark.slow
def test_a_run_goes_on_without_an_image_that_has_become_unreadable(
    command: Command, tiny: list[str], tmp_path: Path
) -> None:
    tiny = [a for a in tiny if not a.startswith("dataset.root=")]
    assert command(*tiny, "dataset.root=world", "epochs=1", "output=run").code == 0
    image = min((tmp_path / "world").rglob("bounding_box_train/*.jpg"))
    image.write_bytes(b"")
    assert command("resume=run", "epochs=2").code == 2
    outcome = command("resume=run", "epochs=2", "dataset.on_error=skip")
    assert outcome.code == 0, outcome
    assert "1 unreadable training images skipped" in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_process_killed_at_any_moment_can_be_resumed(
    seed: int, whole: Path, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start([*tiny, *LENGTH, EVERY_STEP, "output=run"], tmp_path)
    wait_until((run / "metrics.csv").exists)
    time.sleep(random.Random(seed).uniform(0, 2.5))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert start(["resume=run"], tmp_path).wait(200) == 0
    assert_same_run(whole, run)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGHUP"])
def test_a_signal_stops_within_an_epoch_and_the_job_is_put_back_into_the_queue(
    name: str, whole: Path, tiny: list[str], tmp_path: Path
) -> None:
    """``scontrol`` is a script that notes what it was called with."""
    run, note = tmp_path / "run", tmp_path / "scontrol.txt"
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {note}\n')
    scontrol.chmod(0o755)
    path = f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}"
    arguments = [*tiny, *LENGTH, "output=run", "ckpt_path=last", "checkpoint.requeue=true"]
    process = start([*arguments, "iterations=100000"], tmp_path, PATH=path, SLURM_JOB_ID="17")
    wait_until((run / "metrics.csv").exists)
    time.sleep(2)
    process.send_signal(signal.Signals[name])
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 128 + signal.Signals[name]
    assert errors.splitlines()[-1] == f"stopped by {name}; resume={run} continues"
    assert note.exists() == (name == "SIGUSR1")
    if name == "SIGUSR1":
        assert note.read_text() == "requeue 17\n"
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["epoch"] == 0
    assert state["global_step"] == state["ReIDDataModule"]["steps"] > 0


def test_processes_that_torchrun_restarts_resume(tmp_path, monkeypatch):
    output = [f"output={tmp_path}"]
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text("- epochs=2\n")
    (tmp_path / "metrics.csv").touch()
    assert cli_resume.resumed(output).folder is None  # OutputGuard refuses the folder
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    assert cli_resume.resumed(output).folder is None
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    start = cli_resume.resumed(output)
    assert start.folder == tmp_path
    assert start.arguments[-1] == "ckpt_path=last"
    assert cli_resume.resumed([f"output={tmp_path / 'killed before it started'}"]).folder is None
    assert cli_resume.resumed(["-m", *output]).folder is None
