"""Entry point of the command line: composition of the configuration, tasks, one-line errors."""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from dccc_lightning import __version__, sweeps
from dccc_lightning.cli import help_groups, messages
from dccc_lightning.cli.argument_checks import check_arguments, with_verb
from dccc_lightning.cli.configuration import conf_dir
from dccc_lightning.cli.early_signals import Stopped, set_requeue
from dccc_lightning.cli.exit_codes import EXIT_INTERRUPTED, EXIT_TERMINATED, fail
from dccc_lightning.cli.foreign_code import check_code, check_hydra
from dccc_lightning.cli.option_help import unchecked_objects
from dccc_lightning.cli.resume import Start, resumed
from dccc_lightning.cli.run_folder import (
    ERROR_FILE,
    RUN_LOG,
    OutputGuard,
    discard,
    has_started,
    is_refused,
    lock_run,
)  # fmt: skip
from dccc_lightning.cli.saved_settings import take_over, write_settings
from dccc_lightning.cli.schema import check_types
from dccc_lightning.cli.sweep_preview import is_preview, preview
from dccc_lightning.cli.terminal_warnings import quiet
from dccc_lightning.common import lock, ranks
from dccc_lightning.common.console import PRINTED, progress_shown
from dccc_lightning.common.faults import explain_unknown_home
from dccc_lightning.common.files import write_atomically
from dccc_lightning.common.overrides import config_dir_flags, path_argument, several_datasets
from dccc_lightning.common.ranks import is_first_process, started_from_outside
from dccc_lightning.config import compositions
from dccc_lightning.config.image_size import GIVEN, is_image_given
from dccc_lightning.errors import UserError, is_full_disk, is_misconfiguration
from dccc_lightning.reports.objective import OBJECTIVES, folder_objective

_PROCESS_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def main() -> None:
    """Run the command line; user errors are one line and exit code 2."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # let exceptions reach this function
    logging.raiseExceptions = False  # no report of a closed pipe, as by head
    PRINTED.clear()
    ranks.end_with_first()
    sweeps.register()
    compositions.register()
    help_groups.register()
    try:
        if "--version" in sys.argv[1:]:
            print(f"dccc-lightning {__version__}")
            return
        sys.argv[1:] = several_datasets(with_verb(sys.argv[1:], conf_dir()))
        check_arguments(sys.argv[1:], conf_dir())
        start = resumed(sys.argv[1:])
        sys.argv[1:] = start.arguments
        if is_preview(sys.argv[1:]):
            sys.argv[1:] = preview(sys.argv[1:], conf_dir())
        _compose(start)
        sys.stdout.flush()
    except UserError as error:
        if OutputGuard.sweep is not None and not any(OutputGuard.sweep.rglob("error.txt")):
            discard(OutputGuard.sweep)
        fail(str(error))
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    # before OSError, since Hydra's MissingConfigException derives from it
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if isinstance(error, ValueError) and not messages.is_of_hydra(error):
            raise
        if OutputGuard.sweep is not None:
            discard(OutputGuard.sweep)
        fail(messages.explain(error, conf_dir(), sys.argv[1:]))
    except OSError as error:
        if not is_full_disk(error):
            raise
        fail(
            f"{error.filename or 'the output folder'}: {error.strerror}; free disk space, or set "
            "output="
        )
    finally:
        lock.release()


def _compose(start: Start) -> None:
    """Compose the configuration with Hydra, from presets or a run's settings, and run the jobs."""
    if start.own:
        set_requeue(start.own.settings["checkpoint"]["requeue"] is True)

    def job(config: DictConfig) -> float | None:
        return _job(start, config)

    with start.own.stored() if start.own else nullcontext("train") as name, unchecked_objects():
        check_hydra(start, sys.argv[1:], name)
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(job)()


