"""A run goes on with the settings in its folder, not with today's presets."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig

from conftest import Command
from dccc_lightning.cli import early_signals
from dccc_lightning.cli.early_signals import handling_stop_signals, set_requeue
from dccc_lightning.common import lock
from dccc_lightning.config.preset_diff import differences

BEGIN = ["trainer=cpu", "epochs=4", "output=run"]
OF_THIS_START = ("resume", "ckpt_path", "trust")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect the settings of training that is none: it leaves a table, as a run that has begun."""
    found: list[dict[str, Any]] = []

    def train(settings: dict[str, Any], output: Path) -> dict[str, Any]:
        (output / "metrics.csv").write_text("epoch\n0\n")
        differences(settings, HydraConfig.get().overrides.task)  # as the report asks at the end
        found.append({k: v for k, v in settings.items() if k not in OF_THIS_START})
        return {}

    monkeypatch.setattr("dccc_lightning.tasks.train.train", train)
    return found


def changed(outcome: Any) -> list[str]:
    assert outcome.code == 0, outcome.err
    return [line for line in outcome.out.splitlines() if line.startswith("changed")]


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "run.log"
    }


@pytest.mark.slow
def test_an_edited_preset_does_not_change_a_run(
    started: list[dict[str, Any]], command: Command, tmp_path: Path
) -> None:
    preset = tmp_path / "mine" / "experiment" / "own.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text("# @package _global_\nseed: 5\nclustering: {k1: 9}\n")
    arguments = ["--config-dir", "mine", "experiment=own", *BEGIN]
    assert command(*arguments).code == 0
    for edit in ("# @package _global_\nseed: 6\n", "epochs: [1\n", None):
        preset.write_text(edit) if edit else preset.unlink()
        assert changed(command("resume=run")) == []
        assert changed(command(*arguments, "ckpt_path=last")) == []  # as a queue repeats it
    preset.parent.rmdir()
    preset.parent.parent.rmdir()
    assert changed(command("resume=run")) == []
    assert len(started) == 8
    assert all(settings == started[0] for settings in started)
    assert started[0]["clustering"]["k1"] == 9


@pytest.mark.slow
def test_arguments_win_are_listed_once_and_stay(
    started: list[dict[str, Any]], command: Command, tmp_path: Path
) -> None:
    added = ["logger=[csv,tensorboard]", "+trainer.gradient_clip_val=1", "~callbacks.timings"]
    assert command(*BEGIN, *added).code == 0
    outcome = command("resume=run", "epochs=32", "recipe.start=0.5", "trainer.precision=32-true")
    before = started[0]["recipe"]["start"]
    assert changed(outcome) == [f"changed: epochs 4 -> 32, recipe.start {before} -> 0.5"]
    assert started[-1]["scheduler"]["start"] == 0.5  # what refers to it follows
    assert "changed: epochs 4 -> 32" in (tmp_path / "run" / "run.log").read_text()
    assert changed(command("resume=run")) == []
    assert started[-1]["epochs"] == 32
    # What was added is there already, what was taken away is not.
    assert changed(command(*BEGIN, *added, "epochs=32", "ckpt_path=last")) == []
    saved = yaml.safe_load((tmp_path / "run" / ".hydra" / "overrides.yaml").read_text())
    assert {"epochs=32", "recipe.start=0.5", "trainer=cpu"} <= set(saved)
    outcome = command("resume=run", "epohcs=3")
    assert outcome.code == 2
    assert "epohcs=3: no such setting; did you mean epochs" in outcome.err
    assert command("resume=run", "compile=no").code == 2


