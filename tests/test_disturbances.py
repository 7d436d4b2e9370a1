"""Disks, data, clocks and homes that change under a run: one line, nothing half-written."""

import errno
import os
import pwd
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import LENGTH, Command, Outcome, Steps
from dccc_lightning.common import checks, faults
from dccc_lightning.data.synthetic.drawn_dataset import default_root
from dccc_lightning.errors import UserError
from dccc_lightning.module import DCCCModule
from dccc_lightning.reports.metrics_table import read_rows
from test_faults import assert_one_line
from test_resume import EVERY_STEP, Stop, assert_same_run, broken_off

WORLD = "dataset.root=world"
TEMPORARY = re.compile(r"\.(.+)\.\d+")


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


Refusal = Callable[[Path], int]
"""Return the number of the error with which the write of a file is refused, or 0."""

_refusals: list[Refusal] = []


@contextmanager
def refusing(refusal: Refusal) -> Iterator[None]:
    """Refuse to open files for writing, to make folders, to link and to rename."""
    _watch()
    _refusals.append(refusal)
    try:
        yield
    finally:
        _refusals.pop()


@cache
def _watch() -> None:
    """Add the hook, which Python keeps until its process ends."""
    target = {"open": 0, "os.mkdir": 0, "os.link": 1, "os.rename": 1}
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if not _refusals or event not in target:
            return
        path, flags = arguments[target[event]], arguments[-1]
        if event == "open" and not (isinstance(flags, int) and flags & writing):
            return
        if isinstance(path, (str, Path)) and (number := _refusals[-1](Path.cwd() / path)):
            raise OSError(number, os.strerror(number), str(path))

    sys.addaudithook(hook)


def once(number: int, act: Callable[[], object]) -> Callable[[DCCCModule, int], None]:
    """Return a function for ``at_steps`` that acts at one step, and not again after a resume."""
    left = [act]

    def at_step(_: DCCCModule, step: int) -> None:
        if step == number and left:
            left.pop()()

    return at_step


@pytest.mark.slow
def test_images_in_memory_outlive_the_dataset(
    whole: Path, at_steps: Steps, command: Command, tiny: list[str], tmp_path: Path
) -> None:  # fmt: skip
    at_steps(once(4, lambda: shutil.rmtree("world")))
    outcome = command(*own_world(tiny), *LENGTH, "dataset.cache=ram", "output=run")
    assert outcome.code == 0, outcome
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.slow
def test_a_dataset_that_goes_is_one_line_and_comes_back(
    whole: Path, at_steps: Steps, command: Command, tiny: list[str], tmp_path: Path
) -> None:  # fmt: skip
    at_steps(once(4, lambda: Path("world").rename("elsewhere")))
    every = "checkpoint.every_n_steps=1"
    outcome = command(
        *own_world(tiny), *LENGTH, "dataset.cache=none", every, "loader.workers=0", "output=run"
    )
    assert_one_line(outcome, "cannot read the image", "world", "No such file")
    assert not half_written(tmp_path / "run")
    Path("elsewhere").rename("world")
    assert command("resume=run").code == 0
    assert_same_run(whole, tmp_path / "run")


