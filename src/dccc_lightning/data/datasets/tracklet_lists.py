"""Lists of tracklets as ranges of a list of names, as MARS and MEVID have them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.data.datasets.matlab_files import read_matlab
from dccc_lightning.data.datasets.row_files import Row
from dccc_lightning.errors import UserError


@dataclass(frozen=True)
class TrackletLists:
    """Files that divide a list of names into tracklets.

    Attributes:
        ranges: File with the first and the last name of each tracklet in its first two columns,
            text or .mat; further columns are not read, the names have the labels.
        first: Number of the first name and the first tracklet: 1, or 0 as Python counts, with the
            name after the last in place of the last.
        only: File of the numbers of the tracklets to read; None for all.
        without: File of the numbers of the tracklets to leave out; None for none.
    """

    ranges: str
    first: int = 1
    only: str | None = None
    without: str | None = None

    @classmethod
    def of(cls, settings: object) -> "TrackletLists":
        """Return the lists that settings describe.

        Raises:
            TypeError: ``settings`` has other keys or types.
        """
        names = ("ranges", "first", "only", "without")
        if not isinstance(settings, Mapping) or not {"ranges"} <= set(settings) <= set(names):
            raise TypeError(f"tracklets must be {{ranges: FILE, ...}} of {names}, got {settings!r}")
        return cls(**settings)

    def files(self) -> tuple[str, ...]:
        """Return the files that are read."""
        return tuple(file for file in (self.ranges, self.only, self.without) if file)

    def divided(self, place: str, home: Path, names: Path, rows: list[Row]) -> list[Row]:
        """Return the rows of the chosen tracklets, with the tracklet's number as a group.

        Raises:
            UserError: A file cannot be read, or a number is out of range.
        """
        ranges = _numbers(place, home / self.ranges)
        chosen = np.arange(len(ranges))
        if self.only:
            chosen = _numbers(place, home / self.only).ravel() - self.first
        elif self.without:
            others = _numbers(place, home / self.without).ravel() - self.first
            chosen = np.setdiff1d(chosen, others)
        if ranges.ndim != 2 or ranges.shape[1] < 2:
            raise UserError(f"{place}: {home / self.ranges} must have two columns or more")
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(ranges):
            raise UserError(f"{place}: {home / self.ranges} has {len(ranges)} tracklets, not more")
        starts, ends = ranges[:, 0] - self.first, ranges[:, 1]
        if len(ranges) and not (starts.min() >= 0 and ends.max() <= len(rows)):
            raise UserError(f"{place}: {home / self.ranges} names lines that {names} does not have")
        return [
            {**row, "tracklet": str(track + self.first)}
            for track in chosen.tolist()
            for row in rows[starts[track] : ends[track]]
        ]


def _numbers(place: str, file: Path) -> NDArray[np.int64]:
    """Return the numbers of a text file or of the largest array of a .mat file."""
    try:
        if file.suffix == ".mat":
            arrays = [v for v in read_matlab(file).values() if isinstance(v, np.ndarray)]
            if not arrays:
                raise ValueError("it has no array")
            return max(arrays, key=lambda array: array.size).astype(np.int64)
        return np.loadtxt(file, ndmin=2, dtype=np.float64).astype(np.int64)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{place}: cannot read {file}: {error}") from error
