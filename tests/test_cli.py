"""The command line: one line and exit code 2 for a mistake, nothing written."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import wandb
import yaml
from PIL import Image

from conftest import Command, Composed
from dccc_lightning import __version__
from dccc_lightning.cli import run_folder
from dccc_lightning.common import ranks
from dccc_lightning.config.preflight import check_training
from dccc_lightning.errors import UserError

VALUES = {
    "scheduler.start=high": ["scheduler", "start", "'high'"],
    "scheduler.floor=0.9": ["scheduler", "floor"],
    "clustering.k1=1": ["clustering", "k2", "at most 1"],
    "clustering.k2=31": ["clustering", "k2"],
    "batch.instances=1": ["instances", "at least 2", "1"],
    "batch.clusters=1": ["clusters", "at least 2", "1"],
    "memory.momentum=1.5": ["memory", "momentum", "[0, 1]", "1.5"],
    "memory.tau_w=0": ["memory", "tau_w"],
    "loss.smoothing=-0.1": ["loss", "smoothing", "[0, 1]"],
    "optimizer.lr=0": ["optimizer", "lr"],
    "teacher.cap=1.5": ["cap", "1.5"],
    "iterations=0": ["iterations", "at least 1"],
    "augmentation.padding=-1": ["padding"],
    "dataset.on_error=explode": ["on_error", "fail, skip"],
    "model.weights=nowhere.pth": ["nowhere.pth", "no such file"],
    "trainer.precision=17": ["trainer.precision=17", "32-true"],
    "trainer.precision=bf16-true": ["trainer.precision", "bf16-mixed"],
    "model.bn_group_size=1": ["bn_group_size=1", "no variance"],
    "model.bn_group_size=15": ["bn_group_size=15", "one image, which has no variance"],
    "seed=5000000000": ["seed", "at most"],
    "seed=-1": ["seed", "at least 0"],
    "epochs=0": ["epochs must be at least 1"],
    "model.bn_group_size=0": ["model.bn_group_size must be at least 1"],
    "teacher.start=-1": ["teacher.start must be at least 0"],
    "image.height=0": ["image.height must be at least 8"],
    "augmentation.flip=2": ["augmentation.flip must be in [0, 1]"],
    "loader.workers=-1": ["loader.workers must be at least 0"],
}
"""Values that the checks of a training refuse."""

MISTAKES = {
    "scheduler=foo": ["scheduler=foo", "no such option", "exponential", "linear"],
    "dataset=zebras": ["dataset=zebras", "market1501", "synthetic"],
    "schedular=fixed": ["schedular=fixed", "did you mean", "scheduler"],
    "scheduler.strat=0.5": ["scheduler.strat", "scheduler.start"],
    "epoch=3": ["epoch=3", "epochs"],
    "dataset.rot=data": ["dataset.rot", "dataset.root"],
    "a=[1": ["a=[1", "key=value"],
    "+scheduler.colour=1": ["scheduler", "colour"],
    "scheduler.start=1.2": ["scheduler", "start", "(0, 1)", "1.2"],
    "dataset.cameras=1": ["dataset", "cameras"],
    "model.backbone=resnet11": ["model", "resnet11", "resnet10"],
    "trainer.devices=4096": ["trainer.devices=4096"],
    "trainer.devices=3": ["64", "3 processes", "1, 2, 4"],
    "+trainer.speed=9": ["trainer", "speed"],
    "trainer=gpu": ["CUDA"],
    "+trainer.strategy=fsdp": ["trainer.strategy=fsdp", "auto or ddp"],
    "+trainer.sync_batchnorm=true": ["trainer.sync_batchnorm=true", "model.bn_group_size="],
    "+callbacks.own=1": ["callbacks.own: must be a section with _target_, or null"],
    "+logger.own=1": ["logger.own: must be a section with _target_, or null"],
    "+logger.own.save_dir=x": ["logger.own: must be a section with _target_, or null"],
    "+trainer.fast_dev_run=true": ["trainer.fast_dev_run=true", "epochs=1 iterations=1"],
    "clustering.k1=5000": ["clustering.k1 must be at most 1519", "lower clustering.k1"],
    "callbacks.recluster=null": ["callbacks.recluster"],
    "scheduler=null": ["scheduler=null", "option"],
    "logger=null": ["logger=null", "option"],
    "output=null": ["output"],
    "output=/proc/nowhere/run": ["output=/proc/nowhere/run"],
    "eval_every=0": ["eval_every", "at least 1"],
    "epochs=ten": ["epochs=ten: must be a number"],
    "compile=no": ["compile=no: must be true or false"],
    "checkpoint.requeue=maybe": ["checkpoint.requeue=maybe: must be true or false"],
    "clustering.k1=many": ["clustering.k1=many: must be a number"],
    "recipe.tau_w=small": ["recipe.tau_w=small: must be a number"],
    "batch=64": ["batch=64: is a section; set batch.clusters, batch.instances"],
    "evaluate=false": [
        "evaluate=false: is a section; set evaluate.protocol, evaluate.camera_center"
    ],
    "image=[256,128]": ["image=[256,128]: is a section; set image.height, image.width"],
    "augmentation=null": ["augmentation=null: is a section; set augmentation.padding"],
    "~teacher": ["~teacher: cannot be removed"],
    "~logger": ["~logger: cannot be removed"],
    "callbacks.panels.every=0": ["callbacks.panels.every must be at least 1"],
    "callbacks.map.frames=0": ["callbacks.map.frames must be at least 1"],
    "callbacks.map.images=0": ["callbacks.map.images must be at least 1"],
    "callbacks.best.mode=maximum": ["callbacks.best: `mode` can be min, max"],
    "seed=1,2": ["seed=1,2: several values; add -m for a sweep, or brackets: seed=[1,2]"],
    "logger=[csv,tensorbord]": ["logger=tensorbord: no such option", "tensorboard"],
    "logger.wandb.mode=offline": ["logger.wandb.mode=offline: no such setting; with logger=wandb"],
    "optimizer.momentum=0.9": ["optimizer.momentum=0.9: no such setting; with optimizer=sgd"],
    "logger.wandb.entity=me": ["logger.wandb.entity=me: no such setting; with logger=wandb"],
    "dataset.variant=labeled": [
        "dataset.variant=labeled: no such setting; with dataset=",
        "others",
    ],
    "scheduler.epochs=40": ["scheduler.epochs=40: no such setting; with scheduler=cosine"],
    "--epochs=3": ["--epochs=3: settings have no dashes: epochs=3"],
    "ckpt_path=other.ckpt": ["ckpt_path=other.ckpt: must be last or previous", "model.weights="],
    "hydra/sweeper=optuna": ["hydra/sweeper=optuna: is for the jobs of a sweep; add -m"],
    "hydra/launcher=local": ["hydra/launcher=local: is for the jobs of a sweep; add -m"],
}

ALIKE = {
    "dataset.cameras=1", "clustering.k1=many", "recipe.tau_w=small", "evaluate=false",
    "image=[256,128]", "augmentation=null", "~teacher", "logger.wandb.entity=me",
}  # fmt: skip
"""Those that another one goes the same way as; the slow tests have them."""


def test_a_folder_in_the_place_of_a_sweep_is_told_its_argument(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "multirun" / "first").mkdir(parents=True)
    outcome = command("task=report", "sweep=multirun/first")
    assert outcome.code == 2
    said = "sweep=multirun/first: no such option; to give a folder, use sweep_folder="
    assert outcome.err == f"error: {said}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep=study/part"], "sweep=study/part: no such option; did you mean study/parts"),
        (["sweep=nothing"], "sweep=nothing: no such option; valid: ablation, dcps_grid"),
        (["scheduler.start=interval(0.5,0.8)"], "is a range to search; add hydra/sweeper=optuna"),
        (
            ["sweep=dcps_range", "scheduler.start=interval(0.8,0.5)", "hydra.sweep.dir=s"],
            "scheduler.start: `low <= high` must hold",
        ),
    ],
)
def test_a_sweep_that_is_refused_leaves_nothing_in_its_own_way(
    arguments: list[str], said: str, command: Command, tmp_path: Path
) -> None:
    outcome = command("-m", *arguments)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert said in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_that_of_this_package(command: Command, tmp_path: Path) -> None:
    outcome = command("--version")
    assert (outcome.code, outcome.out) == (0, f"dccc-lightning {__version__}\n")
    assert list(tmp_path.iterdir()) == []


def test_nobody_is_drawn_into_a_folder_of_crops(command: Command, tmp_path: Path) -> None:
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "0001.jpg").write_bytes(b"of a person")
    outcome = command("trainer=cpu", "dataset.root=crops", "output=run")
    assert outcome.code == 2
    assert "contains images (0001.jpg)" in outcome.err
    assert "dataset=folder" in outcome.err
    assert [path.name for path in (tmp_path / "crops").iterdir()] == ["0001.jpg"]


def test_a_folder_with_a_file_of_our_names_is_left_alone(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_bytes(b"a: gr\xf6sse\n")
    outcome = command("output=mine", "dataset=folder", "dataset.root=nowhere")
    assert outcome.code == 2
    assert "output=mine: is not empty" in outcome.err
    assert (tmp_path / "mine" / "config.yaml").read_bytes() == b"a: gr\xf6sse\n"


def test_what_a_preset_leaves_null_may_be_null(command: Command, tmp_path: Path) -> None:
    outcome = command("dataset=market1501", "published=null", "dataset.root=nowhere")
    assert outcome.code == 2
    assert "bounding_box_train" in outcome.err


def test_a_run_in_a_folder_called_wandb_is_a_run(tmp_path: Path) -> None:
    run = tmp_path / "wandb" / "run"
    run.mkdir(parents=True)
    assert not run_folder.has_started(run)
    (run / "metrics.csv").write_text("epoch\n0\n")
    assert run_folder.has_started(run)


def test_the_reasons_of_failed_jobs_stay_wherever_the_jobs_are(
    command: Command, tmp_path: Path
) -> None:
    outcome = command(
        "-m", "dataset=folder", "dataset.root=nowhere", "seed=1,2", "hydra.sweep.dir=s",
        "hydra.sweep.subdir=${hydra.job.num}/a",
    )  # fmt: skip
    assert outcome.code == 2
    assert len(list((tmp_path / "s").rglob("error.txt"))) == 2


def test_a_sweep_is_previewed(command: Command, tmp_path: Path) -> None:
    grid = ("-m", "memory.tau_w=0.6,0.9", "scheduler.start=0.6,0.7", "seed=3")
    outcome = command(*grid, "--cfg", "job")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[1] == "# job 2 of 4: tau_w=0.6 start=0.7"
    shown = yaml.safe_load(outcome.out)
    assert (shown["memory"]["tau_w"], shown["scheduler"]["start"], shown["seed"]) == (0.6, 0.6, 3)
    preset = command("--multirun", "sweep=ablation", "--cfg", "job", "-p", "memory")
    assert "# job 24 of 24: " in preset.out
    assert "update: instance" in preset.out
    assert list(tmp_path.iterdir()) == []


def test_a_search_is_previewed(command: Command) -> None:
    pytest.importorskip("optuna")
    outcome = command("-m", "sweep=dcps_range", "--cfg", "job", "-p", "scheduler")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("# 30 trials draw scheduler.start=interval(0.5,0.8) ")
    assert yaml.safe_load(outcome.out)["start"] == 0.5


def test_a_mistake_in_a_preview_is_told(command: Command) -> None:
    outcome = command("-m", "seed=1,2", "memory.foo=3", "--cfg", "job")
    assert outcome.code == 2
    assert "memory.foo=3: no such setting" in outcome.err


@pytest.mark.parametrize("argument", VALUES)
def test_a_value_that_cannot_be_is_one_line(argument: str, composed: Composed) -> None:
    settings = composed(changes=[argument]) | {"callbacks": {}, "logger": {}}
    with pytest.raises(UserError) as refused:
        check_training(settings)
    assert all(part in str(refused.value) for part in VALUES[argument]), refused.value
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "argument",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in ALIKE)) for name in MISTAKES],
)
def test_a_mistake_is_one_line_with_exit_code_2_and_nothing_written(
    argument: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if argument == "trainer=gpu":
        monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    arguments = [argument] if argument.startswith("trainer=") else ["trainer=cpu", argument]
    outcome = command(*arguments)
    assert outcome.code == 2, outcome
    lines = [line for line in outcome.err.splitlines() if line]
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("error: ")
    for part in MISTAKES[argument]:
        assert part in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_over_an_unknown_option_writes_nothing(command: Command, tmp_path: Path) -> None:
    outcome = command("-m", "scheduler=fixed,lineer")
    assert outcome.code == 2
    assert "scheduler=lineer" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_setting_that_some_jobs_of_a_sweep_lack_is_named(
    command: Command, tmp_path: Path
) -> None:
    outcome = command(
        "-m", "scheduler=fixed,linear", "scheduler.floor=0.3", "hydra.sweep.dir=sweep"
    )
    assert outcome.code == 2
    assert "scheduler.floor: only some options" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_wandb_online_without_an_account_says_what_to_do(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(**_: object) -> None:
        raise wandb.errors.UsageError("No API key configured")

    monkeypatch.setattr("wandb.init", refuse)
    outcome = command("trainer=cpu", "logger=wandb", "logger.wandb.mode=online")
    assert outcome.code == 2
    assert "logger=wandb: No API key configured" in outcome.err
    assert "logger.wandb.mode=offline" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_output_folder_is_left_alone(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    outcome = command("output=mine")
    assert outcome.code == 2
    assert "not a run folder" in outcome.err
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_an_output_that_is_a_file_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("a file")
    outcome = command("output=notes")
    assert outcome.code == 2
    assert "cannot be written" in outcome.err


def market_tree(root: Path) -> Path:
    """Write a tree in Market-1501's layout, ten identities under three cameras."""
    home = root / "Market-1501-v15.09.15"
    for name in ("bounding_box_train", "query", "bounding_box_test"):
        (home / name).mkdir(parents=True)
    for identity in range(1, 11):
        for camera in range(1, 4):
            for shot in range(3):
                test = "query" if shot == 0 else "bounding_box_test"
                split = "bounding_box_train" if identity <= 6 else test
                color = (identity * 25, 255 - identity * 20, 60 + camera * 40)
                Image.new("RGB", (16, 32), color).save(
                    home / split / f"{identity:04d}_c{camera}s1_{shot:06d}_00.jpg"
                )
    return home


