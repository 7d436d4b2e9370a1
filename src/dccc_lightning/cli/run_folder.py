"""The folder that a command writes into: locked before the run, emptied if it never began."""

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
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.common.ranks import is_first_process

RUN_MARKER = ".hydra"
RUN_LOG = "run.log"
OWN_FILES = {RUN_LOG, "config.yaml", "multirun.yaml", "error.txt", "wandb_run.txt"}


class OutputGuard(Callback):
    """Refuse an output folder that holds anything, before Hydra writes into it."""

    sweep: ClassVar[Path | None] = None  # the folder of a sweep
    absent: ClassVar[list[Path]] = []  # folders that were not there before, the deepest first
    continues: ClassVar[bool] = False  # an earlier run, whose folder is not this one's to remove
    earlier: ClassVar[dict[Path, bytes]] = {}  # its arguments; no resume repeats what was refused
    progress: ClassVar[list[int]] = []  # when its results were last written

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the folder of a single run."""
        if config.output is None:
            fail("output=null: give a folder")
        started_by_another = any(a.startswith("hydra.run.dir=") for a in sys.argv[1:])
        sweep = config.hydra.runtime.choices.get("sweep")
        if sweep and not (config.resume or started_by_another):
            fail(f"sweep={sweep}: several jobs; add -m")
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
        saved = (*marks, folder / "config.yaml")
        OutputGuard.earlier = {path: path.read_bytes() for path in saved if path.is_file()}
        OutputGuard.progress = _progress(folder)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the folder of a sweep."""
        OutputGuard.continues = sweeps.continues(config)
        if not OutputGuard.continues:
            guard(Path(config.hydra.sweep.dir), "hydra.sweep.dir", sweeps.SWEEP_FILE)
        OutputGuard.sweep = Path(config.hydra.sweep.dir)
        if config.hydra.runtime.choices["hydra/launcher"] != "basic":
            early_signals.give_back()


def guard(folder: Path, setting: str, claim: str) -> None:
    """Lock a folder by its file ``claim``; refuse one in use, begun by another, or impossible.

    A run that was killed before it did anything has left nothing but its log and settings: the
    folder is as good as empty.
    """
    path = folder.resolve()
    OutputGuard.absent = [p for p in (path, *path.parents) if not p.exists()]
    if not is_first_process():
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = {content.name for content in path.iterdir()}
        if not names or names == {claim} or (claim == RUN_LOG and never_began(path)):
            if lock.take(path / claim):
                return
            fail(f"{setting}={folder}: another command begins there now; choose another folder")
    except OSError as error:
        _fail_to_write(f"{setting}={folder}", error)
    if sweeps.SWEEP_FILE in names:
        hint = "or repeat its own command with a launcher (hydra/launcher=local) to continue it"
        fail(f"{setting}={folder}: holds another sweep; choose another folder, {hint}")
    ours = not names.isdisjoint({RUN_MARKER, RUN_LOG})
    what = "holds a run" if ours else "is not empty and not ours"
    hint = f", or {path_argument('resume', folder)} to continue it" if ours else " or remove it"
    fail(f"{setting}={folder}: {what}; choose another folder{hint}")


def lock_run(folder: Path) -> None:
    """Refuse a run that another process writes into; of several processes of a run one asks."""
    try:
        if is_first_process() and not lock.take(folder / RUN_LOG):
            fail(f"{folder}: another process of this run is at work; wait for its end, or end it")
    except OSError as error:
        _fail_to_write(str(folder), error)


def never_began(folder: Path) -> bool:
    """Tell whether a folder holds what a run leaves that was killed before it did anything."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    is_of_a_run = names == {RUN_LOG} or RUN_MARKER in names
    return is_of_a_run and sweeps.SWEEP_FILE not in names and not has_begun(folder)


def _fail_to_write(place: str, error: OSError) -> NoReturn:
    fail(f"{place}: cannot be written ({error.strerror}); choose another folder")


def discard(output: Path) -> None:
    """Remove what a run or sweep that never began has made, folders above it included."""
    is_refused = OutputGuard.continues and OutputGuard.progress == _progress(output)
    if is_refused and is_first_process():
        for path, content in OutputGuard.earlier.items():
            path.write_bytes(content)
    if OutputGuard.continues or has_begun(output) or not is_first_process():
        return
    for path in output.iterdir() if output.exists() else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in OutputGuard.absent:
        if path.exists() and not any(path.iterdir()):
            path.rmdir()


def _progress(output: Path) -> list[int]:
    """Return when table and checkpoint of a run were last written."""
    found = (output / "metrics.csv", output / "checkpoints" / "last.ckpt")
    return [path.stat().st_mtime_ns for path in found if path.exists()]


def has_begun(output: Path) -> bool:
    """Tell whether a folder holds more than is made before a task does anything."""
    own = {RUN_MARKER, "wandb"}
    paths = (path.relative_to(output) for path in output.rglob("*") if path.is_file())
    return any(path.name not in OWN_FILES and own.isdisjoint(path.parts) for path in paths)
