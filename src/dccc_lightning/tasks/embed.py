"""``task=embed``: embeddings of a folder or split, with a table of its images."""

from pathlib import Path
from typing import Any

from dccc_lightning.common import checks
from dccc_lightning.common.console import CONSOLE, counted
from dccc_lightning.common.faults import explain_failures
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.config.processes import check_devices
from dccc_lightning.errors import UnreadableImageError, UserError
from dccc_lightning.inference.embedding_file import FORMATS
from dccc_lightning.tasks.inputs import (
    batch_size_of,
    check_checkpoint,
    embedder_of,
    images_of,
    skips_unreadable,
    source_of,
    threads_of,
)

DEVICES = {"gpu": "cuda"}
"""Torch's names of Lightning's accelerators, where they differ."""


def embed(settings: Settings, output: Path) -> dict[str, Any]:
    """Embed every image of ``input`` with the network of ``ckpt``.

    Args:
        settings: Composed configuration.
        output: Folder to write embeddings.npy or embeddings.safetensors, images.parquet,
            embeddings.json and, if images were skipped, skipped.jsonl to.

    Returns:
        The content of embeddings.json.

    Raises:
        UserError: A setting, the checkpoint, the folder or an image is invalid.
    """
    file_format, source = settings["format"], source_of(settings)
    checked("settings", lambda: checks.choice("format", file_format, FORMATS), {"format": ""})
    threads, skips = threads_of(settings), skips_unreadable(settings["dataset"]["on_error"])
    check_checkpoint(settings)
    check_devices(settings["trainer"])
    size = batch_size_of(settings)

    from dccc_lightning.inference.bulk_embedding import BulkEmbedding

    accelerator = settings["trainer"]["accelerator"]
    embedder = embedder_of(settings, DEVICES.get(accelerator, accelerator))
    bulk = checked(
        "settings",
        lambda: BulkEmbedding(
            embedder,
            output,
            source,
            file_format=file_format,
            batch_size=size,
            threads=threads,
            skip_unreadable=skips,
        ),
        {"format": settings["format"]},
    )
    try:
        with explain_failures(output):
            manifest = bulk.run(lambda: images_of(settings))
    except UnreadableImageError as error:
        again = path_argument("resume", output)
        raise UserError(
            f"{error}; remove it, or {again} dataset.on_error=skip continues without it"
        ) from error
    skipped = f", {manifest['skipped']:,} unreadable skipped" if manifest["skipped"] else ""
    CONSOLE.print(
        f"embedded {counted(manifest['images'], 'image')} (D = {manifest['feature_dim']}) in "
        f"{manifest['seconds']:,} s{skipped}"
    )
    return manifest
