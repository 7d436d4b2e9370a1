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
    """The three splits of a re-identification dataset.

    Identities of the splits are apart, unless the user's own division of his images has it
    otherwise. Query and gallery are empty where no identity is known.

    Attributes:
        name: Of the dataset.
        root: Its folder.
        train: Images to train on.
        query: Images to search with.
        gallery: Images to search in.
        camera_names: Camera i was called ``camera_names[i]``; empty where cameras are numbers.
        identity_names: The same of identities.
        layout: How the folder is laid out, in a few words.
        shared_identities: Identities that training and test images are both named by, although one
            numbering covers both (those of the test then get new numbers); None where training and
            test are numbered apart, so that equal numbers mean nothing.
    """

    name: str
    root: Path
    train: Records
    query: Records
    gallery: Records
    camera_names: tuple[str, ...] = ()
    identity_names: tuple[str, ...] = ()
    layout: str = ""
    shared_identities: tuple[int, ...] | None = ()

    @property
    def labelled(self) -> bool:
        """Whether there is anything to evaluate on."""
        return len(self.query) + len(self.gallery) > 0


class ReIDDataset(Protocol):
    """Anything that can read itself into ``Splits``; the contract of the ``dataset`` group.

    It may have official counts as an attribute ``facts`` (``Facts`` of
    ``data.datasets.official_counts``), for ``task=verify``.
    """

    name: str

    def splits(self) -> Splits:
        """Read (or make) the dataset.

        Raises:
            UserError: a folder or list is missing, laid out otherwise, or a split is empty.
        """
        ...