def test_a_group_is_composed_anew_where_another_is_chosen(
    started: list[dict[str, Any]], command: Command, tmp_path: Path
) -> None:
    assert command(*BEGIN, "scheduler.start=0.65", "scheduler=exponential").code == 0
    assert changed(command("resume=run", "scheduler=exponential")) == []
    (line,) = changed(command("resume=run", "scheduler=fixed", "scheduler.start=0.5"))
    assert line.startswith("changed: scheduler exponential -> fixed, ")
    assert "scheduler.start 0.65 -> 0.5" in line
    assert "scheduler.rate 0.99 -> absent" in line
    target = "dccc_lightning.clustering.dcps.FixedSchedule"
    assert started[-1]["scheduler"] == {"_target_": target, "start": 0.5}
    for again in ([], ["scheduler=fixed"]):
        assert changed(command("resume=run", *again)) == []
        assert started[-1]["scheduler"]["start"] == 0.5
    before = content(tmp_path / "run")
    for argument in ("dataset=market1501", "experiment=dccc", "task=evaluate"):
        outcome = command("resume=run", argument)
        assert outcome.code == 2
        assert f"error: {argument}: a resumed run keeps its" in outcome.err
    assert command("resume=run", "scheduler=lineer").code == 2
    assert content(tmp_path / "run") == before


def test_config_yaml_has_the_last_word(
    started: list[dict[str, Any]], command: Command, tmp_path: Path
) -> None:
    assert command(*BEGIN).code == 0
    path = tmp_path / "run" / "config.yaml"
    path.write_text(path.read_text().replace("epochs: 4", "epochs: 5"))
    (tmp_path / "run").rename(tmp_path / "moved")
    assert changed(command("resume=moved")) == []
    assert started[-1]["epochs"] == 5
    assert started[-1]["callbacks"]["table"]["folder"] == str(tmp_path / "moved")
    moved = tmp_path / "moved" / "config.yaml"
    settings = yaml.safe_load(moved.read_text())
    del settings["evaluate"], settings["loader"]["workers"]  # as an earlier version left it
    moved.write_text(yaml.safe_dump(settings))
    assert changed(command("resume=moved")) == []
    assert started[-1]["evaluate"] == started[0]["evaluate"]
    for broken in ("epochs: [1", "", "- 1"):
        moved.write_text(broken)
        outcome = command("resume=moved")
        assert outcome.code == 2
        assert "moved/config.yaml: " in outcome.err
        assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("callbacks.mine", "somewhere.Callback"),
        ("model", "os.system"),
        ("task", "dccc_lightning.common.files.os.remove"),
        ("callbacks.best.list", "dccc_lightning.cli.run_folder.discard"),
    ],
)
def test_code_from_elsewhere_is_named_before_it_is_imported(
    place: str, target: str, started: list[dict[str, Any]], command: Command, tmp_path: Path
) -> None:
    assert command(*BEGIN).code == 0
    path = tmp_path / "run" / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    node = settings
    for part in place.split("."):
        node = node.setdefault(part, {})
    node["_target_"] = target
    settings["trust"] = True  # the folder does not vouch for itself
    path.write_text(yaml.safe_dump(settings))
    before = content(tmp_path / "run")
    for arguments in (["resume=run"], [*BEGIN, "ckpt_path=last"]):
        outcome = command(*arguments)
        assert outcome.code == 2
        assert f"{place}._target_={target}; add trust=true" in outcome.err
        assert content(tmp_path / "run") == before
    assert len(started) == 1
    if place == "callbacks.mine":
        outcome = command("resume=run", "trust=true")
        assert outcome.code == 0, outcome.err
        assert f"note: code outside dccc_lightning: {place}._target_={target}" in outcome.err
        assert command("resume=run").code == 2  # every time anew
        assert command("resume=run", f"++{place}._target_={target}").code == 0  # the user's own


def test_code_of_a_configuration_of_ones_own_is_named(
    started: list[dict[str, Any]], command: Command, tmp_path: Path
) -> None:
    preset = tmp_path / "mine" / "experiment" / "own.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text("# @package _global_\ncallbacks: {mine: {_target_: somewhere.Callback}}\n")
    arguments = ["--config-dir", "mine", "experiment=own", *BEGIN]
    named = "note: code outside dccc_lightning: callbacks.mine._target_=somewhere.Callback\n"
    assert named in command(*arguments).err
    assert command("resume=run").code == 2
    outcome = command(*arguments, "ckpt_path=last")  # the folder of presets is named again
    assert (outcome.code, named in outcome.err) == (0, True)


SPY = """import sys
from hydra.experimental.callback import Callback
from logging import NullHandler
print("imported", file=sys.stderr)
"""