def test_a_run_whose_folder_is_taken_away_ends_with_a_line(
    at_steps: Steps, command: Command, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    at_steps(once(4, lambda: run.rename(tmp_path / "kept")))
    outcome = command(*tiny, *LENGTH, "output=run")
    assert_one_line(outcome, "run/metrics.csv was removed or moved")
    assert len(read_rows(tmp_path / "kept" / "metrics.csv")) == 2
    assert not (run / "metrics.csv").exists()


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

        def replace() -> None:
            (run / "checkpoints").rename(run / "kept")
            (run / "checkpoints").touch()

        at_steps(once(4, replace))
        outcome = command(*tiny, *LENGTH, every, "output=run")
        assert_one_line(outcome, "run/checkpoints", "cannot be written", "resume=")
        (run / "checkpoints").unlink()
        (run / "kept").rename(run / "checkpoints")
    assert not half_written(run)
    assert command("resume=run").code == 0
    assert_same_run(whole, run)


@contextmanager
def as_another_user_from_step(
    at_steps: Steps, number: int, folders: list[Path]
) -> Iterator[None]:  # fmt: skip
    """Be ``as_another_user`` from a step on."""
    with ExitStack() as stack:
        at_steps(once(number, lambda: stack.enter_context(as_another_user(*folders))))
        yield


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_may_be_read_only_and_any_number_of_workers_gives_the_same_run(
    workers: int, whole: Path, world_folder: Path, command: Command, tiny: list[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    refused: list[Path] = []

    def read_only(path: Path) -> int:
        if path.is_relative_to(world_folder):
            refused.append(path)
            return errno.EROFS
        return 0

    options = ["dataset.cache=none", f"loader.workers={workers}", "output=run"]
    with refusing(read_only):
        outcome = command(*tiny, *LENGTH, *options)
        with pytest.raises(OSError, match="Read-only"):
            (world_folder / "file").touch()
    assert outcome.code == 0, outcome
    assert refused == [world_folder / "file"]
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.slow
def test_a_clock_that_is_set_back_changes_nothing(
    whole: Path, command: Command, tiny: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    now, calls = time.time, []

    def earlier() -> float:
        calls.append(None)
        return now() - 3600 * len(calls)

    with broken_off(monkeypatch, (1, 1), Stop()), pytest.raises(Stop):
        command(*tiny, *LENGTH, EVERY_STEP, "output=run")
    for path in (tmp_path / "run").rglob("*"):  # written in the future, says the clock
        os.utime(path, (now() + 86400, now() + 86400))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", earlier)
        patch.setattr(time, "time_ns", lambda: int(earlier() * 1e9))
        outcome = command("resume=run")
    assert outcome.code == 0, outcome
    assert calls
    assert_same_run(whole, tmp_path / "run")
    rows = read_rows(tmp_path / "run" / "timings.csv")
    assert all(value >= 0 for row in rows for name, value in row.items() if name != "epoch")


@pytest.mark.slow
def test_a_disk_without_room_for_any_one_file_loses_nothing(
    command: Command, tiny: list[str], tmp_path: Path
) -> None:
    """Refuse each file once: that command ends with a line, and the next one goes on."""
    assert command(*tiny, "output=whole").code == 0
    run, refused, outcome = tmp_path / "run", list[str](), Outcome(2, "", "")

    def full(path: Path) -> int:
        nonlocal now
        if not path.is_relative_to(run):
            return 0
        name = str(path.relative_to(tmp_path))
        if found := TEMPORARY.fullmatch(path.name):
            name = str(path.with_name(found[1]).relative_to(tmp_path))
        if now is None and name not in refused:
            now = name
            refused.append(name)
        return errno.ENOSPC if name == now else 0

    while outcome.code:
        now: str | None = None
        with refusing(full):
            outcome = command(*tiny, EVERY_STEP, "output=run", "ckpt_path=last")
        if now is None:
            break
        assert_one_line(outcome, "No space left on device")
        assert not run.exists() or not half_written(run), now
    assert outcome.code == 0, outcome
    assert_same_run(tmp_path / "whole", run)
    own = {str(path.relative_to(tmp_path)) for path in run.rglob("*")}
    assert own <= set(refused), own - set(refused)


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Let the kernel refuse writes behind a position of any file, as on a disk that fills up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.slow
def test_embeddings_on_a_disk_that_fills_up_at_any_write(command: Command, tmp_path: Path) -> None:
    """Refuse the first byte, or the last one of each file; then the command goes on."""
    crops, rng = tmp_path / "crops", np.random.default_rng(0)
    crops.mkdir()
    for number in range(40):
        pixels = rng.integers(0, 256, (24, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(crops / f"{number}.png")
    (crops / "none.png").write_bytes(b"")
    arguments = [
        "task=embed", "ckpt=bundled", "input=crops", "trainer=cpu", "loader.eval_batch_size=8",
        "dataset.on_error=skip",
    ]  # fmt: skip
    results = ["embeddings.npy", "images.parquet", "skipped.jsonl", "embeddings.json"]
    whole = tmp_path / "whole"
    assert command(*arguments, "output=whole").code == 0
    sizes = {path.stat().st_size for path in whole.rglob("*") if path.is_file()} - {0}
    limits = {0, *(size - 1 for size in sizes)}
    refused = 0
    for limit in sorted(limits):
        out = tmp_path / f"out_{limit}"
        with no_file_above(limit):
            outcome = command(*arguments, f"output={out}")
        if outcome.code == 0:  # the log alone was refused, which loses lines
            continue
        refused += 1
        assert_one_line(outcome, "File too large")
        assert not any((out / name).exists() for name in results), limit
        if out.exists():
            outcome = command(f"resume={out}")
        if not out.exists() or "repeat its command with output=" in outcome.err:
            outcome = command(*arguments, f"output={out}")
        assert outcome.code == 0, (limit, outcome)
        for name in results[:-1]:
            assert (out / name).read_bytes() == (whole / name).read_bytes(), limit
        assert half_written(out) == []
    assert refused > len(limits) // 2


@pytest.mark.slow
def test_a_training_outlives_the_reader_of_its_output(
    whole: Path, tiny: list[str], tmp_path: Path
) -> None:
    """The reader takes one line, as ``head -1``."""
    with subprocess.Popen(
        [sys.executable, "-m", "dccc_lightning", *tiny, *LENGTH, "output=run"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stderr
        assert "synthetic pedestrians" in process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 0, errors
    assert "Error" not in errors
    assert_same_run(whole, tmp_path / "run")


HOMELESS = """
import pwd, runpy
def no_account(_):
    raise KeyError
pwd.getpwuid = no_account
runpy.run_module("dccc_lightning", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_a_training_needs_neither_streams_nor_a_home(
    whole: Path, tiny: list[str], tmp_path: Path
) -> None:
    """As of a service, or of a container whose user has no account."""
    homes = ("HOME", "DCCC_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "USER", "LOGNAME")
    ended = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$@" <&- >&- 2>&-', sys.executable, HOMELESS, *tiny, *LENGTH,
         "output=run"],
        cwd=tmp_path, env={key: value for key, value in os.environ.items() if key not in homes},
        timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, (tmp_path / "run" / "run.log").read_text()
    assert_same_run(whole, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


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
    with pytest.raises(UserError, match="no home folder"):
        checks.path("root", "~nobody_of_this_name")
    assert not (tmp_path / "run").exists()
    with pytest.raises(RuntimeError, match="another"), faults.explain_unknown_home():
        raise RuntimeError("another")
