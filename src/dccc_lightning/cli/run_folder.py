"""The folder that a command writes into: claimed before the run, emptied if it never began."""

import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from dccc_lightning import sweeping
from dccc_lightning.arguments import path_argument
from dccc_lightning.beginnings import is_first_process, started_from_outside
from dccc_lightning.cli.exits import fail

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
        if config.hydra.runtime.choices.sweep and not (config.resume or started_by_another):
            fail(f"sweep={config.hydra.runtime.choices.sweep}: several jobs; add -m")
        for group in ("hydra/launcher", "hydra/sweeper"):
            chosen = config.hydra.runtime.choices[group]
            if chosen not in ("basic", "serial") and not (config.resume or started_by_another):
                fail(f"{group}={chosen}: is for the jobs of a sweep; add -m")
        OutputGuard.continues = config.resume is not None
        folder = Path(config.hydra.run.dir)
        if not OutputGuard.continues:
            guard(folder, "output", RUN_LOG)
            return
        saved = (folder / RUN_MARKER / "overrides.yaml", folder / "config.yaml")
        OutputGuard.earlier = {path: path.read_bytes() for path in saved if path.is_file()}
        OutputGuard.progress = _progress(folder)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the folder of a sweep."""
        OutputGuard.continues = sweeping.continues(config)
        if not OutputGuard.continues:
            guard(Path(config.hydra.sweep.dir), "hydra.sweep.dir", sweeping.SWEEP_FILE)
        OutputGuard.sweep = Path(config.hydra.sweep.dir)


def guard(folder: Path, setting: str, claim: str) -> None:
    """Refuse a folder in use, begun at once by another command (``claim``), or impossible."""
    path = folder.resolve()
    OutputGuard.absent = [p for p in (path, *path.parents) if not p.exists()]
    if not is_first_process():
        return
    beside = started_from_outside()  # such a process may have come first, and made Hydra's files
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = {content.name for content in path.iterdir()}
        if not names - ({RUN_MARKER, RUN_LOG} if beside else set()):
            with suppress(FileExistsError):
                return (path / claim).touch(exist_ok=beside)
            fail(f"{setting}={folder}: another command begins there now; choose another folder")
    except OSError as error:
        fail(f"{setting}={folder}: cannot be written ({error.strerror}); choose another folder")
    if sweeping.SWEEP_FILE in names:
        hint = "or repeat its own command with a launcher (hydra/launcher=local) to continue it"
        fail(f"{setting}={folder}: holds another sweep; choose another folder, {hint}")
    ours = not names.isdisjoint({RUN_MARKER, RUN_LOG})
    what = "holds a run" if ours else "is not empty and not ours"
    hint = f", or {path_argument('resume', folder)} to continue it" if ours else " or remove it"
    fail(f"{setting}={folder}: {what}; choose another folder{hint}")


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
