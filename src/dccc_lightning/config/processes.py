"""Number of training processes, their shares of a batch, and their termination."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from subprocess import Popen
from typing import TYPE_CHECKING

from dccc_lightning.common import checks
from dccc_lightning.common.faults import LostProcessError, is_lost_process
from dccc_lightning.common.ranks import ShareDone, started_by_srun, started_by_torchrun
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.config.process_environment import check_started, process_environment
from dccc_lightning.errors import UserError
from dccc_lightning.training.lightning_internals import process_launcher

if TYPE_CHECKING:
    import pytorch_lightning as pl

PROCESS_TIMEOUT = timedelta(minutes=30)
"""Timeout of collectives, which includes clustering on rank 0."""

EMBEDDING_TIMEOUT = timedelta(days=7)
"""Timeout of processes that embed, of which one may be much slower than another."""

FAILURE_GRACE = 10.0
"""Seconds that a failed process has to print its error."""


def check_devices(arguments: Settings) -> int:
    """Return the number of processes, after comparing it with the GPUs and the started processes.

    Raises:
        UserError: The machine has fewer devices, or other numbers of processes were started.
    """
    devices, accelerator = arguments["devices"], arguments["accelerator"]
    if isinstance(devices, (list, tuple)):
        devices = len(devices)
    if devices != "auto":
        checked("trainer", lambda: checks.integer("devices", devices, 1))
    nodes = checked("trainer", lambda: checks.integer("num_nodes", arguments["num_nodes"], 1))
    available = 0 if accelerator == "cpu" else _count_gpus()
    number = max(1, available) if devices == "auto" else int(devices)
    if accelerator in ("gpu", "cuda") and available == 0:
        raise UserError(f"trainer.accelerator={accelerator}: no CUDA device here; use trainer=cpu")
    on_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and available > 0)
    if on_gpu and number > available:
        raise UserError(f"trainer.devices={number}: this machine has {available} CUDA device(s)")
    if accelerator == "auto" and available == 0 and number > 1:
        raise UserError(
            f"trainer.devices={number}: this machine has no CUDA device; trainer.devices=1, or "
            "trainer=cpu for several processes on the CPU"
        )
    check_started(number * nodes, nodes)
    return number * nodes


def _count_gpus() -> int:
    import torch  # noqa: PLC0415  slow to import

    return torch.cuda.device_count()


def check_shares(size: int, processes: int, arguments: Settings, group: int) -> None:
    """Raise an error if processes and accumulation steps do not divide the batch."""
    parts = checked(
        "trainer",
        lambda: checks.integer(
            "accumulate_grad_batches", arguments.get("accumulate_grad_batches", 1), 1
        ),
    )
    share = processes * parts
    batch = f"a batch of batch.clusters * batch.instances = {size} images"
    if size % share:
        fitting = [str(n // parts) for n in range(parts, 2 * share, parts) if size % n == 0]
        if parts > 1:
            remedy = f"; choose {', '.join(fitting)} processes" if fitting else ""
            raise UserError(
                f"trainer.accumulate_grad_batches={parts}: {batch} cannot be split into {parts} "
                f"parts for each of {processes} processes{remedy}"
            )
        raise UserError(
            f"trainer.devices={arguments['devices']}: {batch} cannot be shared by {processes} "
            f"processes; choose from {', '.join(fitting)}"
        )
    if parts > 1 and (size // parts) % group:
        raise UserError(
            f"trainer.accumulate_grad_batches={parts}: a part of {size // parts} images would "
            f"split a batch-norm group of model.bn_group_size={group}; choose at most "
            f"{max(1, size // group)} parts, or a smaller group (a different model)"
        )


@contextmanager
def embedding_processes(arguments: Settings) -> Iterator[None]:
    """Start the processes of ``trainer``, with a process group, until the block ends.

    Embeddings are exchanged on the CPU, so that the group uses gloo on every machine.

    Raises:
        UserError: The machine has fewer devices, or a process was lost.
    """
    is_started = started_by_torchrun() is not None or started_by_srun() is not None
    is_one = arguments["devices"] == 1 == arguments["num_nodes"] and not is_started
    number = 1 if is_one else check_devices(arguments)
    if number == 1:
        yield
        return
    from lightning_fabric import Fabric  # noqa: PLC0415  slow to import
    from lightning_fabric.strategies.ddp import DDPStrategy  # noqa: PLC0415  slow to import

    from dccc_lightning.common import collectives  # noqa: PLC0415  slow to import

    strategy = DDPStrategy(process_group_backend="gloo", timeout=EMBEDDING_TIMEOUT)
    chosen = {key: arguments[key] for key in ("accelerator", "devices", "num_nodes")}
    environment = process_environment(number, int(arguments["num_nodes"]))
    fabric = Fabric(strategy=strategy, plugins=environment, **chosen)
    processes: Sequence[Popen[bytes]] = ()
    try:
        fabric.launch()
        processes = getattr(strategy.launcher, "procs", ())
        yield
        if is_started:
            collectives.await_first()
        for process in processes:
            process.wait()
    except ShareDone:
        if is_started:
            collectives.await_first()
        for process in processes:  # of this node, which may still send rows to rank 0
            process.wait()
        raise
    except BaseException as error:
        is_lost = isinstance(error, LostProcessError) or (
            isinstance(error, RuntimeError) and is_lost_process(error)
        )
        if is_lost:
            _await_failure(processes)
        for process in processes:
            process.kill()
        if is_lost and not isinstance(error, LostProcessError):
            raise LostProcessError(
                "another process of this command has ended, and said why unless it was killed"
            ) from error
        raise
    finally:
        collectives.destroy()


def less_memory(settings: Settings, processes: int) -> str:
    """Return advice for a training step that exceeds a GPU's memory.

    Gradient accumulation is advised only with values that ``check_shares`` accepts.
    """
    trainer, batch = settings["trainer"], settings["batch"]
    size, group = batch["clusters"] * batch["instances"], settings["model"]["bn_group_size"]
    more = range(trainer["accumulate_grad_batches"] + 1, size // group + 1)
    fitting = (n for n in more if size % (n * processes) == 0 and (size // n) % group == 0)
    remedies = [f"trainer.accumulate_grad_batches={n} (the same batch)" for n in islice(fitting, 1)]
    if trainer["precision"] == "32-true":
        remedies.append("trainer.precision=bf16-mixed")
    return f"set {' or '.join([*remedies, 'more trainer.devices'])}"


@contextmanager
def cleanup(trainer: "pl.Trainer") -> Iterator[None]:
    """Close W&B runs and end other processes when the block ends.

    W&B runs are marked as failed after an exception, and closed so that the next job of a sweep
    does not write into them. After an exception, processes started by Lightning are killed, since
    they would wait for this one.
    """
    from pytorch_lightning.loggers import WandbLogger  # noqa: PLC0415  slow to import

    failed = False
    try:
        yield
    except BaseException as error:
        failed = True
        launcher = process_launcher(trainer)
        if launcher is not None:
            if isinstance(error, LostProcessError):
                _await_failure(launcher.procs)
            launcher.kill(signal.SIGKILL)
        raise
    finally:
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and trainer.is_global_zero:
                logger.experiment.finish(exit_code=int(failed))


def _await_failure(processes: Sequence[Popen[bytes]]) -> None:
    """Wait for a failed process, which prints its error after ``cli.exit_codes.RANK_DELAY``."""
    until = time.monotonic() + FAILURE_GRACE
    while time.monotonic() < until and all(process.poll() is None for process in processes):
        time.sleep(0.1)
