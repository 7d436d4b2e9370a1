"""Looking into every image file once: can it be decoded, how large is it, what is it like?"""

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
"""Formats with pages or frames; a second image in a JPEG is its preview."""

DIGEST_BYTES = 16
"""128 bits: that two different files agree by chance need not be feared."""


@dataclass(frozen=True)
class Inspection:
    """What a look into a file has told.

    Attributes:
        digest: hash of the content; None of a file that is empty or cannot be read.
        is_empty: it has no content at all.
        problem: why it cannot be decoded, in one line; None if it can, or is empty.
        size: width and height in pixels, upright; None if it cannot be decoded.
        likeness: its ``perceptual_hash``; None if it cannot be decoded.
        pages: images in the file, of which the first is read.
    """

    digest: bytes | None
    is_empty: bool = False
    problem: str | None = None
    size: tuple[int, int] | None = None
    likeness: bytes | None = None
    pages: int = 1


def inspect(path: Path) -> Inspection:
    """Read, decode and hash one file; the pixels are not kept."""
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
            rgb = to_rgb(image)  # as training does: what it refuses is refused here
    except DECODING_ERRORS as error:
        return Inspection(digest, problem=problem_of(error, content[:HEAD_BYTES]))
    return Inspection(digest, size=rgb.size, likeness=perceptual_hash(rgb), pages=pages)


def inspect_all(paths: Sequence[Path], progress: bool = True) -> list[Inspection]:
    """Inspect files in parallel, on every available core; a path given twice is read once.

    Args:
        paths: N files.
        progress: show a progress bar.

    Returns:
        N inspections, in the order of ``paths``.
    """
    different = list(dict.fromkeys(paths))
    # Threads: reading, hashing and decoding all release the interpreter's lock.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        inspections = track(
            pool.map(inspect, different), "inspecting images", len(different), progress
        )
        by_path = dict(zip(different, inspections, strict=True))
    return [by_path[path] for path in paths]
