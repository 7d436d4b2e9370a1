"""A run that was stopped goes on after its last whole epoch, to the same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from conftest import Command
from dccc_lightning.module import DCCCModule

LENGTH = ["epochs=4", "iterations=3", "eval_every=2"]


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.mark.parametrize("stop_at", [(0, 1), (1, 0), (2, 2)])
def test_a_stopped_run_ends_as_if_it_had_not_been(
    stop_at: tuple[int, int], whole: Path, command: Command, tiny: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    arguments = [*tiny, *LENGTH]
    if not whole.exists():
        assert command(*arguments, f"output={whole}").code == 0
    original = DCCCModule.training_step

    def interrupted(self: DCCCModule, batch, batch_idx: int) -> torch.Tensor:
        if (self.current_epoch, batch_idx) == stop_at:
            raise Stop
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(DCCCModule, "training_step", interrupted)
        with pytest.raises(Stop):
            command(*arguments, "output=run")
    outcome = command("resume=run")
    assert outcome.code == 0, outcome
    assert_same_run(whole, tmp_path / "run")
    assert (tmp_path / "run" / "results.json").exists()


def test_a_finished_run_can_be_made_longer(
    whole: Path, command: Command, tiny: list[str], tmp_path: Path
) -> None:
    arguments = [*tiny, *LENGTH]
    if not whole.exists():
        assert command(*arguments, f"output={whole}").code == 0
    assert command(*arguments, "epochs=2", "output=run").code == 0
    assert command("resume=run", "epochs=4").code == 0
    assert_same_run(whole, tmp_path / "run")


def test_a_damaged_checkpoint_is_one_line(
    command: Command, tiny: list[str], tmp_path: Path
) -> None:
    assert command(*tiny, "epochs=1", "output=run").code == 0
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    outcome = command("resume=run")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert "last.ckpt" in outcome.err
    assert (tmp_path / "run" / "metrics.csv").exists()


def test_a_folder_that_is_no_run_is_one_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    outcome = command("resume=photos")
    assert outcome.code == 2
    assert "not the folder of a run" in outcome.err
    assert list((tmp_path / "photos").iterdir()) == []


@pytest.mark.slow
def test_a_killed_process_can_be_resumed(
    whole: Path, command: Command, tiny: list[str], tmp_path: Path
) -> None:
    arguments = [*tiny, *LENGTH]
    if not whole.exists():
        assert command(*arguments, f"output={whole}").code == 0
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "dccc_lightning", *arguments, "output=run"],
        cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert command("resume=run").code == 0
    assert_same_run(whole, tmp_path / "run")