def test_an_unreadable_image_is_named_or_skipped(
    command: Command, tmp_path: Path, tiny: list[str]
) -> None:
    home = market_tree(tmp_path / "data")
    broken = home / "bounding_box_train" / "0001_c1s1_000000_00.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    arguments = [a for a in tiny if not a.startswith("dataset.")]
    arguments += [
        "dataset=market1501", f"dataset.root={home.parent}", "model=resnet10", "model.weights=null",
        "epochs=1", "iterations=1", "clustering.k1=6", "output=run",
    ]  # fmt: skip
    failed = command(*arguments)
    assert failed.code == 2
    assert broken.name in failed.err
    assert "dataset.on_error=skip" in failed.err
    assert not (tmp_path / "run").exists()
    skipped = command(*arguments, "dataset.on_error=skip")
    assert skipped.code == 0, skipped
    assert broken.name in skipped.err
    assert (tmp_path / "run" / "results.json").exists()


def test_folders_of_the_user_stay(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine" / "empty").mkdir(parents=True)
    assert command("output=mine/empty/run", "batch.clusters=1", "trainer=cpu").code == 2
    assert (tmp_path / "mine" / "empty").is_dir()
    assert list((tmp_path / "mine" / "empty").iterdir()) == []


def test_no_arguments_train_the_default(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    monkeypatch.setattr(
        "dccc_lightning.tasks.train.train",
        lambda settings, output: trained.append((settings["dataset"]["name"], output.parts[-3])),
    )
    outcome = command()
    assert outcome.code == 0, outcome
    assert trained == [("synthetic", "outputs")]


def test_groups_are_listed_for_help_alone(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def count(self: object, predicate: object) -> str:
        calls.append("asked")
        return "groups"

    monkeypatch.setattr("hydra._internal.hydra.Hydra.format_config_groups", count)
    assert command("scheduler.start=2").code == 2
    assert calls == []
    assert "groups" in command("--help").out
    assert len(calls) <= 3  # a composition each, not each merge


@pytest.mark.parametrize(
    ("argument", "code"), [("--help", 0), ("--cfg=job", 0), ("epochs=ten", 2), ("datset=last", 2)]
)
def test_who_trains_nothing_does_not_wait_for_torch(
    argument: str, code: int, tmp_path: Path
) -> None:
    program = """
import sys
from dccc_lightning.cli import main
try:
    main()
finally:
    assert "torch" not in sys.modules
"""
    command = [sys.executable, "-c", program, argument]
    assert subprocess.run(command, check=False, cwd=tmp_path).returncode == code


FIRST = """
import os, subprocess, sys, time
from dccc_lightning.common import ranks
from dccc_lightning.config.preflight import check_training
from dccc_lightning.errors import UserError
ranks.WATCH_EVERY = 0.05
ranks.end_with_first()
if sys.argv[1:]:
    subprocess.Popen([sys.executable, *sys.orig_argv[1:-1]], env=os.environ | {"LOCAL_RANK": "1"})
print("begun", flush=True)
time.sleep(60)
"""


def test_a_process_ends_with_the_first_one_that_was_killed() -> None:
    command = [sys.executable, "-c", FIRST, "another"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert [first.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
        first.kill()
        first.communicate(timeout=200)  # until nobody holds its output any more


def test_a_process_that_lightning_did_not_start_outlives_whoever_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: begun.append(thread.name))
    monkeypatch.setenv("LOCAL_RANK", "1")
    for first in ("", "1234567"):
        monkeypatch.setenv(ranks._FIRST, first)
        ranks.end_with_first()
    assert begun == []
    monkeypatch.setenv(ranks._FIRST, str(os.getppid()))
    ranks.end_with_first()
    assert begun == [ranks._FIRST]


def test_of_commands_that_begin_at_once_in_one_folder_one_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    together = Barrier(4)

    def begin(folder: Path) -> int:
        together.wait()
        try:
            run_folder.guard(folder, "output", run_folder.RUN_LOG)
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    with ThreadPoolExecutor(4) as pool:
        for round_ in range(20):
            codes = pool.map(begin, [tmp_path / f"run{round_}"] * 4)
            assert sorted(codes) == [0, 2, 2, 2]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 60
    assert all("choose another folder" in line and "remove" not in line for line in lines)
