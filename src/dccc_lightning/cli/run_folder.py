"""Output folder of a command: checked and locked before a run, removed if the run did not start."""

import shutil
import sys
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from dccc_lightning import sweeps
from dccc_lightning.cli import early_signals
from dccc_lightning.cli.exit_codes import fail
from dccc_lightning.common import lock
from dccc_lightning.common.files import write_atomically
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.common.ranks import is_first_process, started_by_srun, started_by_torchrun

RUN_MARKER = ".hydra"
RUN_LOG = "run.log"
ERROR_FILE = "error.txt"
OWN_FILES = {RUN_LOG, "config.yaml", "multirun.yaml", ERROR_FILE, "wandb_run.txt"}


class OutputGuard(Callback):
    """Hydra callback that checks the output folder before Hydra writes into it."""

    sweep: ClassVar[Path | None] = None  # the folder of a sweep
    absent: ClassVar[list[Path]] = []  # folders that did not exist, deepest first
    continues: ClassVar[bool] = False  # resumes a run, whose folder must not be removed
    earlier: ClassVar[dict[Path, bytes]] = {}  # its arguments, restored if the command fails
    progress: ClassVar[list[int]] = []  # modification times of its results

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the folder of a single run."""
        if config.output is None:
            fail("output=null: must be a folder")
        started_by_another = any(a.startswith("hydra.run.dir=") for a in sys.argv[1:])
        sweep = config.hydra.runtime.choices.get("sweep")
        if sweep and not (config.resume or started_by_another):
            fail(f"sweep={sweep}: has several jobs; add -m")
        for group in ("hydra/launcher", "hydra/sweeper"):
            chosen = config.hydra.runtime.choices[group]
            if chosen not in ("basic", "serial") and not (config.resume or started_by_another):
                fail(f"{group}={chosen}: is for the jobs of a sweep; add -m")
        OutputGuard.continues = config.resume is not None
        folder = Path(config.hydra.run.dir)
        if not OutputGuard.continues:
            guard(folder, "output", RUN_LOG)
            return
        lock_run(folder)
        marks = [folder / RUN_MARKER / f"{n}.yaml" for n in ("config", "hydra", "overrides")]
        saved = (*marks, folder / "config.yaml", folder / ERROR_FILE)
        OutputGuard.earlier = {path: path.read_bytes() for path in saved if path.is_file()}
        OutputGuard.progress = _progress(folder)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the folder of a sweep."""
        if (started_by_torchrun() or 1) > 1:  # its processes meet once
            fail("-m: torchrun starts one run; without it each job starts its trainer.devices")
        if tasks := started_by_srun():
            fail(
                f"-m: srun has started {tasks} processes, and each would run the sweep; start one, "
                "with hydra/launcher=slurm to submit its jobs"
            )
        OutputGuard.continues = sweeps.continues(config)
        if not OutputGuard.continues:
            guard(Path(config.hydra.sweep.dir), "hydra.sweep.dir", sweeps.SWEEP_FILE)
        OutputGuard.sweep = Path(config.hydra.sweep.dir)
        if config.hydra.runtime.choices["hydra/launcher"] != "basic":
            early_signals.restore_handlers()


def guard(folder: Path, setting: str, claim: str) -> None:
    """Lock a folder by its file ``claim``, and fail if it is in use, not empty or not writable.

    The folder of a run that was killed before it started counts as empty.
    """
    path = folder.resolve()
    OutputGuard.absent = [p for p in (path, *path.parents) if not p.exists()]
    if not is_first_process():
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = {content.name for content in path.iterdir()}
        if not names or names == {claim} or (claim == RUN_LOG and has_not_started(path)):
            if lock.take(path / claim):
                return
            fail(f"{setting}={folder}: another command is starting there; choose another folder")
    except OSError as error:
        _remove_created()
        _fail_to_write(f"{setting}={folder}", error)
    if sweeps.SWEEP_FILE in names:
        hint = "or repeat its command with a launcher (hydra/launcher=local) to continue it"
        fail(f"{setting}={folder}: contains another sweep; choose another folder, {hint}")
    ours = not names.isdisjoint({RUN_MARKER, RUN_LOG})
    what = "contains a run" if ours else "is not empty and not a run folder"
    hint = f", or {path_argument('resume', folder)} to continue it" if ours else " or remove it"
    fail(f"{setting}={folder}: {what}; choose another folder{hint}")


def lock_run(folder: Path) -> None:
    """Lock the folder of a run on rank 0, and fail if another process has locked it."""
    try:
        if is_first_process() and not lock.take(folder / RUN_LOG):
            fail(f"{folder}: another process is writing this run; wait until it ends, or end it")
    except OSError as error:
        _fail_to_write(str(folder), error)


def has_not_started(folder: Path) -> bool:
    """Return True if a folder contains only files of a run that was killed before it started."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    is_of_a_run = names == {RUN_LOG} or RUN_MARKER in names
    return is_of_a_run and sweeps.SWEEP_FILE not in names and not has_started(folder)


def _fail_to_write(place: str, error: OSError) -> NoReturn:
    fail(f"{place}: cannot be written ({error.strerror}); choose another folder")


def discard(output: Path) -> None:
    """Remove the files and created parents of a run or sweep that did not start."""
    if is_refused(output) and is_first_process():
        for path, content in OutputGuard.earlier.items():
            write_atomically(path, content)
    if OutputGuard.continues or has_started(output) or not is_first_process():
        return
    for path in output.iterdir() if output.is_dir() else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    _remove_created()


def _remove_created() -> None:
    """Remove the folders that this command has created, if they are empty."""
    for path in OutputGuard.absent:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def is_refused(output: Path) -> bool:
    """Return True for a run that was to be resumed and made no progress."""
    return OutputGuard.continues and OutputGuard.progress == _progress(output)


def _progress(output: Path) -> list[int]:
    """Return the modification times of a run's table and checkpoint."""
    found = (output / "metrics.csv", output / "checkpoints" / "last.ckpt")
    return [path.stat().st_mtime_ns for path in found if path.exists()]


def has_started(output: Path) -> bool:
    """Return True if a folder contains files that a task has written."""
    own = {RUN_MARKER, "wandb"}
    paths = (path.relative_to(output) for path in output.rglob("*") if path.is_file())
    return any(path.name not in OWN_FILES and own.isdisjoint(path.parts) for path in paths)
