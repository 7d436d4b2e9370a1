"""Images and embeddings of galleries and queries, selected by settings."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dccc_lightning.common import collectives
from dccc_lightning.common.console import CONSOLE, counted
from dccc_lightning.common.faults import SMALLER_EVAL_BATCH, explain_out_of_memory
from dccc_lightning.common.progress import announced
from dccc_lightning.config.instantiate import Settings
from dccc_lightning.config.preflight import build_dataset
from dccc_lightning.data.datasets.market_layout import is_market_distractor
from dccc_lightning.data.image_formats import has_image_suffix
from dccc_lightning.data.image_list import ListedImage, listed_folder, listed_split, read_table
from dccc_lightning.errors import UnreadableImageError, UserError
from dccc_lightning.inference.bulk_embedding import MANIFEST, TABLE
from dccc_lightning.inference.image_embedder import ImageEmbedder, name_of
from dccc_lightning.tasks.embed import DEVICES
from dccc_lightning.tasks.inputs import (
    SPLITS,
    batch_size_of,
    embedder_of,
    skips_unreadable,
    threads_of,
)
from dccc_lightning.tasks.path_labels import DISTRACTOR, PathLabels

Floats = NDArray[np.float32]


def loaded_embedder(settings: Settings) -> ImageEmbedder:
    """Load the network of ``ckpt`` to the device of ``trainer.accelerator``."""
    accelerator = settings["trainer"]["accelerator"]
    return embedder_of(settings, DEVICES.get(accelerator, accelerator))


def listed_images(
    settings: Settings, key: str, labels: PathLabels, *, needed: bool = True
) -> list[ListedImage]:
    """List the distinct images selected by a setting, with absolute paths.

    Args:
        settings: Composed configuration.
        key: Name of the setting, whose value is a split of ``dataset``, a folder, an image, a text
            file with one path per line (relative to the file), or a list of these.
        labels: Reader of cameras and identities from paths; not used for splits.
        needed: Argument of ``labels.check``.

    Raises:
        UserError: An entry does not exist, there are no images, or ``labels`` match no path.
    """
    value = settings[key]
    entries = value if isinstance(value, list) else [value]
    images = {
        image.path: image
        for entry in entries
        for image in _listed(settings, key, str(entry), labels)
    }
    if not images:
        raise UserError(f"{key}={value}: no images there")
    labels.check(f"{key}={value}", needed=needed)
    return list(images.values())


def _listed(settings: Settings, key: str, entry: str, labels: PathLabels) -> Iterator[ListedImage]:
    if entry in SPLITS:
        splits = build_dataset(settings["dataset"]).splits()
        yield from map(_without_zero, listed_split(splits, entry))
        return
    place = Path(entry).expanduser().absolute()
    if place.is_dir():
        paths: Iterator[str] = (image.path for image in listed_folder(place))
    elif not place.is_file():
        raise UserError(f"{key}={entry}: no such file or folder, and none of {', '.join(SPLITS)}")
    elif has_image_suffix(place.name):
        place, paths = place.parent, iter([str(place)])
    else:
        place, paths = place.parent, _lines(place, key)
    yield from (labels(path, place) for path in paths)


def _lines(file: Path, key: str) -> Iterator[str]:
    """Yield the paths in a text file; empty lines are skipped."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{key}={file}: neither an image nor a list of paths in UTF-8") from error
    for number, line in enumerate(lines, 1):
        path = line.strip()
        if path and not has_image_suffix(path):
            raise UserError(f"{file}, line {number}: {path!r} has no image suffix")
        if path:
            yield str((file.parent / Path(path).expanduser()).absolute())


def _without_zero(image: ListedImage) -> ListedImage:
    """Replace the identity of distractors by a name that is never a match."""
    is_stranger = image.identity == "0" and is_market_distractor(image.path)
    return image._replace(identity=DISTRACTOR) if is_stranger else image


