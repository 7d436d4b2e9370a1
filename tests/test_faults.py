"""Faults from outside, put into real runs: one line with a remedy, and nothing lost."""

import errno
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from conftest import Command, Outcome, Steps
from dccc_lightning.common.faults import explain_failures, is_lost_process
from dccc_lightning.config.processes import check_shares, less_memory
from dccc_lightning.errors import UserError
from dccc_lightning.losses import SoftContrastiveLoss
from dccc_lightning.models.network import Embedder
from dccc_lightning.module import DCCCModule
from dccc_lightning.reports.metrics_table import read_rows

LENGTH = ["epochs=2", "iterations=4", "eval_every=2"]


class Stop(BaseException):
    """Stand in for a kill: nothing catches it."""


def assert_one_line(outcome: Outcome, *parts: str) -> None:
    assert outcome.code == 2, outcome
    lines = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, outcome.err
    assert "Traceback" not in outcome.err
    for part in parts:
        assert part in lines[0]


@pytest.fixture
def nan_at(at_steps: Steps, monkeypatch: pytest.MonkeyPatch) -> Callable[[set[int]], None]:
    """Make the loss of some steps NaN, and so every gradient."""
    original = SoftContrastiveLoss.forward

    def install(steps: set[int]) -> None:
        factor = [1.0]

        def note(_: DCCCModule, step: int) -> None:
            factor[0] = float("nan") if step in steps else 1.0

        at_steps(note)
        monkeypatch.setattr(
            SoftContrastiveLoss, "forward", lambda *args: original(*args) * factor[0]
        )

    return install


