"""Checks of a task's settings before torch is imported, so that errors appear early."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from dccc_lightning.common import callback_ranges, contrast_ranges, ranges, turning_ranges
from dccc_lightning.config.instantiate import Settings, checked, construct
from dccc_lightning.config.named_datasets import dataset_settings
from dccc_lightning.config.trainer_checks import check_trainer
from dccc_lightning.data.audit.limited_test import limited
from dccc_lightning.data.datasets.several import SeveralDatasets
from dccc_lightning.data.records import ReIDDataset
from dccc_lightning.data.synthetic.drawn_dataset import DrawnDataset
from dccc_lightning.errors import UserError
from dccc_lightning.models.catalog import check_embedder

Check = Callable[..., object]

CHECKS: Mapping[str, Check] = {
    "training.callbacks.cluster_files.ClusterFiles": callback_ranges.files_of_epochs,
    "training.callbacks.epoch_line.EpochLine": callback_ranges.epoch_line,
    "training.callbacks.query_files.QueryFiles": callback_ranges.query_files,
    "training.callbacks.evaluation_interval.EvaluationEvery": callback_ranges.evaluation,
    "training.callbacks.loss_guard.LossGuard": callback_ranges.loss_guard,
    "training.callbacks.map_files.MapFiles": callback_ranges.map_files,
    "training.callbacks.running_page.RunningPage": callback_ranges.running_page,
    "training.callbacks.epoch_panels.Panels": callback_ranges.files_of_epochs,
    "training.callbacks.run_checkpoint.RunCheckpoint": callback_ranges.run_checkpoint,
    "clustering.experimental.adaptive.AdaptiveSchedule": ranges.adaptive_schedule,
    "clustering.algorithms.DBSCAN": ranges.cluster_size,
    "clustering.experimental.hdbscan.HDBSCAN": ranges.hdbscan,
    "clustering.experimental.infomap.Infomap": ranges.infomap,
    "clustering.pseudo_labels.PseudoLabeler": ranges.labeler,
    "clustering.experimental.single_linkage.SingleLinkage": ranges.cluster_size,
    "losses.ClusterContrastLoss": ranges.no_arguments,
    "losses.SoftContrastiveLoss": ranges.soft_contrastive,
    "losses.SoftOnlyLoss": ranges.no_arguments,
    "memory.ClusterMemory": ranges.memory,
    "models.embedder.build_embedder": check_embedder,
    "neighbor_loss.NeighborSmoothedLoss": contrast_ranges.neighbor_smoothed,
    "proxy_memory.ProxyMemory": contrast_ranges.proxy_memory,
    "training.optimization.Optimization": ranges.optimization,
}
"""Checks of the classes that need torch, by name within the package."""

PACKAGE = "dccc_lightning."

SEVERAL = f"{PACKAGE}data.datasets.several.SeveralDatasets"

LIGHT = ("clustering.dcps.", "data.")
"""Prefixes of modules without torch, whose classes are instantiated as a check."""


def check_group(group: str, settings: Settings, **arguments: Any) -> None:
    """Check a group's settings like its constructor.

    Custom classes are not checked here, only by their constructors.

    Args:
        group: Name of the group, for messages.
        settings: Settings with ``_target_``; nested settings may have one too.
        arguments: Further arguments of the constructor.

    Raises:
        UserError: A value is invalid; the message begins with the group.
    """
    target = str(settings.get("_target_", "")).removeprefix(PACKAGE)
    own = {name: value for name, value in settings.items() if name != "_target_"}
    for name, part in own.items():
        if isinstance(part, Mapping) and "_target_" in part:
            check_group(f"{group}.{name}", part)
    if target.startswith(LIGHT):
        construct(group, settings, **arguments)
    elif check := CHECKS.get(target):
        valid = inspect.signature(check).parameters
        for name in own:
            if name not in valid:
                raise UserError(
                    f"{group}.{name}: no such setting; valid: {', '.join(valid) or 'none'}"
                )
        checked(group, lambda: check(**own, **arguments), {group: own})


def check_network(settings: Settings) -> None:
    """Check ``model`` for the image size in the settings."""
    image = settings["image"]
    check_group("model", settings["model"], image_size=(image["height"], image["width"]))


def check_clustering(settings: Settings) -> None:
    """Check the settings of scheduler and clustering."""
    for group in ("scheduler", "clustering"):
        check_group(group, settings[group])


def check_training(settings: Settings) -> None:
    """Check all settings of a training except those of the dataset.

    Raises:
        UserError: A setting is invalid; the message names it.
    """
    check_batches(settings)
    check_network(settings)
    check_clustering(settings)
    for group in ("memory", "loss", "optimizer"):
        check_group(group, settings[group])
    teacher = settings["teacher"]
    checked("settings", lambda: ranges.teacher(**teacher), {"teacher": teacher})
    check_trainer(settings)
    check_sections(settings)
    for name, entry in settings["callbacks"].items():
        if entry and name != "recluster":  # checked as scheduler and clustering
            check_group(f"callbacks.{name}", entry)


def check_sections(settings: Settings) -> None:
    """Check that callbacks and loggers are sections that name a class, or null."""
    for group in ("callbacks", "logger"):
        for name, entry in settings[group].items():
            if entry and not (isinstance(entry, Mapping) and "_target_" in entry):
                raise UserError(f"{group}.{name}: must be a section with _target_, or null")


def check_batches(settings: Settings) -> None:
    """Check the settings of the datamodule."""
    image, batch, loader = settings["image"], settings["batch"], settings["loader"]
    dataset = settings["dataset"]
    sections = {name: settings[name] for name in ("image", "batch", "augmentation", "loader")}
    checked(
        "settings",
        lambda: ranges.datamodule(
            image["height"], image["width"], batch["clusters"], batch["instances"],
            settings["iterations"], settings["seed"], loader["eval_batch_size"],
            loader["workers"], dataset["cache"], dataset["on_error"], fit=image["fit"],
        ),
        sections,
    )  # fmt: skip
    embedding = {"embedding": settings["embedding"]}
    checked("embedding", lambda: turning_ranges.embedding_of(settings), embedding)
    checked("settings", lambda: ranges.augmentation(**settings["augmentation"]), sections)


def check_dataset(dataset: ReIDDataset) -> None:
    """Read the splits of a dataset without its images; a synthetic dataset is not drawn.

    Raises:
        UserError: The dataset is missing or has another layout.
    """
    if not isinstance(getattr(dataset, "dataset", dataset), DrawnDataset):
        dataset.splits()


def build_dataset(settings: Settings) -> ReIDDataset:
    """Build a dataset from its group, without the settings that belong to the datamodule."""
    own = {name: value for name, value in settings.items() if name not in ("on_error", "cache")}
    if own.get("_target_") == SEVERAL:
        return _several(own)
    dataset: ReIDDataset = construct("dataset", own)
    return dataset


def build_tested(settings: Settings) -> ReIDDataset:
    """Build the dataset of a training, with the test images that ``evaluate`` leaves."""
    own = settings["evaluate"]
    checked("settings", lambda: callback_ranges.evaluated(**own))
    dataset = build_dataset(settings["dataset"])
    return limited(dataset, own["most_per_identity"], own["drop_duplicates"])


def _several(settings: Settings) -> ReIDDataset:
    """Build the datasets that ``dataset.of`` names, in ``dataset.root``, and join them."""
    entries = settings["of"]
    if not isinstance(entries, (list, tuple)) or not entries:
        raise UserError(
            f"dataset.of={entries}: give the datasets to train with, as dataset=[market1501,msmt17]"
        )
    root = settings["root"]
    named = [entry if isinstance(entry, Mapping) else {"dataset": entry} for entry in entries]
    parts = [
        build_dataset(dataset_settings({"root": root, **entry}, "dataset.of")) for entry in named
    ]
    return checked(
        "dataset",
        lambda: SeveralDatasets(parts, settings["name"], settings["test"]),
        {"dataset": settings},
    )
