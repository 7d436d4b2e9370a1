"""Store of decoded images, cached in shared memory if they fit."""

import math
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from dccc_lightning.common import checks
from dccc_lightning.common.progress import track
from dccc_lightning.data.available_memory import available_memory
from dccc_lightning.data.decoding import check_header, decode_image
from dccc_lightning.errors import UnreadableImageError, UserError

Cache = Literal["auto", "ram", "none"]

SHARED_MEMORY = Path("/dev/shm")
"""File system of Linux's shared memory; containers often limit it to 64 MB."""


@dataclass(frozen=True)
class UnreadableImage:
    """An image that ``ImageStore.preload`` could not read.

    Attributes:
        index: Position in the store.
        error: Error that ``ImageStore.load`` raises for it; the message names the file.
    """

    index: int
    error: UnreadableImageError


def shared_empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return an uninitialised tensor in memory shared with loader workers."""
    tensor: torch.Tensor = torch.empty(shape, dtype=dtype).share_memory_()  # type: ignore[no-untyped-call]
    return tensor


class ImageStore:
    """Resized images of a split by index, decoded once if they fit into memory.

    Loader workers and threads share the cache. Two of them may decode the same image at the same
    time; both write the same bytes.

    Args:
        paths: N files.
        height: Height of the decoded images.
        width: Width of the decoded images.
        cache: "ram" keeps decoded images, "none" decodes at each ``load``, "auto" keeps them if
            their N * 3 * height * width bytes fit.
        memory_fraction: Share of the available memory that "auto" may use.
        interpolation: Filter of ``resize_image``.
        turned: Keep four quarter turns of each image.
        fit: As in ``resize_image``.

    Raises:
        UserError: ``cache`` is "ram" and shared memory is too small.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        height: int,
        width: int,
        cache: Cache = "auto",
        memory_fraction: float = 0.4,
        interpolation: str = "bicubic",
        turned: bool = False,
        fit: str = "stretch",
    ) -> None:
        self.height = checks.integer("height", height, low=1)
        self.width = checks.integer("width", width, low=1)
        checks.choice("cache", cache, ("auto", "ram", "none"))
        checks.real("memory_fraction", memory_fraction, 0, 1)
        self.interpolation, self.turned, self.fit = interpolation, turned, fit
        self.shape = (*((4,) if turned else ()), 3, self.height, self.width)
        self._paths = [os.fspath(path) for path in paths]
        self._rows = torch.arange(len(self._paths))
        self._pixels: torch.Tensor | None = None
        self._filled = shared_empty((len(self._paths),), torch.bool).zero_()
        if cache != "none" and self._fits(cache, memory_fraction):
            self._pixels = shared_empty((len(self._paths), *self.shape), torch.uint8)

    def _fits(self, cache: Cache, memory_fraction: float) -> bool:
        """Return True if the cache fits; raise an error if it is required and does not."""
        needed = len(self._paths) * math.prod(self.shape)
        shared = shutil.disk_usage(SHARED_MEMORY).free
        if cache == "ram" and needed > shared:
            raise UserError(
                f"the image cache needs {needed / 1e9:.1f} GB of shared memory, {SHARED_MEMORY} "
                f"has {shared / 1e9:.1f} GB free; use cache=none, or docker's --shm-size"
            )
        return cache == "ram" or needed <= min(shared, memory_fraction * available_memory())

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def cached(self) -> bool:
        """True if decoded images are kept."""
        return self._pixels is not None

    def load(self, indices: Sequence[int] | NDArray[np.int64] | torch.Tensor) -> torch.Tensor:
        """Return the images at ``indices``.

        Returns:
            (b, 3, height, width) uint8, with ``turned`` (b, 4, 3, height, width); a copy.

        Raises:
            UnreadableImageError: One of the files cannot be decoded.
        """
        positions = torch.as_tensor(indices, dtype=torch.int64)
        # A worker's batch goes to its parent through shared memory: made there, it does not stay
        # between the small blocks of the worker's heap while it waits to be sent.
        empty = torch.empty if get_worker_info() is None else shared_empty
        images = empty((len(positions), *self.shape), dtype=torch.uint8)
        if self._pixels is None:
            for slot, position in enumerate(positions.tolist()):
                images[slot] = self._decode(position)
            return images
        for position in positions[~self._filled[self._rows[positions]]].tolist():
            self._fill(position)
        return torch.index_select(self._pixels, 0, self._rows[positions], out=images)

    def preload(
        self, progress: bool = False, threads: int | None = None, thorough: bool = False
    ) -> list[UnreadableImage]:
        """Decode every image into the cache; without a cache, only read the headers.

        Args:
            progress: Show a progress bar.
            threads: Number of decoding threads; by default one per available core.
            thorough: Decode images also without a cache, which detects truncated files.

        Returns:
            Images that cannot be read, sorted by index.
        """
        threads = threads or len(os.sched_getaffinity(0))
        with ThreadPoolExecutor(checks.integer("threads", threads, low=1)) as pool:
            outcomes = track(
                pool.map(partial(self._attempt, thorough=thorough), range(len(self))),
                "reading images",
                len(self),
                progress,
            )
            return [outcome for outcome in outcomes if outcome is not None]

    def select(self, indices: Sequence[int] | NDArray[np.int64]) -> "ImageStore":
        """Return a store of the images at ``indices`` that shares this one's cache."""
        positions = np.asarray(indices, dtype=np.int64)
        chosen = ImageStore.__new__(ImageStore)
        chosen.__dict__.update(self.__dict__)
        chosen._paths = [self._paths[position] for position in positions]
        chosen._rows = self._rows[torch.from_numpy(positions)]
        return chosen

    def _attempt(self, position: int, thorough: bool) -> UnreadableImage | None:
        """Read an image; return its error, or None."""
        try:
            if self._pixels is None and thorough:
                self._decode(position)
            elif self._pixels is None:
                check_header(self._paths[position])
            elif not self._filled[self._rows[position]]:
                self._fill(position)
        except UnreadableImageError as error:
            return UnreadableImage(position, error)
        return None

    def _fill(self, position: int) -> None:
        """Decode an image into the cache, and set its flag last for concurrent readers."""
        assert self._pixels is not None
        row = self._rows[position]
        self._pixels[row] = self._decode(position)
        self._filled[row] = True

    def _decode(self, position: int) -> torch.Tensor:
        path, size = self._paths[position], (self.height, self.width)
        return torch.from_numpy(
            decode_image(path, *size, self.interpolation, self.turned, self.fit)
        )