def _job(start: Start, config: DictConfig) -> float | None:
    """Run the task of a job in the folder created by Hydra."""
    hydra_config = HydraConfig.get()
    output = Path(hydra_config.runtime.output_dir)
    is_sweep = hydra_config.mode == RunMode.MULTIRUN
    try:
        with explain_unknown_home():
            settings, task = _begin(start, config, output, is_sweep)
            own = _own_processes(output, hydra_config.overrides.task) if is_sweep else nullcontext()
            from dccc_lightning.tasks.shared_work import processes_of_task  # noqa: PLC0415  (imports Arrow)

            with own, progress_shown(is_first_process()), processes_of_task(settings):
                task(settings, output)
    except ranks.ShareDone:
        return None
    except (KeyboardInterrupt, Stopped) as stop:
        if isinstance(stop, Stopped) and has_started(output):
            stop.continues = path_argument("resume", output)
        if not OutputGuard.continues:
            discard(output)
        raise
    except SystemExit as stop:  # by Lightning after an interrupt, or after SIGTERM in a validation
        if stop.code is None:
            raise SystemExit(EXIT_TERMINATED) from None
        if stop.code != 1:
            raise
        if has_started(output) and is_first_process():
            print(f"stopped; {path_argument('resume', output)} continues", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except Exception as error:
        _record_failure(output, error, is_sweep)
        raise
    finally:
        lock.release(output / RUN_LOG)
    if is_first_process():
        print(f"outputs: {output}", flush=True)
    return folder_objective(output, *OBJECTIVES)  # for sweepers other than ours


def _begin(
    start: Start, config: DictConfig, output: Path, is_sweep: bool
) -> tuple[dict[str, Any], Callable[..., dict[str, Any]]]:
    """Check and write the settings, and return them with the task's function."""
    choices = HydraConfig.get().runtime.choices
    if start.own:
        take_over(start.own, start.all_given)
    check_types(config, choices, start.own.settings if start.own else None)
    settings = cast(
        dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    )
    set_requeue(settings["checkpoint"]["requeue"])
    check_code(start, settings)
    from dccc_lightning.tasks.early_checks import check_task  # noqa: PLC0415  (imports Arrow)

    check_task(settings)
    task = get_method(settings["task"]["_target_"])
    quiet()
    if started_from_outside() and not any(a.startswith("output=") for a in sys.argv[1:]):
        raise UserError(
            "output=FOLDER is needed: processes of torchrun or SLURM would each create a folder"
        )
    if is_sweep:
        lock_run(output)
    if is_first_process():
        write_settings(output, config, settings, start.own)
        (output / ERROR_FILE).unlink(missing_ok=True)  # of an earlier attempt
    if "ckpt" in settings:
        settings[GIVEN] = is_image_given(HydraConfig.get().overrides.task)
    return settings, task


def _record_failure(output: Path, error: Exception, is_sweep: bool) -> None:
    """Write the error to the folder of its run, and end a single run whose error is a line.

    A run that did not start is removed, and a refused resume leaves its folder as it was. Other
    jobs of a sweep continue.
    """
    is_line = isinstance(error, (UserError, OmegaConfBaseException)) or is_misconfiguration(error)
    text = str(error) if is_line else traceback.format_exc()
    if is_line and not is_sweep:
        discard(output)
    if is_first_process() and (is_sweep or (has_started(output) and not is_refused(output))):
        with nullcontext() if is_sweep else suppress(UserError):  # the disk may be full
            write_atomically(output / ERROR_FILE, f"{text}\n".encode())
    if is_sweep:
        number = HydraConfig.get().job.num + 1
        line = text.strip().splitlines()[-1]
        print(f"job {number} failed: {line}", file=sys.stderr, flush=True)
    elif is_line:
        fail(text)


@contextmanager
def _own_processes(output: Path, overrides: Sequence[str]) -> Iterator[None]:
    """Set ``sys.argv`` so that processes started by a job of a sweep run the job, not the sweep.

    Lightning starts a process per further device by running ``sys.argv`` with Hydra's run folder.
    At the end, the process group and its environment variables are removed for the next job.
    """
    argv, environment = sys.argv, {n: os.environ[n] for n in _PROCESS_VARIABLES if n in os.environ}
    config = cast(DictConfig, HydraConfig.get())  # annotated as its schema's dataclass
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
        from dccc_lightning.common import collectives  # noqa: PLC0415  (imports torch, needed by jobs only)

        collectives.destroy()
        for name in _PROCESS_VARIABLES:
            os.environ.pop(name, None)
        os.environ.update(environment)
