"""Decoded images, kept in memory where it allows."""

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

from dccc_lightning.common import checks
from dccc_lightning.common.progress import track
from dccc_lightning.data.available_memory import available_memory
from dccc_lightning.data.decoding import check_header, decode_image
from dccc_lightning.errors import UnreadableImageError, UserError

Cache = Literal["auto", "ram", "none"]

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux keeps the memory that processes share; containers often limit it to 64 MB."""


@dataclass(frozen=True)
class UnreadableImage:
    """An image that ``ImageStore.preload`` could not read.

    Attributes:
        index: position in the store.
        error: what ``ImageStore.load`` would raise for it; its message names the file.
    """

    index: int
    error: UnreadableImageError


def shared_empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return an uninitialised tensor that loader workers share instead of copying it."""
    tensor: torch.Tensor = torch.empty(shape, dtype=dtype).share_memory_()  # type: ignore[no-untyped-call]
    return tensor


class ImageStore:
    """The images of a split at one size, by index; decoded once where they fit in memory.

    The cache is shared memory: what one loader worker (or thread) has decoded, all have. Two of
    them may decode the same image at the same time; both write the same bytes.

    Args:
        paths: N files.
        height: rows of the decoded images.
        width: columns of the decoded images.
        cache: "ram" keeps decoded images, "none" decodes at each ``load``, "auto" keeps them if
            their N * 3 * height * width bytes fit.
        memory_fraction: the part of the memory available now that "auto" may take.

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
    ) -> None:
        self.height = checks.integer("height", height, low=1)
        self.width = checks.integer("width", width, low=1)
        checks.choice("cache", cache, ("auto", "ram", "none"))
        checks.real("memory_fraction", memory_fraction, 0, 1)
        self._paths = [os.fspath(path) for path in paths]
        self._rows = torch.arange(len(self._paths))
        self._pixels: torch.Tensor | None = None
        self._filled = shared_empty((len(self._paths),), torch.bool).zero_()
        if cache != "none" and self._fits(cache, memory_fraction):
            shape = (len(self._paths), 3, self.height, self.width)
            self._pixels = shared_empty(shape, torch.uint8)

    def _fits(self, cache: Cache, memory_fraction: float) -> bool:
        """Tell whether the cache fits; refuse if it was asked for and cannot."""
        needed = len(self._paths) * 3 * self.height * self.width
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
        """Whether decoded images are kept."""
        return self._pixels is not None

    def load(self, indices: Sequence[int] | NDArray[np.int64] | torch.Tensor) -> torch.Tensor:
        """Return the images at ``indices``.

        Returns:
            (b, 3, height, width) uint8, the caller's own.

        Raises:
            UnreadableImageError: one of the files cannot be decoded.
        """
        positions = torch.as_tensor(indices, dtype=torch.int64)
        if self._pixels is None:
            images = torch.empty((len(positions), 3, self.height, self.width), dtype=torch.uint8)
            for slot, position in enumerate(positions.tolist()):
                images[slot] = self._decode(position)
            return images
        for position in positions[~self._filled[self._rows[positions]]].tolist():
            self._fill(position)
        return self._pixels[self._rows[positions]]

    def preload(
        self, progress: bool = False, threads: int | None = None, thorough: bool = False
    ) -> list[UnreadableImage]:
        """Decode every image into the cache; without a cache only open the files.

        Args:
            progress: show a progress bar.
            thorough: without a cache, decode the images too, which finds truncated ones.
            threads: that decode, by default one for each available core.

        Returns:
            the images that cannot be read, in the order of their indices.
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
        """Read one image; return it if that fails."""
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
        """Decode one image into the cache; the flag comes last, for the readers beside us."""
        assert self._pixels is not None
        row = self._rows[position]
        self._pixels[row] = self._decode(position)
        self._filled[row] = True

    def _decode(self, position: int) -> torch.Tensor:
        return torch.from_numpy(decode_image(self._paths[position], self.height, self.width))
