"""Construction of datamodule, module and trainer from settings."""

from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from pytorch_lightning.strategies import DDPStrategy

from dccc_lightning.common.turning_ranges import embedding_of
from dccc_lightning.config.instantiate import Settings, checked, construct
from dccc_lightning.config.loggers import build_logger
from dccc_lightning.config.process_environment import process_environment
from dccc_lightning.config.processes import PROCESS_TIMEOUT
from dccc_lightning.config.trainer_checks import PROFILERS, check_processes, check_trainer
from dccc_lightning.data.augmentation import BatchAugmentation
from dccc_lightning.data.records import ReIDDataset
from dccc_lightning.datamodule import ReIDDataModule
from dccc_lightning.inference.image_embedder import ImageEmbedder, Origin
from dccc_lightning.inference.loading import usable_device
from dccc_lightning.memory import ClusterMemory
from dccc_lightning.models.network import Embedder
from dccc_lightning.module import DCCCModule
from dccc_lightning.training.checkpointing import AtomicCheckpointIO

_PROFILERS = dict(zip(PROFILERS, (SimpleProfiler, AdvancedProfiler, PyTorchProfiler), strict=True))


def build_datamodule(settings: Settings, dataset: ReIDDataset) -> ReIDDataModule:
    """Build the datamodule, without reading the dataset."""
    image, batch = settings["image"], settings["batch"]
    rotations, match = _embedding(settings)
    return checked(
        "settings",
        lambda: ReIDDataModule(
            dataset,
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
            cache=settings["dataset"]["cache"],
            on_error=settings["dataset"]["on_error"],
            rotations=rotations,
            match=match,
            fit=image["fit"],
        ),
        {name: settings[name] for name in ("image", "batch", "augmentation", "loader")},
    )


def _embedding(settings: Settings) -> tuple[int, str]:
    """Return rotations and comparison of a network that was not trained before."""
    section = {"embedding": settings["embedding"]}
    return checked("embedding", lambda: embedding_of(settings), section)


def build_student(settings: Settings) -> Embedder:
    """Build the embedder with its weights, for the image size in the settings."""
    image = settings["image"]
    embedder: Embedder = construct(
        "model", settings["model"], image_size=(image["height"], image["width"])
    )
    return embedder


def build_plain(settings: Settings, device: str | torch.device) -> ImageEmbedder:
    """Build the network of ``model=`` with its initial weights, for the images of ``image``."""
    image, student = settings["image"], build_student(settings)
    origin = Origin(
        path=str(settings["model"]["weights"]),
        network="student",
        model=student.architecture,
        height=image["height"],
        width=image["width"],
        dataset="unknown",
        fit=image["fit"],
    )
    return checked(
        "image",
        lambda: ImageEmbedder(student, origin, usable_device(device), *_embedding(settings)),
    )


def build_module(settings: Settings) -> DCCCModule:
    """Build the LightningModule with its weights."""
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
        ),
        {"teacher": settings["teacher"]},
    )


def build_callback(settings: Settings, name: str) -> pl.Callback:
    """Build a callback; a ``_partial_`` one, as Recluster is, takes scheduler and clustering."""
    built = construct(f"callbacks.{name}", settings["callbacks"][name])
    if isinstance(built, partial):
        parts = [construct(group, settings[group]) for group in ("scheduler", "clustering")]
        built = built(*parts)
    callback: pl.Callback = built
    return callback


def build_trainer(settings: Settings, output: str) -> pl.Trainer:
    """Build the trainer with its callbacks and loggers.

    Raises:
        UserError: An argument is unknown or invalid, or devices are missing.
    """
    arguments = dict(settings["trainer"])
    check_trainer(settings)
    processes = check_processes(settings)
    arguments.pop("strategy", None)
    if processes > 1:
        # Running statistics of batch norm are broadcast when they are used, not every step.
        arguments["strategy"] = DDPStrategy(broadcast_buffers=False, timeout=PROCESS_TIMEOUT)
    name = arguments.pop("profiler", None)
    profiler = _PROFILERS[name](dirpath=output, filename="profile") if name else None
    plugins: list[Any] = [
        AtomicCheckpointIO(),
        *process_environment(processes, arguments["num_nodes"]),
    ]
    callbacks = [build_callback(settings, n) for n, entry in settings["callbacks"].items() if entry]
    loggers = [build_logger(entry, Path(output)) for entry in settings["logger"].values() if entry]
    return checked(
        "trainer",
        lambda: pl.Trainer(
            default_root_dir=output,
            max_epochs=settings["epochs"],
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
