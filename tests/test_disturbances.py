"""Disks, data, clocks and homes that change under a run: one line, nothing half-written."""

import errno
import os
import pwd
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

from conftest import LENGTH, Command, Outcome, Steps
from dccc_lightning.common import faults
from dccc_lightning.data.synthetic.drawn_dataset import default_root
from dccc_lightning.errors import UserError
from dccc_lightning.module import DCCCModule
from dccc_lightning.reports.metrics_table import read_rows
from refusals import refusing
from test_faults import assert_one_line
from test_resume import assert_same_run

WORLD = "dataset.root=world"
RENAMED = ("metrics.csv", "last.ckpt", "config.yaml")  # all files are written by one function


def own_world(tiny: list[str]) -> list[str]:
    """Return the arguments of a tiny run on files of its own, which a test may harm."""
    return [*(a for a in tiny if not a.startswith("dataset.root=")), WORLD]


def half_written(run: Path) -> list[Path]:
    return [path for path in run.rglob(".*") if path.name != ".hydra"]


@contextmanager
def as_another_user(*folders: Path) -> Iterator[None]:
    """Let the kernel refuse this process, if it is root's, what others may not write."""
    if os.geteuid():
        for folder in folders:
            folder.chmod(0o555)
        try:
            yield
        finally:
            for folder in folders:
                folder.chmod(0o755)
        return
    for above in {parent for folder in folders for parent in folder.parents}:
        with suppress(OSError):
            above.chmod(above.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.slow
def test_images_in_memory_outlive_the_dataset(
    whole: Path, at_steps: Steps, command: Command, tiny: list[str], tmp_path: Path
) -> None:  # fmt: skip
    at_steps(lambda _, step: shutil.rmtree("world", ignore_errors=True) if step == 4 else None)
    outcome = command(*own_world(tiny), *LENGTH, "dataset.cache=ram", "output=run")
    assert outcome.code == 0, outcome
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.slow
def test_a_dataset_that_goes_is_one_line_and_comes_back(
    whole: Path, at_steps: Steps, command: Command, tiny: list[str], tmp_path: Path
) -> None:  # fmt: skip
    def move(_: DCCCModule, step: int) -> None:
        if step == 4 and Path("world").exists():
            Path("world").rename("elsewhere")

    at_steps(move)
    every = "checkpoint.every_n_steps=1"
    outcome = command(
        *own_world(tiny), *LENGTH, "dataset.cache=none", every, "loader.workers=0", "output=run"
    )
    assert_one_line(outcome, "cannot read the image", "world", "No such file")
    assert not half_written(tmp_path / "run")
    Path("elsewhere").rename("world")
    at_steps(lambda *_: None)
    assert command("resume=run").code == 0
    assert_same_run(whole, tmp_path / "run")


def test_a_run_whose_folder_is_taken_away_ends_with_a_line(
    at_steps: Steps, command: Command, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    at_steps(lambda _, step: run.rename(tmp_path / "kept") if step == 4 else None)
    outcome = command(*tiny, *LENGTH, "output=run")
    assert_one_line(outcome, "run/metrics.csv was removed or moved")
    assert len(read_rows(tmp_path / "kept" / "metrics.csv")) == 2
    assert not (run / "metrics.csv").exists()


@pytest.mark.slow
def test_a_dataset_may_be_read_only(
    whole: Path, at_steps: Steps, command: Command, tiny: list[str], tmp_path: Path
) -> None:  # fmt: skip
    run = tmp_path / "run"
    with as_another_user_from_step(at_steps, 4, [tmp_path / "world"], writable=run):
        options = ["dataset.cache=none", "loader.workers=0", "output=run"]
        outcome = command(*own_world(tiny), *LENGTH, *options)
    assert outcome.code == 0, outcome
    assert_same_run(whole, run)


@pytest.mark.parametrize("way", ["user", pytest.param("file", marks=pytest.mark.slow)])
def test_an_output_folder_that_becomes_read_only(
    way: str, whole: Path, at_steps: Steps, command: Command, tiny: list[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    run = tmp_path / "run"
    every = "checkpoint.every_n_steps=1"
    if way == "user":
        with as_another_user_from_step(at_steps, 4, [run, run / "checkpoints"]):
            outcome = command(*tiny, *LENGTH, every, "output=run")
        assert_one_line(outcome, "run/checkpoints/", "Permission denied", "resume=")
    else:

        def replace(_: DCCCModule, step: int) -> None:
            if step == 4 and (run / "checkpoints").is_dir():
                (run / "checkpoints").rename(run / "kept")
                (run / "checkpoints").touch()

        at_steps(replace)
        outcome = command(*tiny, *LENGTH, every, "output=run")
        assert_one_line(outcome, "run/checkpoints", "cannot be written", "resume=")
        (run / "checkpoints").unlink()
        (run / "kept").rename(run / "checkpoints")
        at_steps(lambda *_: None)
    assert not half_written(run)
    assert command("resume=run").code == 0
    assert_same_run(whole, run)


@contextmanager
def as_another_user_from_step(
    at_steps: Steps, number: int, folders: list[Path], writable: Path | None = None
) -> Iterator[None]:  # fmt: skip
    """Be ``as_another_user`` from a step on, to whom one folder may belong."""
    user = as_another_user(*folders)
    entered = []

    def change(_: DCCCModule, step: int) -> None:
        if step == number and not entered:
            for place in [writable, *writable.rglob("*")] if writable else []:
                place.chmod(0o777)
            user.__enter__()
            entered.append(user)

    at_steps(change)
    try:
        yield
    finally:
        for one in entered:
            one.__exit__(None, None, None)
        at_steps(lambda *_: None)


@pytest.mark.slow
def test_a_clock_that_is_set_back_changes_nothing(
    whole: Path, at_steps: Steps, command: Command, tiny: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    now, calls = time.time, []

    def earlier() -> float:
        calls.append(None)
        return now() - 86400 * len(calls)

    class Stop(BaseException):
        pass

    def stop(_: DCCCModule, step: int) -> None:
        if step == 4:
            raise Stop

    monkeypatch.setattr(time, "time", earlier)
    at_steps(stop)
    with pytest.raises(Stop):
        command(*tiny, *LENGTH, "checkpoint.every_n_steps=1", "output=run")
    assert calls
    for path in (tmp_path / "run").rglob("*"):  # written in the future, says the clock
        os.utime(path, (now() + 86400, now() + 86400))
    at_steps(lambda *_: None)
    outcome = command("resume=run")
    assert outcome.code == 0, outcome
    assert_same_run(whole, tmp_path / "run")
    seconds = [
        value for row in read_rows(tmp_path / "run" / "timings.csv") for value in row.values()
    ]
    assert min(seconds) >= -1  # the epoch before training; no time runs backwards


def test_no_home_is_one_line(
    command: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_account(_: int) -> None:
        raise KeyError

    for name in ("DCCC_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_account)
    with pytest.raises(UserError, match=r"no home folder.*dataset\.root="):
        default_root()
    outcome = command(*(a for a in tiny if not a.startswith("dataset.root=")), "output=run")
    assert_one_line(outcome, "no home folder", "dataset.root=")
    outcome = command(*tiny, 'dataset.root="~nobody_of_this_name"', "output=run")
    assert_one_line(outcome, "no home folder")
    assert not (tmp_path / "run").exists()
    with pytest.raises(RuntimeError, match="another"), faults.explain_unknown_home():
        raise RuntimeError("another")


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_write_loses_nothing(
    whole: Path, command: Command, tiny: list[str], tmp_path: Path
) -> None:  # fmt: skip
    """Refuse every kind of write once: each stops the run, and the next command resumes it."""
    run, refused, outcome = tmp_path / "run", list[tuple[str, str]](), Outcome(2, "", "")
    arguments = [*tiny, *LENGTH, "checkpoint.every_n_steps=1", "output=run", "ckpt_path=last"]

    def once(event: str, name: str) -> bool:
        place = event, name
        if refusals or place in refused or (event == "os.rename" and name not in RENAMED):
            return False
        refused.append(place)
        if event != "os.link":  # a copy is made instead, and refused as well
            refusals.append(place)
        return True

    while outcome.code:
        refusals = list[tuple[str, str]]()
        number = errno.ENOSPC if len(refused) % 2 else errno.EROFS
        with refusing(run, once, number):
            outcome = command(*arguments)
        assert (outcome.code == 2) == bool(refusals), (refused[-1], outcome)
        if refusals:
            assert_one_line(outcome, os.strerror(number))
            assert not run.exists() or not half_written(run), refused[-1]
    assert_same_run(whole, run)
    names = {name for _, name in refused}
    assert {
        "run", "run.log", "config.yaml", "overrides.yaml", "metrics.csv", "timings.csv",
        "clusters.parquet", "clusters.csv", "queries.parquet", "best.ckpt", "last.ckpt",
        "previous.ckpt", "results.json", "curves.png", "report.html", "clusters.html",
    } <= names, names  # fmt: skip


@pytest.mark.slow
def test_the_number_of_loader_workers_changes_no_bit(
    whole: Path, command: Command, tiny: list[str], tmp_path: Path
) -> None:  # fmt: skip
    arguments = ["dataset.cache=none", "loader.workers=2", "output=run"]
    outcome = command(*tiny, *LENGTH, *arguments)
    assert outcome.code == 0, outcome
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.slow
def test_the_number_of_threads_changes_no_more_than_roundings(
    whole: Path, command: Command, tiny: list[str], tmp_path: Path
) -> None:  # fmt: skip
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        outcome = command(*tiny, *LENGTH, "output=run")
    finally:
        torch.set_num_threads(threads)
    assert outcome.code == 0, outcome
    rows = [read_rows(folder / "metrics.csv") for folder in (whole, tmp_path / "run")]
    for row, other in zip(*rows, strict=True):
        for name, value in row.items():
            assert other[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