OF_HYDRA = """# @package _global_
hydra:
  callbacks:
    mine: {_target_: spy_of_hydra.Callback}
    other: ${loader.part}
  sweeper: {params: {x: {_target_: spy_of_hydra.params}}}
  job_logging:
    handlers:
      mine: {class: spy_of_hydra.NullHandler}
      console: {stream: ext://spy_of_hydra.sys.stderr}
loader: {part: {_target_: spy_of_hydra.Part}}
"""


def test_code_in_the_section_of_hydra_is_named_before_hydra_imports_it(
    started: list[dict[str, Any]], command: Command, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "spy_of_hydra.py").write_text(SPY)
    preset = tmp_path / "mine" / "experiment" / "own.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text(OF_HYDRA)
    named = [
        "hydra.callbacks.mine._target_=spy_of_hydra.Callback",
        "hydra.callbacks.other._target_=spy_of_hydra.Part",
        "hydra.sweeper.params.x._target_=spy_of_hydra.params",
        "hydra.job_logging.handlers.mine.class=spy_of_hydra.NullHandler",
        "hydra.job_logging.handlers.console.stream=spy_of_hydra.sys.stderr",
    ]
    # The folder has nothing but arguments and the place of the presets, which come from anywhere.
    hidden = tmp_path / "run" / ".hydra"
    hidden.mkdir(parents=True)
    (hidden / "overrides.yaml").write_text(yaml.safe_dump(["experiment=own", *BEGIN]))
    sources = [{"path": str(tmp_path / "mine"), "provider": "command-line"}]
    saved = {"hydra": {"runtime": {"config_sources": sources}}}
    (hidden / "hydra.yaml").write_text(yaml.safe_dump(saved))
    before = content(tmp_path / "run")
    outcome = command("resume=run")
    assert outcome.code == 2
    assert "; add trust=true" in outcome.err
    assert "imported" not in outcome.err
    assert [name for name in named if name not in outcome.err] == []
    assert content(tmp_path / "run") == before
    said = command("--config-dir", "mine", "experiment=own", "trainer=cpu", "output=other").err
    note, _, rest = said.partition("\n")
    assert note.startswith("note: code outside dccc_lightning: hydra.")
    assert [name for name in named if name not in note] == []
    assert "imported" in rest


@pytest.mark.parametrize(
    "section", ["hydra: {callbacks: {mine: {_target_: os.abort}}}", "defaults: [task: verify]"]
)
def test_what_is_of_hydra_in_the_settings_of_a_run_is_refused(
    section: str, started: list[dict[str, Any]], command: Command, tmp_path: Path
) -> None:
    assert command(*BEGIN).code == 0
    path = tmp_path / "run" / "config.yaml"
    before = path.read_text()
    path.write_text(f"{before}{section}\n")
    outcome = command("resume=run")
    assert outcome.code == 2
    name = section.partition(":")[0]
    assert outcome.err == f"error: run/config.yaml: {name} is not a setting; remove it\n"
    path.write_text(before)
    assert command("resume=run").code == 0


@pytest.mark.parametrize(
    ("left", "again"),
    [
        (["run.log"], []),
        (["run.log", ".hydra/config.yaml"], ["ckpt_path=last"]),
        ([".hydra/x"], ["ckpt_path=last"]),
    ],
)
def test_a_run_that_was_killed_before_it_began_begins(
    left: list[str], again: list[str], started: list[dict[str, Any]], command: Command,
    tmp_path: Path,
) -> None:  # fmt: skip
    for name in left:
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).touch()
    outcome = command("resume=run")
    assert outcome.code == 2
    assert "no work is lost; repeat its command with output=run" in outcome.err
    outcome = command(*BEGIN, *again)
    assert outcome.code == 0, outcome.err
    assert started[-1]["epochs"] == 4
    assert command(*BEGIN).code == 2  # now there is something in it


def test_a_run_that_has_nothing_but_its_arguments_begins_with_them(
    started: list[dict[str, Any]], command: Command, tmp_path: Path
) -> None:
    hidden = tmp_path / "run" / ".hydra"
    hidden.mkdir(parents=True)
    (hidden / "overrides.yaml").write_text("- epochs=7\n- hydra.callbacks.x._target_=os.abort\n")
    assert command("resume=run", "seed=3").code == 0
    assert (started[-1]["epochs"], started[-1]["seed"]) == (7, 3)


