"""Decoding a stream of images of any length in threads, a few batches ahead of who uses them."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dccc_lightning.common import checks
from dccc_lightning.data.decoding import DECODING_ERRORS, decode_image, resize_image, unreadable
from dccc_lightning.errors import UnreadableImageError

Source = str | os.PathLike[str] | Image.Image
"""A file, or an image that Pillow has opened."""

Decoded = NDArray[np.uint8] | UnreadableImageError
"""(3, H, W) uint8, or why there is none."""

LOOKAHEAD = 2
"""Batches that are decoded while the caller works on one."""


def decoded_batches(
    sources: Iterable[Source], height: int, width: int, batch_size: int, threads: int | None = None
) -> Iterator[list[Decoded]]:
    """Yield the decoded images in order, in lists of ``batch_size`` (the last may be shorter).

    Memory does not grow with the number of sources: no more than ``1 + LOOKAHEAD`` batches exist.

    Args:
        sources: Read lazily.
        height: Of the decoded images.
        width: Of the decoded images.
        batch_size: Images of a list.
        threads: That decode; by default one for each available core.
    """
    remaining = iter(sources)
    waiting: deque[list[Future[Decoded] | Image.Image]] = deque()
    threads = threads or len(os.sched_getaffinity(0))
    pool = ThreadPoolExecutor(checks.integer("threads", threads, 1))
    try:
        while True:
            while len(waiting) <= LOOKAHEAD and (batch := list(islice(remaining, batch_size))):
                # Images that are open already stay in this thread: they may be open in several
                # places of the list, and Pillow's reading of one of them is not thread-safe.
                waiting.append(
                    [
                        source
                        if isinstance(source, Image.Image)
                        else pool.submit(_decode_file, source, height, width)
                        for source in batch
                    ]
                )
            if not waiting:
                return
            yield [
                _take(item, height, width) if isinstance(item, Image.Image) else item.result()
                for item in waiting.popleft()
            ]
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_file(path: str | os.PathLike[str], height: int, width: int) -> Decoded:
    try:
        return decode_image(path, height, width)
    except UnreadableImageError as error:
        return error


def _take(image: Image.Image, height: int, width: int) -> Decoded:
    try:
        return resize_image(image, height, width)
    except DECODING_ERRORS as error:
        return unreadable(getattr(image, "filename", "") or "in memory", error)
