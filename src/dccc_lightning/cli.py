"""The command line: compose the configuration, run a task, say in one line what is wrong."""

import errno
import logging
import os
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, ClassVar, NoReturn, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from dccc_lightning import __version__, beginnings, composition, sweeping
from dccc_lightning.arguments import config_dir_flags, path_argument
from dccc_lightning.beginnings import is_first_process, process_name, started_from_outside
from dccc_lightning.console import CONSOLE, progress_shown
from dccc_lightning.errors import UserError, is_misconfiguration
from dccc_lightning.kinds import check_kinds
from dccc_lightning.resumption import resumed_arguments

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
RUN_MARKER = ".hydra"
RUN_LOG = "run.log"
OWN_FILES = {RUN_LOG, "config.yaml", "multirun.yaml", "error.txt", "wandb_run.txt"}
EXIT_TERMINATED = 128 + signal.SIGTERM
SILENCE = 3.0
"""Seconds that a process waits for the first one to say what is wrong, before it says it itself."""

_PROCESS_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def conf_dir() -> Path:
    """Return the folder of the configuration: in the installed package, else in the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


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
            _fail("output=null: give a folder")
        started_by_another = any(a.startswith("hydra.run.dir=") for a in sys.argv[1:])
        if config.hydra.runtime.choices.sweep and not (config.resume or started_by_another):
            _fail(f"sweep={config.hydra.runtime.choices.sweep}: several jobs; add -m")
        for group in ("hydra/launcher", "hydra/sweeper"):
            chosen = config.hydra.runtime.choices[group]
            if chosen != "basic" and not (config.resume or started_by_another):
                _fail(f"{group}={chosen}: is for the jobs of a sweep; add -m")
        OutputGuard.continues = config.resume is not None
        folder = Path(config.hydra.run.dir)
        if not OutputGuard.continues:
            _guard(folder, "output", RUN_LOG)
            return
        saved = (folder / RUN_MARKER / "overrides.yaml", folder / "config.yaml")
        OutputGuard.earlier = {path: path.read_bytes() for path in saved if path.is_file()}
        OutputGuard.progress = _progress(folder)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the folder of a sweep."""
        OutputGuard.continues = sweeping.continues(config)
        if not OutputGuard.continues:
            _guard(Path(config.hydra.sweep.dir), "hydra.sweep.dir", sweeping.SWEEP_FILE)
        OutputGuard.sweep = Path(config.hydra.sweep.dir)


# Said by Lightning of its own inside and of things done on purpose; nobody can act on them.
_NOISE = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    "`broadcast_buffers` is deprecated",
    "The .*dataloader.* does not have many workers",
    "Checkpoint directory .* exists and is not empty",
    "You're resuming from a checkpoint that ended before the epoch ended",  # the sampler goes on
)