def embed_images(
    embedder: ImageEmbedder, images: list[ListedImage], settings: Settings
) -> tuple[list[ListedImage], Floats]:
    """Embed images; with ``dataset.on_error=skip``, skip and count unreadable ones.

    In a process group each process embeds a share, and only rank 0 returns.

    Returns:
        The readable images and their embeddings (N, ``row_dim``).

    Raises:
        UnreadableImageError: An image cannot be read.
        UserError: No image can be read, or the GPU is out of memory.
        ShareDone: This is not rank 0.
    """
    size = batch_size_of(settings)
    images = collectives.from_first(lambda: images)
    own = collectives.batch_shard(len(images), size, *collectives.world())
    rows: list[Floats] = []

    def embed() -> list[ListedImage]:
        kept, found = _embed_share(embedder, images[own.start : own.stop], size, settings)
        rows.append(found)
        return kept

    shares = collectives.shared(embed)
    counts = [len(share) for share in shares or ()]
    gathered = collectives.gather_rows(torch.from_numpy(rows[0]), counts).numpy()
    collectives.leave_to_first()
    kept = [image for share in shares or () for image in share]
    if not kept:
        raise UserError(f"none of the {len(images)} images can be read")
    if skipped := len(images) - len(kept):
        CONSOLE.print(f"{counted(skipped, 'unreadable image')} skipped")
    return kept, gathered


def _embed_share(
    embedder: ImageEmbedder, images: list[ListedImage], size: int, settings: Settings
) -> tuple[list[ListedImage], Floats]:
    """Embed the images of this process."""
    skips = skips_unreadable(settings["dataset"]["on_error"])
    rows = np.empty((len(images), embedder.row_dim), dtype=np.float32)
    kept: list[ListedImage] = []
    remaining = iter(images)
    outcomes = embedder.decode((image.path for image in images), size, threads_of(settings))
    with explain_out_of_memory(SMALLER_EVAL_BATCH), announced("embedding", len(images)) as phase:
        for batch in outcomes:
            pixels = []
            for image, outcome in zip(islice(remaining, len(batch)), batch, strict=True):
                if not isinstance(outcome, UnreadableImageError):
                    pixels.append(torch.from_numpy(outcome))
                    kept.append(image)
                elif not skips:
                    raise UserError(f"{outcome}; remove it, or set dataset.on_error=skip")
            if pixels:
                done = slice(len(kept) - len(pixels), len(kept))
                rows[done] = embedder.rows(torch.stack(pixels), size).numpy()
            phase.advance(len(batch))
    return kept, rows[: len(kept)]


class Embedded(NamedTuple):
    """Images embedded by a network, see ``GalleryIndex`` and ``ImageEmbedder``."""

    fingerprint: str
    preprocessing: dict[str, Any] | None
    network: str
    images: list[ListedImage]
    rows: Floats


def embedded_before(folder: Path, labels: PathLabels) -> Embedded | None:
    """Read an output folder of ``task=embed``.

    Args:
        folder: Output folder of ``task=embed``.
        labels: Reader of cameras and identities from paths, which replace the stored ones.

    Returns:
        None if the folder is not an output of ``task=embed``.

    Raises:
        UserError: The folder is damaged, a part, contains safetensors, or ``labels`` match no path.
    """
    if not (folder / MANIFEST).is_file():
        return None
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["file_format"] != "npy":
            raise UserError(f"{folder}: contains safetensors; embed with format=npy for a gallery")
        if part := manifest.get("part"):
            raise UserError(f"{folder}: part {part} of an embedding; task=join joins all parts")
        rows = np.load(folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
        images = list(map(_without_zero, read_table(folder / TABLE)))
        if rows.shape != (len(images), manifest["feature_dim"]):
            raise ValueError
        fingerprint, source = str(manifest["fingerprint"]), Path(manifest["source"])
        network = name_of(str(manifest.get("checkpoint", "")), str(manifest.get("network")))
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: the output of task=embed is damaged; embed again") from error
    if labels.pattern is not None:
        images = [labels(image.path, source) for image in images]
        labels.check(f"input={folder}")
    return Embedded(fingerprint, manifest.get("preprocessing"), network, images, rows)
