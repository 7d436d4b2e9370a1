"""Decoding image files, once where memory allows."""

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dccc_lightning import checks
from dccc_lightning.data.deep_pixels import shallow
from dccc_lightning.data.image_kinds import READ, head_of, kind_of
from dccc_lightning.errors import UnreadableImageError, UserError
from dccc_lightning.progress import track

Cache = Literal["auto", "ram", "none"]

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux keeps the memory that processes share; containers often limit it to 64 MB."""

MAX_PIXELS = 2**26
"""Largest image, height times width, that is decoded: 201 MB as RGB; any photograph is smaller."""

FORMATS = tuple(READ)
"""What may be in a file, whatever its name: other readers of Pillow start programs (EPS)."""

# What Pillow raises on damaged files: broken PNG chunks are a SyntaxError, bombs an error apart.
DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


@dataclass(frozen=True)
class UnreadableImage:
    """An image that ``ImageStore.preload`` could not read.

    Attributes:
        index: position in the store.
        error: what ``ImageStore.load`` would raise for it; its message names the file.
    """

    index: int
    error: UnreadableImageError


def problem_of(error: BaseException, head: bytes = b"") -> str:
    """Say in one line why Pillow could not read an image, whose first bytes are ``head``."""
    if isinstance(error, UnidentifiedImageError):
        if (kind := kind_of(head)) is None:
            return "not an image of a known format"
        return f"{kind}, of a sort that is not read; convert it to JPEG or PNG"
    if isinstance(error, Image.DecompressionBombError):  # before check_size could refuse it
        return f"more than {MAX_PIXELS:,} pixels in all"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def unreadable(path: str | os.PathLike[str], error: BaseException) -> UnreadableImageError:
    """Return the one-line error for a file that Pillow could not read."""
    problem = problem_of(error, head_of(path) if isinstance(error, UnidentifiedImageError) else b"")
    return UnreadableImageError(f"cannot read the image {os.fspath(path)}: {problem}")


def check_size(image: Image.Image) -> None:
    """Refuse an image by its header, before its pixels are decoded.

    Raises:
        ValueError: it has more than ``MAX_PIXELS`` pixels, or none.
    """
    width, height = image.size
    if width * height == 0:
        raise ValueError(f"{height:,} x {width:,}, so without pixels")
    if width * height > MAX_PIXELS:
        raise ValueError(f"{height:,} x {width:,} pixels, more than {MAX_PIXELS:,} in all")


def to_rgb(image: Image.Image) -> Image.Image:
    """Bring an image of any mode to RGB, upright as viewers show it (EXIF orientation).

    Grey images of 16 or 32 bits are scaled to 8 by ``eight_bits``, where Pillow would cut them off.
    A file of several pages gives the first.

    Raises:
        ValueError: values that are not finite.
    """
    rgb = shallow(image).convert("RGB")
    with suppress(Exception):  # damaged EXIF trips Pillow's reader in all kinds of ways
        ImageOps.exif_transpose(rgb, in_place=True)
    return rgb


def resize_image(image: Image.Image, height: int, width: int) -> NDArray[np.uint8]:
    """Bring an image to RGB and to a size (bicubic, antialiased, as torchvision does with Pillow).

    Returns:
        (3, height, width) uint8.

    Raises:
        ValueError: it has more than ``MAX_PIXELS`` pixels or none, or values that are none of an
            image.
    """
    check_size(image)
    resized = to_rgb(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


def decode_image(path: str | os.PathLike[str], height: int, width: int) -> NDArray[np.uint8]:
    """Decode a file with ``resize_image``.

    Returns:
        (3, height, width) uint8.

    Raises:
        UnreadableImageError: the file is missing, empty, truncated, not an image, or larger than
            ``MAX_PIXELS``, which is seen before anything is decoded.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            return resize_image(image, height, width)
    except DECODING_ERRORS as error:
        raise unreadable(path, error) from error


def check_header(path: str | os.PathLike[str]) -> None:
    """Open a file without decoding its pixels.

    Raises:
        UnreadableImageError: the file is missing, empty, not an image or too large.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            check_size(image)
    except DECODING_ERRORS as error:
        raise unreadable(path, error) from error


def available_memory() -> int:
    """Return the bytes that new processes may fill, within the limit of a container."""
    sizes = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, size = line.partition(":")
        sizes[name] = size
    available = int(sizes["MemAvailable"].split()[0]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return available if text == "max" else min(available, int(text))


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
