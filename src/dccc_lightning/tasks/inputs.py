"""What the settings ``ckpt``, ``network`` and ``input`` stand for."""

from collections.abc import Iterator
from pathlib import Path

from dccc_lightning.construction import Settings, checked, construct
from dccc_lightning.data.listing import ListedImage, listed_split, walk_images
from dccc_lightning.errors import UserError
from dccc_lightning.inference.image_embedder import ImageEmbedder
from dccc_lightning.inference.loading import load_embedder

SPLITS = ("train", "query", "gallery", "all")
"""What ``input`` may say besides a folder; of ``dataset=``."""


def embedder_of(settings: Settings, device: str) -> ImageEmbedder:
    """Load the network that ``ckpt`` and ``network`` name.

    Raises:
        UserError: None is named, or it cannot be loaded.
    """
    if settings["ckpt"] is None:
        raise UserError("ckpt= is needed: a checkpoint, the folder of a run, or bundled")
    return checked("ckpt", lambda: load_embedder(settings["ckpt"], settings["network"], device))


def source_of(settings: Settings) -> str:
    """Return what ``input`` means, in words.

    Raises:
        UserError: Neither a folder nor a split.
    """
    if settings["input"] is None:
        raise UserError(
            f"input= is needed: a folder of images, or one of {', '.join(SPLITS)} of dataset="
        )
    source = str(settings["input"])
    if source in SPLITS:
        dataset = settings["dataset"]
        return f"{source} of {dataset['name']}" + (
            f" in {dataset['root']}" if dataset["root"] else ""
        )
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise UserError(f"input={source}: neither a folder nor one of {', '.join(SPLITS)}")
    return str(folder.absolute())


def images_of(settings: Settings) -> Iterator[ListedImage]:
    """List the images of ``input``, by absolute paths.

    Raises:
        UserError: The dataset cannot be read, or a folder not be listed.
    """
    source = str(settings["input"])
    if source in SPLITS:
        dataset = dict(settings["dataset"])
        del dataset["on_error"], dataset["cache"]
        return listed_split(construct("dataset", dataset).splits(), source)
    return map(ListedImage, walk_images(Path(source).expanduser().absolute()))
