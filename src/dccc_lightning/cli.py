"""The command line: compose the configuration, run a task, say in one line what is wrong."""

import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import resources
from pathlib import Path
from typing import Any, cast

import hydra
import torch.distributed
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from dccc_lightning import composition
from dccc_lightning.errors import UserError
from dccc_lightning.resumption import resumed_arguments

EXIT_USER_ERROR = 2
RUN_MARKER = ".hydra"
_PROCESS_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def conf_dir() -> Path:
    """Return the folder of the configuration: in the installed package, else in the checkout."""
    package = Path(str(resources.files("dccc_lightning")))
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


class OutputGuard(Callback):
    """Refuse an output folder that holds anything, before Hydra writes into it."""

    sweep: Path | None = None  # of this process, for cleaning up after a sweep that never began

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the folder of a single run."""
        if config.resume is None:
            _guard(Path(config.hydra.run.dir), "output")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the folder of a sweep."""
        folder = Path(config.hydra.sweep.dir)
        _guard(folder, "hydra.sweep.dir")
        OutputGuard.sweep = folder


# Said by Lightning of its own inside and of things done on purpose; nobody can act on them.
_NOISE = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    "`broadcast_buffers` is deprecated",
    "The .*dataloader.* does not have many workers",
    "Checkpoint directory .* exists and is not empty",
)


def main() -> None:
    """Run the command line; exit code 2 and one line for a mistake of the user's."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # exceptions reach this function unprinted
    try:
        sys.argv[1:] = resumed_arguments(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")(_job)()
    except UserError as error:
        _fail(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        if OutputGuard.sweep is not None:
            _discard(OutputGuard.sweep)
        _fail(composition.explain(error, conf_dir(), sys.argv[1:]))


def _job(config: DictConfig) -> float | None:
    """Run one job: the task that the configuration names, in the folder that Hydra made."""
    hydra_config = HydraConfig.get()
    output = Path(hydra_config.runtime.output_dir)
    is_sweep = hydra_config.mode == RunMode.MULTIRUN
    try:
        settings = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        assert isinstance(settings, dict)
        task = get_method(settings["task"]["_target_"])
        _quiet()
        if _is_first_process():
            (output / "config.yaml").write_text(OmegaConf.to_yaml(settings))
        with _own_processes(output, hydra_config.overrides.task) if is_sweep else nullcontext():
            results: dict[str, Any] = task(settings, output)
    except Exception as error:
        if is_sweep:
            _record_failure(output, error)
        elif isinstance(error, (UserError, OmegaConfBaseException)):
            _discard(output)
            _fail(str(error))
        raise
    if _is_first_process():
        print(f"outputs: {output}", flush=True)
    best = max((s["mAP"] for s in (results.get("student"), results.get("teacher")) if s), default=0)
    return float(best)


def _quiet() -> None:
    """Show warnings as one line each. After the imports: Lightning sets a format of its own."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)


def _guard(folder: Path, setting: str) -> None:
    if not _is_first_process() or not folder.exists():
        return
    if not folder.is_dir():
        _fail(f"{setting}={folder}: a file, not a folder; choose another")
    if any(folder.iterdir()):
        ours = (folder / RUN_MARKER).exists()
        what = "holds a run" if ours else "is not empty and not ours"
        hint = f", or resume={folder} to continue it" if ours else " or remove it"
        _fail(f"{setting}={folder}: {what}; choose another folder{hint}")


def _discard(output: Path) -> None:
    """Remove the folder of a run or sweep that never began, and the empty folders above it."""
    began = any(path.name == "metrics.csv" for path in output.rglob("*.csv"))
    if began or not _is_first_process():
        return
    shutil.rmtree(output, ignore_errors=True)
    for parent in list(output.parents)[:2]:
        if parent == Path.cwd() or not parent.exists() or any(parent.iterdir()):
            return
        parent.rmdir()


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
    argv, environment = sys.argv, {name: os.environ.get(name) for name in _PROCESS_VARIABLES}
    config = cast(DictConfig, HydraConfig.get())  # typed as the dataclass that it is checked by
    run_dir = config.run.dir
    sys.argv = [argv[0], *overrides]
    with read_write(config):
        config.run.dir = str(output)
    try:
        yield
    finally:
        sys.argv = argv
        with read_write(config):
            config.run.dir = run_dir
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _is_first_process() -> bool:
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "RANK"))


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    raise SystemExit(EXIT_USER_ERROR)