def test_a_nan_stops_the_run_and_its_batch_is_kept(
    nan_at, command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan_at({6})
    outcome = command(*tiny, *LENGTH, "checkpoint.every_n_steps=1", "output=run")
    assert_one_line(
        outcome, "epoch 1, step 2: the loss is nan", "nonfinite_batch.pt", "optimizer.lr"
    )
    batch = torch.load(tmp_path / "run" / "nonfinite_batch.pt", weights_only=True)
    assert (batch["epoch"], batch["step"]) == (1, 2)
    assert batch["view1"].shape == batch["view2"].shape == (16, 3, 32, 16)
    assert len(batch["labels"]) == len(batch["indices"]) == 16
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 6  # the step before it
    assert all(value.isfinite().all() for value in state["state_dict"].values())
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert command("resume=run").code == 0


def test_a_nan_can_be_skipped_as_if_the_step_had_not_been(
    nan_at, at_steps: Steps, command: Command, tiny: list[str], tmp_path: Path
) -> None:
    nan_at({1})

    def stop(_: DCCCModule, step: int) -> None:
        if step == 2:
            raise Stop

    at_steps(stop)
    with pytest.raises(Stop):
        command(
            *tiny, *LENGTH, "on_nonfinite_loss=skip", "checkpoint.every_n_steps=1", "output=run"
        )
    after, before = (
        torch.load(tmp_path / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True)
        for name in ("last", "previous")
    )
    assert (before["global_step"], after["global_step"]) == (1, 2)
    for name, value in after["state_dict"].items():
        if name == "loss_sums":
            assert value[2] == before["state_dict"][name][2] + 1
            assert torch.equal(value[:2], before["state_dict"][name][:2])
        elif "num_batches_tracked" not in name:
            assert torch.equal(value, before["state_dict"][name]), name


def test_skipped_steps_are_counted_and_an_epoch_of_them_is_an_error(
    nan_at, command: Command, tiny: list[str], tmp_path: Path
) -> None:
    nan_at({1, 2, 4, 5, 6, 7})
    outcome = command(*tiny, *LENGTH, "on_nonfinite_loss=skip", "output=run")
    assert_one_line(outcome, "epoch 1: the loss was NaN or infinite on every step")
    rows = read_rows(tmp_path / "run" / "metrics.csv")
    assert rows[1]["train/skipped"] == 2
    assert rows[1]["train/loss"] > 0


def test_a_full_disk_leaves_the_last_checkpoint_whole(
    command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, writes = os.fsync, []

    def write(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith(".last.ckpt"):
            writes.append(descriptor)
            if len(writes) == 2:
                os.ftruncate(descriptor, 100)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", write)
        outcome = command(*tiny, *LENGTH, "output=run")
    assert_one_line(outcome, "run/checkpoints/last.ckpt", "No space left on device", "resume=")
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt", "previous.ckpt"]  # and nothing half-written
    assert command("resume=run").code == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_goes_missing_is_named(
    workers: int, at_steps: Steps, command: Command, tiny: list[str], tmp_path: Path
) -> None:
    tiny = [a for a in tiny if not a.startswith("dataset.root=")]

    def delete(module: DCCCModule, step: int) -> None:
        if step == 4:
            for path in (tmp_path / "world").rglob("bounding_box_train/*.jpg"):
                path.unlink()

    at_steps(delete)
    outcome = command(
        *tiny, *LENGTH, "iterations=12", "dataset.root=world", "dataset.cache=none",
        f"loader.workers={workers}", "output=run",
    )  # fmt: skip
    assert_one_line(outcome, "cannot read the image", ".jpg", "No such file")
    assert (tmp_path / "run" / "metrics.csv").exists()


def test_a_killed_worker_is_one_line(
    at_steps: Steps, command: Command, tiny: list[str], tmp_path: Path
) -> None:
    def kill(module: DCCCModule, step: int) -> None:
        if step == 4:
            for child in multiprocessing.active_children():
                assert child.pid is not None
                os.kill(child.pid, signal.SIGKILL)

    at_steps(kill)
    outcome = command(*tiny, *LENGTH, "iterations=40", "loader.workers=1", "output=run")
    assert_one_line(outcome, "a loader worker was killed", "loader.workers", "resume=")


def test_out_of_gpu_memory_says_what_to_lower(
    at_steps: Steps, command: Command, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    at_steps(fail)
    outcome = command(*tiny, "output=training")
    assert_one_line(outcome, "out of GPU memory: set trainer.precision=bf16-mixed or more")
    outcome = command(
        *tiny, "output=parts", "model.bn_group_size=4", "trainer.precision=bf16-mixed"
    )
    assert_one_line(
        outcome, "out of GPU memory: set trainer.accumulate_grad_batches=2 (the same batch) or more"
    )
    monkeypatch.setattr(Embedder, "forward", fail)
    outcome = command(*tiny, "output=embedding")
    assert_one_line(outcome, "out of GPU memory", "loader.eval_batch_size")


@pytest.mark.parametrize("group", [4, 8, 64])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_only_parts_that_are_accepted_are_advised(group: int, processes: int, parts: int) -> None:
    for instances in (1, 4, 6, 16):
        trainer = {"accumulate_grad_batches": parts, "precision": "32-true", "devices": processes}
        settings = {
            "trainer": trainer,
            "batch": {"clusters": 16, "instances": instances},
            "model": {"bn_group_size": group},
        }
        accepted = []
        for more in range(parts + 1, 65):
            with suppress(UserError):
                changed = trainer | {"accumulate_grad_batches": more}
                check_shares(16 * instances, processes, changed, group)
                accepted.append(f"trainer.accumulate_grad_batches={more} (the same batch) or ")
        expected = next(iter(accepted), "")
        rest = "trainer.precision=bf16-mixed or more trainer.devices"
        assert less_memory(settings, processes) == f"set {expected}{rest}"


@pytest.mark.slow
def test_wandb_out_of_reach_does_not_end_the_run(
    command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "5")
    monkeypatch.setenv("WANDB_MODE", "online")
    outcome = command(*tiny, "logger=wandb", "output=run")
    assert outcome.code == 0, outcome
    assert "W&B cannot be reached" in outcome.err
    run_id = (tmp_path / "run" / "wandb_run.txt").read_text().strip()
    assert list((tmp_path / "run" / "wandb").glob(f"offline-run-*-{run_id}/*.wandb"))
    resumed = command("resume=run", "epochs=3", "logger.wandb.mode=offline")
    assert resumed.code == 0, resumed
    assert (tmp_path / "run" / "wandb_run.txt").read_text().strip() == run_id


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "deterministic"), [("bf16-mixed", "false"), ("32-true", "true")]
)
def test_other_ways_to_compute(
    precision: str, deterministic: str, command: Command, tiny: list[str], tmp_path: Path
) -> None:
    outcome = command(
        *tiny, f"trainer.precision={precision}", f"trainer.deterministic={deterministic}",
        "output=run",
    )  # fmt: skip
    assert outcome.code == 0, outcome
    assert torch.are_deterministic_algorithms_enabled() == (deterministic == "true")
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["trainer.accumulate_grad_batches=3"], "16 images cannot be split into 3 parts"),
        (["trainer.accumulate_grad_batches=2"], "model.bn_group_size=64; choose at most 1 parts"),
        (["trainer.accumulate_grad_batches=0"], "accumulate_grad_batches"),
        (["checkpoint.every_n_steps=0"], "every_n_steps"),
        (["on_nonfinite_loss=ignore"], "on_nonfinite_loss"),
    ],
)
def test_settings_that_cannot_be(
    options: list[str], message: str, command: Command, tiny: list[str], tmp_path: Path
) -> None:
    outcome = command(*tiny, *options, "output=run")
    assert_one_line(outcome, message)
    assert not (tmp_path / "run").exists()


def test_an_end_of_file_is_blamed_on_a_worker_only_where_it_comes_from_one(tmp_path: Path) -> None:
    with pytest.raises(EOFError), explain_failures(tmp_path):
        raise EOFError("of a file")
    with pytest.raises(BrokenPipeError), explain_failures(tmp_path):
        raise BrokenPipeError

    class Cut:  # the queue of a loader whose worker is gone
        def get(self, timeout: float) -> object:
            ours, theirs = multiprocessing.Pipe()
            theirs.close()
            return ours.recv()

    loader = DataLoader(range(4), num_workers=1)
    batches = iter(loader)
    batches._data_queue = Cut()
    with pytest.raises(UserError, match="a loader worker was killed"), explain_failures(tmp_path):
        next(batches)


class Full(Dataset[int]):
    """Images of a worker that finds shared memory full."""

    def __getitem__(self, index: int) -> int:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1>: No space left"
        )


def test_full_shared_memory_is_explained(tmp_path: Path) -> None:
    loader = iter(DataLoader(Full(), sampler=[0], num_workers=1))
    told = r"--shm-size\) or lower loader.workers, then resume="
    with pytest.raises(UserError, match=told), explain_failures(tmp_path):
        next(loader)


@pytest.mark.parametrize("reason", ["Connection closed by peer", "Broken pipe"])
def test_a_lost_process_is_recognised_by_those_that_send_to_it(reason: str) -> None:
    assert is_lost_process(RuntimeError(f"writev [127.0.0.1]:4711: {reason}"))
    assert not is_lost_process(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
