"""Frames of a video as images in a folder."""

import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from dccc_lightning.data.decoding import DECODING_ERRORS, FORMATS, check_size, to_rgb, unreadable
from dccc_lightning.data.image_formats import has_image_suffix
from dccc_lightning.data.natural_order import natural_key
from dccc_lightning.data.video.frames import Ending, Frame, Pixels
from dccc_lightning.errors import UserError

_LAST_NUMBER = re.compile(r"(\d+)\D*$")


class FrameFolder:
    """Images of a folder as frames.

    Their order is that of the numbers in their names. If numbers are missing, so are these frames:
    those after the gap keep their places.

    Args:
        folder: Folder.
        files: Names of all frames in their order, if the file of boxes names them.

    Raises:
        UserError: The folder has no images, or not those of ``files``.
    """

    def __init__(self, folder: Path, files: Sequence[str] | None = None) -> None:
        self.name = os.fspath(folder)
        self.ending = Ending()
        self.record: dict[str, Any] = {"decoder": f"Pillow {PIL.__version__}"}
        names = [p.name for p in folder.iterdir() if has_image_suffix(p.name) and p.is_file()]
        if not names:
            raise UserError(f"{self.name!r} has no images; give a video, or a folder of frames")
        if files is not None:
            if not set(names) & set(files):
                raise UserError(
                    f"{self.name!r} lacks the frames that the boxes name, such as {files[0]!r}; "
                    "is it another folder?"
                )
            self._places = {name: place for place, name in enumerate(files)}
            self._names = sorted(set(names) & set(files), key=self._places.__getitem__)
        else:
            self._names = sorted(names, key=natural_key)
            self._places = dict(zip(self._names, _places(self._names), strict=True))
        first = _pixels(folder / self._names[0])
        self.coded_size = self.size = first.shape[1], first.shape[0]

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order."""
        total = max(self._places.values()) + 1
        self.ending = Ending(total)
        if missing := total - len(self._names):
            self.ending.notes.append(f"{missing:,} of {total:,} frames are not in the folder")
        for name in self._names:
            path = Path(self.name) / name
            yield Frame(self._places[name], None, None, partial(_pixels, path))


def _places(names: Sequence[str]) -> list[int]:
    """Return the place of each name: by its number if numbers have gaps, else by order.

    >>> _places(["f1.jpg", "f2.jpg", "f4.jpg"]), _places(["a.jpg", "b.jpg"])
    ([0, 1, 3], [0, 1])
    """
    found = [_LAST_NUMBER.search(name) for name in names]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) < len(names) or any(b <= a for a, b in pairwise(numbers)):
        return list(range(len(names)))
    return [number - numbers[0] for number in numbers]


def _pixels(path: Path) -> Pixels:
    """Return the upright RGB pixels of an image.

    Raises:
        UnreadableImageError: The image cannot be decoded.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            check_size(image)
            return np.asarray(to_rgb(image))
    except DECODING_ERRORS as error:
        raise unreadable(path, error) from error
