"""Decoding of a stream of images in threads, a few batches ahead of the consumer."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dccc_lightning.common import checks
from dccc_lightning.common.ranks import processes_here
from dccc_lightning.data.decoding import DECODING_ERRORS, decode_image, resize_image, unreadable
from dccc_lightning.errors import UnreadableImageError

Source = str | os.PathLike[str] | Image.Image
"""A file, or an image opened by Pillow."""

Decoded = NDArray[np.uint8] | UnreadableImageError
"""(3, H, W) uint8, or the error of an unreadable image."""

LOOKAHEAD = 2
"""Number of batches that are decoded ahead."""


def decoded_batches(
    sources: Iterable[Source],
    height: int,
    width: int,
    batch_size: int,
    threads: int | None = None,
    interpolation: str = "bicubic",
    turned: bool = False,
    fit: str = "stretch",
) -> Iterator[list[Decoded]]:
    """Yield decoded images in order, in lists of ``batch_size`` (the last may be shorter).

    At most ``1 + LOOKAHEAD`` batches are in memory, whatever the number of sources.

    Args:
        sources: Files or images, consumed lazily.
        height: Height of the decoded images.
        width: Width of the decoded images.
        batch_size: Number of images per list.
        threads: Number of decoding threads; by default one per available core, shared by the
            processes of this machine.
        interpolation: Filter of ``resize_image``.
        turned: Decode four quarter turns of each image, (4, 3, H, W).
        fit: As in ``resize_image``.
    """
    resizing = height, width, interpolation, turned, fit
    remaining = iter(sources)
    waiting: deque[list[Future[Decoded] | Image.Image]] = deque()
    threads = threads or max(1, len(os.sched_getaffinity(0)) // processes_here())
    pool = ThreadPoolExecutor(checks.integer("threads", threads, 1))
    try:
        while True:
            while len(waiting) <= LOOKAHEAD and (batch := list(islice(remaining, batch_size))):
                # Opened images are decoded in this thread: the same image may occur repeatedly,
                # and Pillow's lazy loading is not thread-safe.
                waiting.append(
                    [
                        source
                        if isinstance(source, Image.Image)
                        else pool.submit(_decode_file, source, *resizing)
                        for source in batch
                    ]
                )
            if not waiting:
                return
            yield [
                _take(item, *resizing) if isinstance(item, Image.Image) else item.result()
                for item in waiting.popleft()
            ]
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_file(path: str | os.PathLike[str], *resizing: Any) -> Decoded:
    try:
        return decode_image(path, *resizing)
    except UnreadableImageError as error:
        return error


def _take(image: Image.Image, *resizing: Any) -> Decoded:
    try:
        return resize_image(image, *resizing)
    except DECODING_ERRORS as error:
        return unreadable(getattr(image, "filename", "") or "in memory", error)
