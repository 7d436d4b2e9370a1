"""Export of an embedder to a file, verified against the module."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dccc_lightning import __version__
from dccc_lightning.common import checks
from dccc_lightning.common.files import write_atomically
from dccc_lightning.data.decoding import decode_image
from dccc_lightning.errors import UserError
from dccc_lightning.inference.exporting import (
    FORMATS,
    Parity,
    Run,
    require_packages,
    runner,
    to_onnx,
    to_program,
    to_pt2,
)
from dccc_lightning.inference.image_embedder import ImageEmbedder

LEAST_COSINE = 0.9999
LARGEST_DIFFERENCE = 0.01
"""Maximum difference of a component, which unlike the cosine detects wrong lengths."""


def export_embedder(
    embedder: ImageEmbedder,
    path: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]],
) -> Parity:
    """Export an embedder to ONNX or ``torch.export``, and return the agreement with the module.

    Args:
        embedder: Embedder from ``load_embedder``.
        path: Path ending in ``.onnx`` or ``.pt2``; an existing file is replaced.
        images: At least two image files for the comparison.

    Raises:
        UserError: A package is missing, the network cannot be exported, an image cannot be read, or
            the file disagrees with the module; nothing is written then.
        ValueError: The path has another ending, or there are less than two images.
    """
    file = checks.path("path", path)
    file_format = file.suffix.removeprefix(".")
    if file_format not in FORMATS:
        raise ValueError(f"path must end in {' or '.join(f'.{n}' for n in FORMATS)}, got {path}")
    checks.integer("the number of images", len(images), 2)
    require_packages([file_format])
    pixels = decoded(images, embedder)
    write = {"onnx": to_onnx, "pt2": to_pt2}[file_format]
    content = write(to_program(embedder), about(embedder))
    ours = embedder.embed(torch.from_numpy(pixels)).numpy()
    _, parity = compared(content, file_format, pixels, ours)
    write_atomically(file, content)
    return parity


def about(embedder: ImageEmbedder) -> dict[str, Any]:
    """Return the description of a network for its exported files."""
    return {
        "fingerprint": embedder.fingerprint,
        "height": embedder.height,
        "width": embedder.width,
        "preprocessing": embedder.preprocessing,
        "feature_dim": embedder.feature_dim,
        "network": embedder.origin.network,
        "dataset": embedder.origin.dataset,
        "dccc_lightning": __version__,
    }


def decoded(paths: Sequence[str | os.PathLike[str]], embedder: ImageEmbedder) -> NDArray[np.uint8]:
    """Decode images at the size of a network, (B, 3, H, W) uint8."""
    resizing = embedder.height, embedder.width, embedder.interpolation
    return np.stack([decode_image(path, *resizing) for path in paths])


def compared(
    content: bytes, file_format: str, pixels: NDArray[np.uint8], ours: NDArray[np.float32]
) -> tuple[Run, Parity]:
    """Load an exported network and compare its embeddings with ``ours``.

    Raises:
        UserError: They disagree.
    """
    run = runner(content, file_format)
    theirs = np.concatenate([run(pixels[:1]), run(pixels[1:])])  # two batch sizes
    parity = Parity.between(ours, theirs)
    if not (parity.cosine >= LEAST_COSINE and parity.difference <= LARGEST_DIFFERENCE):
        raise UserError(
            f"model.{file_format} disagrees with the module: {parity}; nothing was written"
        )
    return run, parity
