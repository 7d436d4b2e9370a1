"""Check the settings of a task before it imports torch, which takes longer than the answer."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from dccc_lightning.common import ranges
from dccc_lightning.config.instantiate import Settings, checked, construct
from dccc_lightning.config.trainer_checks import check_trainer
from dccc_lightning.data.records import ReIDDataset
from dccc_lightning.data.synthetic.dataset import SyntheticPedestrians
from dccc_lightning.errors import UserError
from dccc_lightning.models.catalog import check_embedder

Check = Callable[..., object]

CHECKS: Mapping[str, Check] = {
    "training.callbacks.evaluation_interval.EvaluationEvery": ranges.evaluation,
    "training.callbacks.loss_guard.LossGuard": ranges.loss_guard,
    "training.callbacks.epoch_panels.Panels": ranges.panels,
    "training.callbacks.run_checkpoint.RunCheckpoint": ranges.run_checkpoint,
    "clustering.adaptive.AdaptiveSchedule": ranges.adaptive_schedule,
    "clustering.algorithms.DBSCAN": ranges.cluster_size,
    "clustering.hdbscan.HDBSCAN": ranges.hdbscan,
    "clustering.infomap.Infomap": ranges.infomap,
    "clustering.pseudo_labels.PseudoLabeler": ranges.labeler,
    "clustering.single_linkage.SingleLinkage": ranges.cluster_size,
    "losses.ClusterContrastLoss": ranges.no_arguments,
    "losses.SoftContrastiveLoss": ranges.soft_contrastive,
    "losses.SoftOnlyLoss": ranges.no_arguments,
    "memory.ClusterMemory": ranges.memory,
    "models.embedder.build_embedder": check_embedder,
    "training.optimization.Optimization": ranges.optimization,
}
"""Checks of what the settings may name and torch is needed for, by name within the package."""

PACKAGE = "dccc_lightning."

LIGHT = ("clustering.dcps.", "data.")
"""Modules without torch: their classes are simply made."""


def check_group(group: str, settings: Settings, **arguments: Any) -> None:
    """Check a group's settings as its constructor would.

    Classes of the user's own are left to their constructors.

    Args:
        group: Its name, for messages.
        settings: With ``_target_``; parts may have one too.
        arguments: Further arguments of the constructor.

    Raises:
        UserError: The constructor would refuse a value; the line begins with the group.
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
    """Check ``model`` for images of the size in the settings."""
    image = settings["image"]
    check_group("model", settings["model"], image_size=(image["height"], image["width"]))


def check_clustering(settings: Settings) -> None:
    """Check what makes pseudo labels."""
    for group in ("scheduler", "clustering"):
        check_group(group, settings[group])


def check_training(settings: Settings) -> None:
    """Check all settings of a training, the dataset aside.

    Raises:
        UserError: One line that names the setting.
    """
    check_batches(settings)
    check_network(settings)
    check_clustering(settings)
    for group in ("memory", "loss", "optimizer"):
        check_group(group, settings[group])
    teacher = settings["teacher"]
    checked("settings", lambda: ranges.teacher(**teacher), {"teacher": teacher})
    check_trainer(settings)
    for name, entry in settings["callbacks"].items():
        if entry and name != "recluster":  # made of scheduler and clustering
            check_group(f"callbacks.{name}", entry)


def check_batches(settings: Settings) -> None:
    """Check what the datamodule is built from."""
    image, batch, loader = settings["image"], settings["batch"], settings["loader"]
    dataset = settings["dataset"]
    sections = {name: settings[name] for name in ("image", "batch", "augmentation", "loader")}
    checked(
        "settings",
        lambda: ranges.datamodule(
            image["height"], image["width"], batch["clusters"], batch["instances"],
            settings["iterations"], settings["seed"], loader["eval_batch_size"],
            loader["workers"], dataset["cache"], dataset["on_error"],
        ),
        sections,
    )  # fmt: skip
    checked("settings", lambda: ranges.augmentation(**settings["augmentation"]), sections)


def check_dataset(dataset: ReIDDataset) -> None:
    """Read the splits of a dataset, without its images; one that is drawn is not drawn for it.

    Raises:
        UserError: The dataset is missing or laid out otherwise.
    """
    if not isinstance(dataset, SyntheticPedestrians):
        dataset.splits()


def build_dataset(settings: Settings) -> ReIDDataset:
    """Build a dataset from its settings, of which the datamodule has two."""
    own = {name: value for name, value in settings.items() if name not in ("on_error", "cache")}
    dataset: ReIDDataset = construct("dataset", own)
    return dataset
