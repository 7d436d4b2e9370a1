"""Inspection of image files: decodability, size, content hash and perceptual hash."""

import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dccc_lightning.common.progress import track
from dccc_lightning.data.audit.perceptual_hash import perceptual_hash
from dccc_lightning.data.decoding import DECODING_ERRORS, FORMATS, check_size, problem_of, to_rgb
from dccc_lightning.data.image_formats import HEAD_BYTES

PAGED = ("TIFF", "PNG", "WEBP")
"""Formats with pages or frames. A second image in a JPEG is a preview and not counted."""

DIGEST_BYTES = 16
"""Length of content hashes; collisions of 128 bits are negligible."""


@dataclass(frozen=True)
class Inspection:
    """Result of inspecting an image file.

    Attributes:
        digest: Hash of the content; None if the file is empty or cannot be read.
        is_empty: True if the file has no content.
        problem: Reason why it cannot be decoded, in one line; None if it can, or is empty.
        size: Width and height in pixels after EXIF rotation; None if it cannot be decoded.
        likeness: ``perceptual_hash`` of the image; None if it cannot be decoded.
        pages: Number of images in the file; only the first is used.
    """

    digest: bytes | None
    is_empty: bool = False
    problem: str | None = None
    size: tuple[int, int] | None = None
    likeness: bytes | None = None
    pages: int = 1


def inspect(path: Path) -> Inspection:
    """Read, decode and hash one file, discarding the pixels."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return Inspection(None, problem=problem_of(error))
    if not content:
        return Inspection(None, is_empty=True)
    digest = hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            check_size(image)
            pages = getattr(image, "n_frames", 1) if image.format in PAGED else 1
            rgb = to_rgb(image)  # as in training, so that the same files fail
    except DECODING_ERRORS as error:
        return Inspection(digest, problem=problem_of(error, content[:HEAD_BYTES]))
    return Inspection(digest, size=rgb.size, likeness=perceptual_hash(rgb), pages=pages)


def inspect_all(paths: Sequence[Path], progress: bool = True) -> list[Inspection]:
    """Inspect files in parallel on all available cores, each distinct path once.

    Args:
        paths: N files.
        progress: Show a progress bar.

    Returns:
        N inspections, in the order of ``paths``.
    """
    different = list(dict.fromkeys(paths))
    # Threads suffice: reading, hashing and decoding release the GIL.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        inspections = track(
            pool.map(inspect, different), "inspecting images", len(different), progress
        )
        by_path = dict(zip(different, inspections, strict=True))
    return [by_path[path] for path in paths]
