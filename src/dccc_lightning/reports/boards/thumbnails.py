"""Thumbnails of images by key, stored together in one picture."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dccc_lightning.data.image_cache import ImageStore
from dccc_lightning.data.records import Splits
from dccc_lightning.reports.panels import Panel

Load: TypeAlias = Callable[[str, NDArray[np.int64], int], NDArray[np.uint8]]
"""(split, positions in it, height in pixels) to (n, height, width, 3) pixels."""


def key(split: str, index: int) -> str:
    """Return the key of an image in panels.

    >>> key("train", 12)
    'train/12'
    """
    return f"{split}/{index}"


@dataclass(frozen=True, eq=False)
class SplitImages:
    """Loader of thumbnails from the splits; a ``Load``.

    Attributes:
        splits: Where the images lie.
        aspect: Width over height of the thumbnails.
    """

    splits: Splits
    aspect: float = 0.5

    def __call__(self, split: str, indices: NDArray[np.int64], height: int) -> NDArray[np.uint8]:
        """Return the images of ``train``, ``query`` or ``gallery`` at ``indices``.

        Raises:
            UnreadableImageError: One of the files cannot be decoded.
        """
        records = getattr(self.splits, split).select(indices)
        width = max(1, round(height * self.aspect))
        store = ImageStore(records.paths, height, width, cache="none")
        pixels: NDArray[np.uint8] = store.load(range(len(records))).numpy()
        return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Images of one size, by key.

    Attributes:
        places: The position in ``pixels`` of each key.
        pixels: (n, height, width, 3).
    """

    places: dict[str, int]
    pixels: NDArray[np.uint8]

    @classmethod
    def load(cls, keys: Sequence[str], load: Load, height: int) -> "Thumbnails":
        """Load the images of ``keys``, each once, whatever their splits (at least one)."""
        by_split: dict[str, list[int]] = {}
        for name in dict.fromkeys(keys):
            split, _, index = name.rpartition("/")
            by_split.setdefault(split, []).append(int(index))
        parts = [load(split, np.array(chosen), height) for split, chosen in by_split.items()]
        names = [key(split, index) for split, chosen in by_split.items() for index in chosen]
        return cls({name: place for place, name in enumerate(names)}, np.concatenate(parts))

    def extended(self, keys: Sequence[str], load: Load, height: int) -> "Thumbnails":
        """Return these thumbnails and those of ``keys``; none is read twice."""
        fresh = [name for name in keys if name not in self.places]
        if not fresh:
            return self
        more = Thumbnails.load(fresh, load, height)
        if not self.places:
            return more
        names = [*self.places, *more.places]
        pixels = np.concatenate([self.pixels, more.pixels])
        return Thumbnails({name: place for place, name in enumerate(names)}, pixels)

    @classmethod
    def cut(cls, panel: Panel) -> "Thumbnails":
        """Return the thumbnails of a panel that ``panel`` made."""
        data: dict[str, Any] = panel.data or {}
        width, height = data["size"]
        picture = np.asarray(panel.image)
        columns = picture.shape[1] // width
        tiles = picture.reshape(-1, height, columns, width, 3).swapaxes(1, 2)
        return cls(
            {name: place for place, name in enumerate(data["keys"])},
            tiles.reshape(-1, height, width, 3),
        )

    def __getitem__(self, name: str) -> Image.Image:
        return Image.fromarray(self.pixels[self.places[name]])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[2], self.pixels.shape[1]

    def panel(self, name: str, title: str) -> Panel:
        """Return a panel with all images in one picture, row by row; its data are keys and size."""
        number, height, width, _ = self.pixels.shape
        columns = max(1, math.ceil(math.sqrt(number * height / width)))
        rows = math.ceil(number / columns)
        tiles = np.zeros((rows * columns, height, width, 3), dtype=np.uint8)
        tiles[:number] = self.pixels
        picture = tiles.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
        image = Image.fromarray(picture.reshape(rows * height, columns * width, 3))
        return Panel(name, title, image, {"keys": list(self.places), "size": [width, height]})
