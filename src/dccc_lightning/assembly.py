"""From plain settings to objects: the only place that knows the shape of the configuration."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from pytorch_lightning.strategies import DDPStrategy

from dccc_lightning import __version__, checks
from dccc_lightning.checkpointing import AtomicCheckpointIO
from dccc_lightning.construction import Settings, checked, construct
from dccc_lightning.data.augmentation import BatchAugmentation
from dccc_lightning.datamodule import ReIDDataModule
from dccc_lightning.errors import UserError
from dccc_lightning.loggers import build_logger
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.models.embedder import Embedder
from dccc_lightning.module import DCCCModule
from dccc_lightning.processes import PROCESS_TIMEOUT, check_devices, check_shares

PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}

_LENGTH = "epochs= and iterations= are the length of a run; epochs=1 iterations=1 is the shortest"
_WHOLE = "scores need every query and the whole gallery; eval_every= makes evaluations rarer"
_LIMITS = {
    "fast_dev_run": (False, _LENGTH),
    "limit_train_batches": (1.0, _LENGTH),
    "overfit_batches": (0.0, _LENGTH),
    "max_steps": (-1, _LENGTH),
    "min_steps": (None, _LENGTH),
    "max_time": (None, _LENGTH),
    "limit_val_batches": (1.0, _WHOLE),
    "limit_test_batches": (1.0, _WHOLE),
    "limit_predict_batches": (1.0, _WHOLE),
    "val_check_interval": (1.0, "eval_every= counts the epochs between two evaluations"),
    "check_val_every_n_epoch": (1, "eval_every= counts the epochs between two evaluations"),
}
"""Lightning's arguments that cut epochs or evaluations: value without effect, and remedy."""

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""What the forward passes may run in; statistics, memory, losses and scores stay in single."""


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
        {name: settings[name] for name in ("image", "batch", "augmentation", "loader")},
    )


def build_student(settings: Settings) -> Embedder:
    """Build the embedder for images of the size in the settings, weights included."""
    image = settings["image"]
    embedder: Embedder = construct(
        "model", settings["model"], image_size=(image["height"], image["width"])
    )
    return embedder


def build_module(settings: Settings) -> DCCCModule:
    """Build the LightningModule, weights included."""
    student = build_student(settings)
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
            skip_nonfinite=settings["on_nonfinite_loss"] == "skip",
            compile=settings["compile"],
            description=describe(settings),
        ),
        {"teacher": settings["teacher"]},
    )


def describe(settings: Settings) -> dict[str, Any]:
    """Return what has to be known to use the weights of a run, for its checkpoints."""
    built = {k: v for k, v in settings["model"].items() if k not in ("_target_", "weights")}
    return {
        "format": 1,
        "version": __version__,
        "model": built,
        "image": dict(settings["image"]),
        "dataset": settings["dataset"]["name"],
    }


def build_trainer(settings: Settings, output: str) -> pl.Trainer:
    """Build the trainer with its callbacks and loggers.

    Raises:
        UserError: An unknown or impossible argument, or more devices than there are.
    """
    arguments = dict(settings["trainer"])
    _check_limits(arguments)
    processes = check_devices(arguments)
    size = settings["batch"]["clusters"] * settings["batch"]["instances"]
    group = checked(
        "model",
        lambda: checks.integer("bn_group_size", settings["model"]["bn_group_size"], 1),
        {"model": settings["model"]},
    )
    if group == 1 or size % group == 1:
        raise UserError(
            f"model.bn_group_size={group}: a batch of {size} images would leave a group of one, "
            "which has no variance; choose another group size"
        )
    if arguments["precision"] not in PRECISIONS:
        raise UserError(
            f"trainer.precision={arguments['precision']}: must be one of {', '.join(PRECISIONS)}"
        )
    check_shares(size, processes, arguments, group)
    strategy = arguments.pop("strategy", "auto")
    if strategy not in ("auto", "ddp"):
        raise UserError(f"trainer.strategy={strategy}: must be auto or ddp")
    if processes > 1:
        # The running statistics of batch norm are broadcast when they are read, not every step.
        arguments["strategy"] = DDPStrategy(broadcast_buffers=False, timeout=PROCESS_TIMEOUT)
    name = arguments.pop("profiler", None)
    if name is not None:
        checked("trainer", lambda: checks.choice("profiler", name, tuple(PROFILERS)))
    profiler = PROFILERS[name](dirpath=output, filename="profile") if name else None
    plugins: list[Any] = [AtomicCheckpointIO()]
    if SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))  # RunCheckpoint owns the requeue
    for part in ("scheduler", "clustering"):  # parts of a callback: errors should name the group
        construct(part, settings[part])
    callbacks = [
        construct(f"callbacks.{name}", entry)
        for name, entry in settings["callbacks"].items()
        if entry
    ]
    loggers = [build_logger(entry, Path(output)) for entry in settings["logger"].values() if entry]
    return checked(
        "trainer",
        lambda: pl.Trainer(
            default_root_dir=output,
            max_epochs=checks.integer("epochs", settings["epochs"], 1),
            callbacks=callbacks,
            logger=loggers or False,
            plugins=plugins,
            profiler=profiler,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            enable_model_summary=False,
            log_every_n_steps=min(50, settings["iterations"]),
            **arguments,
        ),
        {"epochs": settings["epochs"]},
    )


def _check_limits(arguments: Settings) -> None:
    """Refuse what would cut an epoch short, or score a part of the test images.

    No evaluation at all (``limit_val_batches=0``) is a choice.
    """
    for name, (neutral, remedy) in _LIMITS.items():
        value = arguments.get(name)
        is_off = name == "limit_val_batches" and not isinstance(value, bool) and value == 0
        if value is None or is_off or (value == neutral and type(value) is type(neutral)):
            continue
        raise UserError(f"trainer.{name}={str(value).lower()}: {remedy}")