@pytest.mark.slow
def test_a_sweep_that_was_killed_before_it_began_begins(
    started: list[dict[str, Any]], command: Command, tmp_path: Path
) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "multirun.yaml").touch()
    outcome = command("-m", "trainer=cpu", "seed=1,2", "hydra.sweep.dir=s")
    assert outcome.code == 0, outcome.err
    assert len(started) == 2


@pytest.mark.slow
def test_one_process_at_a_time_goes_on_with_a_run(
    started: list[dict[str, Any]], command: Command, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert command(*BEGIN).code == 0
    assert lock.take(tmp_path / "run" / "run.log")
    before = content(tmp_path / "run")
    try:
        for arguments in (["resume=run"], [*BEGIN, "ckpt_path=last"]):
            outcome = command(*arguments, "epochs=9")
            assert outcome.code == 2
            assert "run: another process is writing this run" in outcome.err
            assert content(tmp_path / "run") == before
            lock.take(tmp_path / "run" / "run.log")  # a command gives up all locks of a process
        monkeypatch.setenv("LOCAL_RANK", "1")  # another process of the same run
        assert command("resume=run").code == 0
    finally:
        lock.release()
    monkeypatch.delenv("LOCAL_RANK")
    assert command("resume=run").code == 0


def test_a_lock_dies_with_its_process_although_a_worker_lives_on(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    script = (
        "import os, sys, time, pathlib; from dccc_lightning.common import lock\n"
        f"assert lock.take(pathlib.Path({str(path)!r}))\n"
        "worker = os.fork()\n"
        "if not worker: print(os.getpid(), flush=True)  # which has let go of the lock\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    try:
        assert not lock.take(path)
        process.kill()
        process.wait()
        assert lock.take(path)
    finally:
        os.kill(worker, signal.SIGKILL)
        process.stdout.close()
        lock.release()


@pytest.mark.parametrize(
    ("number", "arguments", "setting", "requeues"),
    [
        (signal.SIGUSR1, ["checkpoint.requeue=true"], None, True),
        (signal.SIGUSR1, ["output=run"], True, True),
        (signal.SIGUSR1, ["checkpoint.requeue=false"], True, False),
        (signal.SIGUSR1, [], None, False),
        (signal.SIGTERM, ["checkpoint.requeue=true"], None, False),
    ],
)
def test_signals_are_obeyed_from_the_first_moment(
    number: signal.Signals, arguments: list[str], setting: bool | None, requeues: bool,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    asked: list[bool] = []
    monkeypatch.setattr(early_signals, "requeue_job", lambda: asked.append(True))
    before = signal.getsignal(number)

    def signalled() -> None:
        with handling_stop_signals(arguments):
            if setting is not None:
                set_requeue(setting)
            os.kill(os.getpid(), number)

    with pytest.raises(SystemExit) as stop:
        signalled()
    assert stop.value.code == 128 + number
    assert capsys.readouterr().err == f"stopped by {number.name}; the run had not started\n"
    assert bool(asked) is requeues
    assert signal.getsignal(number) is before


def test_a_signal_before_training_leaves_nothing_and_within_it_the_run(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins = True

    def train(settings: dict[str, Any], output: Path) -> dict[str, Any]:
        if not begins:
            (output / "metrics.csv").write_text("epoch\n0\n")
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    monkeypatch.setattr("dccc_lightning.tasks.train.train", train)
    outcome = command(*BEGIN)
    assert (outcome.code, outcome.err) == (143, "stopped by SIGTERM; the run had not started\n")
    assert list(tmp_path.iterdir()) == []
    begins = False
    outcome = command(*BEGIN)
    assert outcome.code == 143
    assert outcome.err == f"stopped by SIGTERM; resume={tmp_path / 'run'} continues\n"
    assert (tmp_path / "run" / "metrics.csv").exists()


def test_nothing_heavy_is_imported_before_signals_are_obeyed() -> None:
    heavy = "{'hydra', 'omegaconf', 'numpy', 'torch', 'yaml', 'rich'}"
    script = f"import sys, dccc_lightning.cli; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
