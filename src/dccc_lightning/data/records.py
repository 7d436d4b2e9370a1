"""What a dataset is, once its folders are read: paths, identities and cameras of three splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1
"""Identity or camera of an image whose identity or camera nobody knows."""


@dataclass(frozen=True, eq=False)
class Records:
    """The images of one split, in a fixed order; a position in it is an image's index.

    Attributes:
        paths: N files.
        identities: (N,) int64, ``UNKNOWN`` where there is none.
        cameras: (N,) int64, ``UNKNOWN`` where there is none.
    """

    paths: tuple[Path, ...]
    identities: NDArray[np.int64]
    cameras: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not len(self.paths) == len(self.identities) == len(self.cameras):
            raise ValueError(
                f"records need one identity and one camera a path, got {len(self.paths)} paths, "
                f"{len(self.identities)} identities, {len(self.cameras)} cameras"
            )

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, indices: Sequence[int] | NDArray[np.int64]) -> "Records":
        """Return the records at ``indices``, in that order."""
        positions = np.asarray(indices, dtype=np.int64)
        return Records(
            tuple(self.paths[i] for i in positions),
            self.identities[positions],
            self.cameras[positions],
        )

    @classmethod
    def from_rows(cls, rows: Sequence[tuple[Path, int, int]]) -> "Records":
        """Build records from (path, identity, camera) rows."""
        return cls(
            tuple(row[0] for row in rows),
            np.array([row[1] for row in rows], dtype=np.int64),
            np.array([row[2] for row in rows], dtype=np.int64),
        )


@dataclass(frozen=True, eq=False)
class Splits:
    """The three splits of a re-identification dataset. Identities of the splits are apart."""

    name: str
    root: Path
    train: Records
    query: Records
    gallery: Records


class ReIDDataset(Protocol):
    """Anything that can read itself into ``Splits``; the contract of the ``dataset`` group."""

    name: str

    def splits(self) -> Splits:
        """Read (or make) the dataset.

        Raises:
            UserError: a folder or list is missing, laid out otherwise, or a split is empty.
        """
        ...
