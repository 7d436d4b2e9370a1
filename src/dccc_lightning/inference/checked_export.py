"""Export of an embedder to files, compared with the module after saving."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
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
    PRECISIONS,
    require_packages,
    to_onnx,
    to_program,
    to_pt2,
)
from dccc_lightning.inference.image_embedder import ImageEmbedder
from dccc_lightning.inference.precision import LIMITS, to_f16, to_int8, to_openvino
from dccc_lightning.inference.runtimes import Run, runner

LARGEST_LENGTH = 0.01
"""Largest difference of an embedding's length from 1, which a cosine does not show."""

SUFFIXES = {"onnx": ".onnx", "pt2": ".pt2", "openvino": ".xml"}
"""Suffix of the file to load, by format."""

Contents = dict[str, dict[str, bytes]]
"""Contents of files by name, by the name of the file to load."""


@dataclass(frozen=True)
class Parity:
    """Agreement of an exported network with the module, over all images.

    Attributes:
        mean: Mean of 1 - cosine of the two embeddings of an image.
        worst: Its maximum.
        length: Largest difference of a length from that of the module's embedding.
    """

    mean: float
    worst: float
    length: float

    @classmethod
    def between(cls, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> "Parity":
        """Compare (N, D) with (N, D).

        >>> Parity.between(np.eye(2, dtype=np.float32), 3 * np.eye(2, dtype=np.float32))
        Parity(mean=0.0, worst=0.0, length=2.0)
        """
        a, b = ours.astype(np.float64), theirs.astype(np.float64)
        lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        apart = 1 - (a * b).sum(axis=1) / (lengths[0] * lengths[1])
        length = float(np.abs(lengths[1] - lengths[0]).max())
        return cls(float(apart.mean()), float(apart.max()), length)

    def check(self, file: str, precision: str, limit: float | None) -> None:
        """Raise if the worst image is above ``limit``, by default that of the precision.

        Raises:
            UserError: It is, or the lengths differ.
        """
        largest = LIMITS[precision] if limit is None else limit
        if not (self.worst <= largest and self.length <= LARGEST_LENGTH):
            raise UserError(
                f"{file} disagrees with the module: 1 - cosine is {self.mean:.1e} on average and "
                f"{self.worst:.1e} for the worst image, lengths differ by {self.length:.1e}; the "
                f"limit of {precision} is {largest:g} (limit= sets another); nothing was written"
            )


def export_embedder(
    embedder: ImageEmbedder,
    path: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]],
    precision: str = "f32",
    calibration: Sequence[str | os.PathLike[str]] = (),
    limit: float | None = None,
) -> Parity:
    """Export an embedder to a file, and return the agreement with the module.

    Args:
        embedder: Embedder from ``load_embedder``.
        path: Path ending in ``.onnx``, ``.pt2`` or, for OpenVINO, ``.xml``, which gets a ``.bin``
            beside it; existing files are replaced.
        images: At least two image files for the comparison.
        precision: ``f32``, ``f16`` or ``int8``; a ``.pt2`` is always ``f32``.
        calibration: Image files from which the ranges of ``int8`` are taken.
        limit: Largest 1 - cosine of an image; None for that of the precision in ``LIMITS``.

    Raises:
        UserError: A package is missing, the network cannot be exported, an image cannot be read, or
            the file disagrees with the module; nothing is written then.
        ValueError: The path has another ending, there are less than two images, or the precision
            does not fit.
    """
    file = checks.path("path", path)
    formats = [name for name, suffix in SUFFIXES.items() if suffix == file.suffix]
    if not formats:
        raise ValueError(f"path must end in {', '.join(SUFFIXES.values())}, got {path}")
    checks.integer("the number of images", len(images), 2)
    check_precision(formats, precision, len(calibration))
    require_packages(formats, precision)
    pixels = decoded(images, embedder)
    ranges = decoded(calibration, embedder) if precision == "int8" else None
    (contents,) = written(embedder, formats, precision, ranges).values()
    with TemporaryDirectory() as folder:
        saved = [Path(folder) / f"{file.stem}{Path(name).suffix}" for name in contents]
        for place, content in zip(saved, contents.values(), strict=True):
            place.write_bytes(content)
        run = runner(saved[0])
        ours = embedder.rows(torch.from_numpy(pixels)).numpy()
        parity = Parity.between(ours, embedded(run, pixels))
        parity.check(file.name, precision, limit)
        for place in reversed(saved):
            write_atomically(file.parent / place.name, place.read_bytes())
    return parity


def check_precision(formats: Sequence[str], precision: str, calibration: int) -> None:
    """Check a precision.

    Raises:
        ValueError: It is unknown, not available in a format, or lacks images.
    """
    checks.choice("precision", precision, PRECISIONS)
    if precision != "f32" and "pt2" in formats:
        raise ValueError(f"precision={precision}: pt2 is f32 only; choose format=onnx or openvino")
    if precision == "int8" and not calibration:
        raise ValueError("precision=int8: needs calibration images of the cameras in question")


def written(
    embedder: ImageEmbedder,
    formats: Sequence[str],
    precision: str,
    calibration: NDArray[np.uint8] | None,
) -> Contents:
    """Export a network in one precision to several formats.

    Raises:
        UserError: The network cannot be exported.
    """
    described = about(embedder) | {"precision": precision}
    program = to_program(embedder)
    contents: Contents = {}
    if "pt2" in formats:
        contents["model.pt2"] = {"model.pt2": to_pt2(program, described)}
    if {"onnx", "openvino"} & set(formats):
        full = to_onnx(program, described)
        reduced = full if calibration is None else to_int8(full, calibration)
        if "openvino" in formats:
            contents["model.xml"] = to_openvino(reduced, described, halves=precision == "f16")
        if "onnx" in formats:
            half = to_f16(full) if precision == "f16" else reduced
            contents["model.onnx"] = {"model.onnx": half}
    return {name: contents[name] for name in sorted(contents)}


def about(embedder: ImageEmbedder) -> dict[str, Any]:
    """Return the description of a network for its exported files."""
    return {
        "fingerprint": embedder.fingerprint,
        "height": embedder.height,
        "width": embedder.width,
        "preprocessing": embedder.preprocessing,
        "feature_dim": embedder.row_dim,
        "network": embedder.origin.network,
        "dataset": embedder.origin.dataset,
        "dccc_lightning": __version__,
    }


def decoded(paths: Sequence[str | os.PathLike[str]], embedder: ImageEmbedder) -> NDArray[np.uint8]:
    """Decode images at the size of a network, without its turns, (B, 3, H, W) uint8."""
    resizing = embedder.height, embedder.width, embedder.interpolation, False, embedder.fit
    return np.stack([decode_image(path, *resizing) for path in paths])


def embedded(run: Run, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed images in two batch sizes."""
    return np.concatenate([run(pixels[:1]), run(pixels[1:])])


def save(folder: Path, contents: Mapping[str, Mapping[str, bytes]]) -> None:
    """Write the files of an export into a folder."""
    for files in contents.values():
        for name, content in reversed(list(files.items())):
            write_atomically(folder / name, content)
