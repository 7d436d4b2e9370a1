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
    part = _part(settings["part"])
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
            part=part,
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
    which = f"part {settings['part']}: " if part else ""
    skipped = f", {manifest['skipped']:,} unreadable skipped" if manifest["skipped"] else ""
    CONSOLE.print(
        f"{which}embedded {counted(manifest['images'], 'image')} "
        f"(D = {manifest['feature_dim']}) in {manifest['seconds']:,} s{skipped}"
    )
    return manifest


def _part(value: Any) -> tuple[int, int] | None:
    """Return the number of a part and the number of parts, from ``I/N``.

    Raises:
        UserError: The value is not of this form, or I is not from 1 to N.
    """
    if value is None:
        return None
    number, _, parts = str(value).partition("/")
    is_form = all(text.isascii() and text.isdigit() and len(text) < 10 for text in (number, parts))
    if not is_form or not 1 <= int(number) <= int(parts):
        raise UserError(f"part={value}: must be I/N with I from 1 to N, such as part=3/8")
    return int(number), int(parts)
