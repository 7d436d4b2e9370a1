"""Networks and images selected by the settings ``ckpt``, ``network`` and ``input``."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dccc_lightning.common import checks, turning_ranges
from dccc_lightning.common.console import CONSOLE
from dccc_lightning.config.image_size import with_stated_size
from dccc_lightning.config.instantiate import Settings, checked, construct
from dccc_lightning.config.preflight import build_dataset
from dccc_lightning.data.image_list import ListedImage, listed_folder, listed_split
from dccc_lightning.errors import UserError
from dccc_lightning.inference.checkpoint_files import NETWORKS, find_checkpoint

if TYPE_CHECKING:
    import torch
    from torch import nn

    from dccc_lightning.inference.image_embedder import ImageEmbedder

SPLITS = ("train", "query", "gallery", "all")
"""Values of ``input`` besides a folder: splits of ``dataset=``."""


def embedder_of(settings: Settings, device: "str | torch.device") -> "ImageEmbedder":
    """Load the network of ``ckpt`` and ``network``, as ``loaded_network`` does.

    Raises:
        UserError: ``ckpt`` is not set, or the network cannot be loaded.
    """
    check_checkpoint(settings)
    return loaded_network(settings, str(settings["ckpt"]), device)


def loaded_network(settings: Settings, path: str, device: "str | torch.device") -> "ImageEmbedder":
    """Load a checkpoint; ``network`` chooses the network in it.

    A file of another repository is loaded into the network of ``model``, by the rules of
    ``model.weights``, for images of the size that it states, or of ``image`` if that is set.

    Raises:
        UserError: The network cannot be loaded.
    """
    from dccc_lightning.inference.loading import ForeignFileError

    backbone = own_backbone(settings)
    try:
        return loaded(settings, path, device, backbone)
    except ForeignFileError:
        from dccc_lightning.config.build import build_plain

        theirs = {**settings, "model": {**settings["model"], "weights": path}}
        sized, origin = with_stated_size(theirs)
        embedder = build_plain(sized, device)
        CONSOLE.print(
            f"{path}: a file of another repository, with images of {embedder.height} x "
            f"{embedder.width} {origin}; compare its preprocessing with task=verify"
        )
        return embedder


def loaded(
    settings: Settings, path: str, device: Any, backbone: "nn.Module | None"
) -> "ImageEmbedder":
    """Load the network of ``network`` and ``embedding`` from a checkpoint.

    Raises:
        UserError: It cannot be loaded.
    """
    from dccc_lightning.inference.loading import load_embedder

    embedding = settings["embedding"]
    return checked(
        "ckpt",
        lambda: load_embedder(path, settings["network"], device, backbone, **embedding),
        {"embedding": embedding},
    )


def own_backbone(settings: Settings) -> "nn.Module | None":
    """Build the backbone of ``model`` if it is a custom class; else return None.

    A checkpoint must not choose the code to run, so it is named by the settings.

    Raises:
        UserError: The constructor raises an error.
    """
    backbone = settings["model"].get("backbone")
    return construct("model.backbone", backbone) if isinstance(backbone, Mapping) else None


def check_checkpoint(settings: Settings) -> None:
    """Check ``ckpt`` and ``network`` before torch is imported to load them.

    Raises:
        UserError: ``ckpt`` is not set, or the file does not exist.
    """
    if settings["ckpt"] is None:
        raise UserError("ckpt= is needed: a checkpoint, a run folder, or bundled")
    path, section = str(settings["ckpt"]), {"embedding": settings["embedding"]}
    checked(
        "embedding",
        lambda: turning_ranges.embedding(**settings["embedding"], trained=turning_ranges.UNREAD),
        section,
    )
    checked("ckpt", lambda: checks.choice("network", settings["network"], NETWORKS))
    if path != "bundled":
        find_checkpoint(Path(path).expanduser())


def skips_unreadable(on_error: object) -> bool:
    """Return True if ``dataset.on_error`` is ``skip``, False if ``fail``.

    Raises:
        UserError: The value is neither ``fail`` nor ``skip``.
    """
    options = ("fail", "skip")
    return checked("dataset", lambda: checks.choice("on_error", on_error, options)) == "skip"


def batch_size_of(settings: Settings) -> int:
    """Return ``loader.eval_batch_size``, or the default of the device.

    Raises:
        UserError: The value is neither null nor a positive integer.
    """
    from dccc_lightning.data.batches import images_per_step

    loader = settings["loader"]
    return checked("loader", lambda: images_per_step(loader["eval_batch_size"]), {"loader": loader})


def threads_of(settings: Settings) -> int | None:
    """Return the number of decoding threads from ``loader.workers``; None for one per core.

    Raises:
        UserError: The value is not a number of threads.
    """
    workers = settings["loader"]["workers"]
    if workers is None:
        return None
    return checked("loader", lambda: checks.integer("workers", workers, 0)) or None


def path_of(settings: Settings, key: str) -> Path:
    """Return the path in a setting; numbers are accepted as names.

    Raises:
        UserError: The value is not a path.
    """
    return checked("settings", lambda: checks.path(key, settings[key]))


def source_of(settings: Settings, private: bool = False) -> str:
    """Return a description of ``input`` as text.

    Args:
        settings: Composed configuration.
        private: Omit paths of this machine, for files to be distributed.

    Raises:
        UserError: ``input`` is neither a folder nor a split.
    """
    if settings["input"] is None:
        raise UserError(
            f"input= is needed: a folder of images, or one of {', '.join(SPLITS)} of dataset="
        )
    source = str(settings["input"])
    if source in SPLITS:
        dataset = settings["dataset"]
        return f"{source} of {dataset['name']}" + (
            f" in {dataset['root']}" if dataset["root"] and not private else ""
        )
    folder = checks.path("input", source)
    if not folder.is_dir():
        raise UserError(f"input={source}: neither a folder nor one of {', '.join(SPLITS)}")
    return folder.absolute().name if private else str(folder.absolute())


def images_of(settings: Settings) -> Iterator[ListedImage]:
    """List the images of ``input``, with absolute paths.

    Raises:
        UserError: The dataset cannot be read, or a folder cannot be listed.
    """
    source = str(settings["input"])
    if source in SPLITS:
        return listed_split(build_dataset(settings["dataset"]).splits(), source)
    return listed_folder(checks.path("input", source))