def main() -> None:
    """Run the command line; exit code 2 and one line for a mistake of the user's."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # exceptions reach this function unprinted
    beginnings.end_with_first()
    sweeping.register()
    try:
        if "--version" in sys.argv[1:]:
            print(f"dccc-lightning {__version__}")
            return
        composition.check_flags(sys.argv[1:])
        sys.argv[1:] = resumed_arguments(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")(_job)()
        sys.stdout.flush()
    except UserError as error:
        if OutputGuard.sweep is not None and not any(OutputGuard.sweep.rglob("error.txt")):
            _discard(OutputGuard.sweep)
        _fail(str(error))
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    # before OSError, which Hydra's error for a missing option is one of
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if isinstance(error, ValueError) and not composition.is_of_hydra(error):
            raise
        if OutputGuard.sweep is not None:
            _discard(OutputGuard.sweep)
        _fail(composition.explain(error, conf_dir(), sys.argv[1:]))
    except BrokenPipeError:  # | head
        CONSOLE.on_broken_pipe()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        _fail(f"{error.filename or 'the output folder'}: {error.strerror}; make room, or output=")


def _job(config: DictConfig) -> float | None:
    """Run one job: the task that the configuration names, in the folder that Hydra made."""
    hydra_config = HydraConfig.get()
    output = Path(hydra_config.runtime.output_dir)
    is_sweep = hydra_config.mode == RunMode.MULTIRUN
    try:
        check_kinds(config, hydra_config.runtime.choices)
        settings = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        assert isinstance(settings, dict)
        task = get_method(settings["task"]["_target_"])
        _quiet()
        if started_from_outside() and not any(a.startswith("output=") for a in sys.argv[1:]):
            raise UserError("give output=FOLDER: each process started from outside makes its own")
        if is_first_process():
            (output / "config.yaml").write_text(OmegaConf.to_yaml(settings))
        own = _own_processes(output, hydra_config.overrides.task) if is_sweep else nullcontext()
        with own, progress_shown(is_first_process()):
            results: dict[str, Any] = task(settings, output)
    except SystemExit as stop:  # how Lightning ends after an interrupt, or SIGTERM in a validation
        if stop.code is None:
            raise SystemExit(EXIT_TERMINATED) from None
        if stop.code != 1:
            raise
        if _has_begun(output) and is_first_process():
            print(f"stopped; {path_argument('resume', output)} continues", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except KeyboardInterrupt:
        if not OutputGuard.continues:
            _discard(output)
        raise
    except Exception as error:
        if is_sweep:
            _record_failure(output, error)
        elif isinstance(error, (UserError, OmegaConfBaseException)) or is_misconfiguration(error):
            _discard(output)
            _fail(str(error))
        raise
    if is_first_process():
        print(f"outputs: {output}", flush=True)
    return _objective(results)


def _objective(results: Mapping[str, Any]) -> float:
    """Return what a sweep maximises: mAP of the better network, or a label-free figure."""
    scores = [s["mAP"] for s in (results.get("student"), results.get("teacher")) if s]
    if scores:
        return float(max(scores))
    return float((results.get("best") or {}).get("overall_silhouette", 0.0))


def _quiet() -> None:
    """Show warnings as one line each, and those of the first process alone.

    After the imports: Lightning sets a format of its own.
    """
    if not is_first_process():
        warnings.simplefilter("ignore")
        for handler in logging.getLogger().handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.CRITICAL)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)


def _guard(folder: Path, setting: str, claim: str) -> None:
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
            _fail(f"{setting}={folder}: another command begins there now; choose another folder")
    except OSError as error:
        _fail(f"{setting}={folder}: cannot be written ({error.strerror}); choose another folder")
    if sweeping.SWEEP_FILE in names:
        hint = "or repeat its own command with a launcher (hydra/launcher=local) to continue it"
        _fail(f"{setting}={folder}: holds another sweep; choose another folder, {hint}")
    ours = not names.isdisjoint({RUN_MARKER, RUN_LOG})
    what = "holds a run" if ours else "is not empty and not ours"
    hint = f", or {path_argument('resume', folder)} to continue it" if ours else " or remove it"
    _fail(f"{setting}={folder}: {what}; choose another folder{hint}")


def _discard(output: Path) -> None:
    """Remove what a run or sweep that never began has made, folders above it included."""
    is_refused = OutputGuard.continues and OutputGuard.progress == _progress(output)
    if is_refused and is_first_process():
        for path, content in OutputGuard.earlier.items():
            path.write_bytes(content)
    if OutputGuard.continues or _has_begun(output) or not is_first_process():
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


def _has_begun(output: Path) -> bool:
    """Tell whether a folder holds more than is made before a task does anything."""
    own = {RUN_MARKER, "wandb"}
    paths = (path.relative_to(output) for path in output.rglob("*") if path.is_file())
    return any(path.name not in OWN_FILES and own.isdisjoint(path.parts) for path in paths)


def _record_failure(output: Path, error: Exception) -> None:
    """Leave the reason in the folder of a failed job of a sweep; the other jobs go on."""
    text = str(error) if isinstance(error, UserError) else traceback.format_exc()
    (output / "error.txt").write_text(f"{text}\n")
    print(f"job {output.name} failed: {text.strip().splitlines()[-1]}", file=sys.stderr, flush=True)


@contextmanager
def _own_processes(output: Path, overrides: Sequence[str]) -> Iterator[None]:
    """Let the processes that a job of a sweep starts replay that job, not the sweep.

    Lightning starts a process for each further device by running ``sys.argv`` again, with Hydra's
    run folder. Afterwards the process group and its variables go, so that the next job starts anew.
    """
    argv, environment = sys.argv, {n: os.environ[n] for n in _PROCESS_VARIABLES if n in os.environ}
    config = cast(DictConfig, HydraConfig.get())  # typed as the dataclass that it is checked by
    run_dir = config.run.dir
    sys.argv = [argv[0], *config_dir_flags(config.runtime.config_sources), *overrides]
    with read_write(config):
        config.run.dir = str(output)
    try:
        yield
    finally:
        sys.argv = argv
        with read_write(config):
            config.run.dir = run_dir
        from dccc_lightning import distributed  # noqa: PLC0415  (imports torch, which jobs alone need)

        distributed.leave()
        for name in _PROCESS_VARIABLES:
            os.environ.pop(name, None)
        os.environ.update(environment)


def _fail(message: str) -> NoReturn:
    """End with one line; of several processes that fail alike, the first one says it.

    It ends the others, or whoever started them does. One that still lives fails alone.
    """
    if "Original Traceback" in message:  # raised in a loader's worker: torch adds the whole road
        message = message.strip().splitlines()[-1].partition(": ")[2]
    if where := process_name():
        time.sleep(SILENCE)
    line = f"error: {' '.join(message.split())}" + (f" (process with {where})" if where else "")
    print(line, file=sys.stderr, flush=True)
    raise SystemExit(EXIT_USER_ERROR)
