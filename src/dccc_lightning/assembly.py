"""From plain settings to objects: the only place that knows the shape of the configuration."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
import wandb
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.strategies import DDPStrategy

from dccc_lightning import checks
from dccc_lightning.checkpointing import AtomicCheckpointIO
from dccc_lightning.data.augmentation import BatchAugmentation
from dccc_lightning.datamodule import ReIDDataModule
from dccc_lightning.errors import UserError
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.models.embedder import Embedder
from dccc_lightning.module import DCCCModule

T = TypeVar("T")

Settings = Mapping[str, Any]
"""The composed configuration, resolved, as plain containers."""

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""What the forward passes may run in; statistics, memory, losses and scores stay in single."""

PROCESS_TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others, clustering on rank 0 included, before it gives up."""


def construct(group: str, settings: Settings, **arguments: Any) -> Any:
    """Instantiate a group's ``_target_``.

    Raises:
        UserError: The constructor refuses a value: one line that begins with the group.
    """
    try:
        return instantiate(dict(settings), **arguments, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, (ValueError, TypeError, ImportError)):
            raise UserError(f"{group}: {_first_line(cause)}") from cause
        raise UserError(f"{group}: {_first_line(error)}") from cause


def build_datamodule(settings: Settings) -> ReIDDataModule:
    """Build the datamodule; nothing is read yet."""
    dataset = dict(settings["dataset"])
    on_error, cache = dataset.pop("on_error"), dataset.pop("cache")
    image, batch = settings["image"], settings["batch"]
    return checked(
        "settings",
        lambda: ReIDDataModule(
            construct("dataset", dataset),
            height=image["height"],
            width=image["width"],
            clusters=batch["clusters"],
            instances=batch["instances"],
            iterations=settings["iterations"],
            augmentation=BatchAugmentation(
                image["height"], image["width"], seed=settings["seed"], **settings["augmentation"]
            ),
            seed=settings["seed"],
            eval_batch_size=settings["loader"]["eval_batch_size"],
            workers=settings["loader"]["workers"],
            cache=cache,
            on_error=on_error,
        ),
    )


def build_module(settings: Settings) -> DCCCModule:
    """Build the LightningModule, weights included."""
    student: Embedder = construct("model", settings["model"])
    memory: ClusterMemory = construct("memory", settings["memory"], feature_dim=student.feature_dim)
    return checked(
        "settings",
        lambda: DCCCModule(
            student,
            memory,
            construct("loss", settings["loss"]),
            construct("optimizer", settings["optimizer"]),
            teacher_start=settings["teacher"]["start"],
            teacher_cap=settings["teacher"]["cap"],
        ),
    )


def build_trainer(settings: Settings, output: str) -> pl.Trainer:
    """Build the trainer with its callbacks and loggers.

    Raises:
        UserError: An unknown or impossible argument, or more devices than there are.
    """
    arguments = dict(settings["trainer"])
    processes = _check_devices(arguments)
    size = settings["batch"]["clusters"] * settings["batch"]["instances"]
    group = settings["model"]["bn_group_size"]
    if group == 1 or size % group == 1:
        raise UserError(
            f"model.bn_group_size={group}: a batch of {size} images would leave a group of one, "
            "which has no variance; choose another group size"
        )
    if arguments["precision"] not in PRECISIONS:
        raise UserError(
            f"trainer.precision={arguments['precision']}: must be one of {', '.join(PRECISIONS)}"
        )
    if size % processes:
        fitting = [str(n) for n in range(1, 2 * processes) if size % n == 0]
        raise UserError(
            f"trainer.devices={arguments['devices']}: a batch of batch.clusters * batch.instances "
            f"= {size} images cannot be shared by {processes} processes; "
            f"{', '.join(fitting)} would do"
        )
    strategy = arguments.pop("strategy", "auto")
    if strategy not in ("auto", "ddp"):
        raise UserError(f"trainer.strategy={strategy}: must be auto or ddp")
    if processes > 1:
        # The running statistics of batch norm are broadcast when they are read, not every step.
        arguments["strategy"] = DDPStrategy(broadcast_buffers=False, timeout=PROCESS_TIMEOUT)
    for group in ("scheduler", "clustering"):  # parts of a callback: errors should name the group
        construct(group, settings[group])
    callbacks = [construct("callbacks", entry) for entry in settings["callbacks"].values() if entry]
    loggers = [construct("logger", entry) for entry in settings["logger"].values() if entry]
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            try:
                _ = logger.experiment
            except wandb.errors.Error as error:
                raise UserError(
                    f"logger=wandb: {_first_line(error)}; wandb login, or logger.wandb.mode=offline"
                ) from error
    return checked(
        "trainer",
        lambda: pl.Trainer(
            default_root_dir=output,
            max_epochs=checks.integer("epochs", settings["epochs"], 1),
            callbacks=callbacks,
            logger=loggers or False,
            plugins=[AtomicCheckpointIO()],
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            enable_model_summary=False,
            log_every_n_steps=min(50, settings["iterations"]),
            **arguments,
        ),
    )


@contextmanager
def finished_loggers(trainer: pl.Trainer) -> Iterator[None]:
    """Close W&B runs whatever happens: the next job of a sweep would go on writing into them."""
    try:
        yield
    finally:
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and trainer.is_global_zero:
                logger.experiment.finish()


def checked(place: str, build: Callable[[], T]) -> T:
    """Call ``build``; what it refuses becomes a UserError that names the place."""
    try:
        return build()
    except (ValueError, TypeError, MisconfigurationException) as error:
        raise UserError(f"{place}: {_first_line(error)}") from error


def _check_devices(arguments: dict[str, Any]) -> int:
    """Return the number of processes, after a look at what the machine has."""
    devices, accelerator = arguments["devices"], arguments["accelerator"]
    if devices == "auto":
        devices = max(1, torch.cuda.device_count())
    if isinstance(devices, (list, tuple)):
        devices = len(devices)
    number = checked("trainer", lambda: checks.integer("devices", devices, 1))
    nodes = checked("trainer", lambda: checks.integer("num_nodes", arguments["num_nodes"], 1))
    available = torch.cuda.device_count()
    if accelerator in ("gpu", "cuda") and available == 0:
        raise UserError(f"trainer.accelerator={accelerator}: no CUDA device here; use trainer=cpu")
    on_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and available > 0)
    if on_gpu and number > available:
        raise UserError(f"trainer.devices={number}: this machine has {available} CUDA device(s)")
    if accelerator == "auto" and available == 0 and number > 1:
        raise UserError(
            f"trainer.devices={number}: this machine has no CUDA device; trainer.devices=1, or "
            "trainer=cpu for several processes on the processor"
        )
    return int(number) * int(nodes)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
