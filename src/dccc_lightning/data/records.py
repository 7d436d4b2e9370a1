"""Records of a dataset: paths, identities and cameras of the three splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1
"""Value of an unknown identity, camera or other label."""

COLUMNS = ("session", "tracklet", "clothes", "modality", "frame")
"""Labels of an image beside identity and camera, where a dataset has them."""


@dataclass(frozen=True, eq=False)
class Records:
    """Images of a split, in a fixed order; the position is an image's index.

    Attributes:
        paths: N files.
        identities: (N,) int64, or ``UNKNOWN``.
        cameras: (N,) int64, or ``UNKNOWN``.
        columns: Other labels by name, one of ``COLUMNS``, (N,) int64 each; read them by ``column``.
    """

    paths: tuple[Path, ...]
    identities: NDArray[np.int64]
    cameras: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.paths) == len(self.identities) == len(self.cameras):
            raise ValueError(
                f"records need one identity and one camera per path, got {len(self.paths)} paths, "
                f"{len(self.identities)} identities, {len(self.cameras)} cameras"
            )
        for name, values in self.columns.items():
            if name not in COLUMNS or len(values) != len(self.paths):
                raise ValueError(
                    f"records take one value per path in the columns {', '.join(COLUMNS)}, "
                    f"got {len(values)} in {name} for {len(self.paths)} paths"
                )

    def __len__(self) -> int:
        return len(self.paths)

    def column(self, name: str) -> NDArray[np.int64]:
        """Return a column (N,), filled with ``UNKNOWN`` if the dataset lacks it."""
        if name in self.columns:
            return self.columns[name]
        return np.full(len(self), UNKNOWN, dtype=np.int64)

    def sightings(self) -> NDArray[np.int64]:
        """Return a number (N,) of each session, or tracklet of a camera if that is unknown.

        The numbers compare images of these records; ``joined`` ones compare those of several.
        """
        session, tracklet = self.column("session"), self.column("tracklet")
        is_known = session != UNKNOWN
        rows = [
            is_known,
            np.where(is_known, 0, self.cameras),
            np.where(is_known, session, tracklet),
        ]
        numbers = np.unique(np.stack(rows, axis=1), axis=0, return_inverse=True)[1].ravel()
        numbers[~is_known & (tracklet == UNKNOWN)] = UNKNOWN
        return numbers.astype(np.int64)

    def select(self, indices: Sequence[int] | NDArray[np.int64]) -> "Records":
        """Return the records at ``indices``, in that order."""
        positions = np.asarray(indices, dtype=np.int64)
        return Records(
            tuple(self.paths[i] for i in positions),
            self.identities[positions],
            self.cameras[positions],
            {name: values[positions] for name, values in self.columns.items()},
        )

    def joined(self, *others: "Records") -> "Records":
        """Return these records followed by others, with the columns of all."""
        parts = (self, *others)
        names = dict.fromkeys(name for part in parts for name in part.columns)
        return Records(
            tuple(path for part in parts for path in part.paths),
            np.concatenate([part.identities for part in parts]),
            np.concatenate([part.cameras for part in parts]),
            {name: np.concatenate([part.column(name) for part in parts]) for name in names},
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

    Training and test identities are disjoint, unless a custom dataset assigns them otherwise. Query
    and gallery are empty if no identity is known.

    Attributes:
        name: Name of the dataset.
        root: Folder of the dataset.
        train: Training images.
        query: Query images.
        gallery: Gallery images.
        camera_names: Names of the cameras by number; empty if they have no names.
        identity_names: Names of the identities by number; empty if they have no names.
        column_names: Names of the other labels by column and number, where they have names.
        layout: Short description of the folder's layout.
        shared_identities: Identities found in both training and test and therefore renumbered in
            test; None if training and test are numbered separately, so that equal numbers do not
            mean the same identity.
        protocol: Name of the evaluation protocol that the dataset's authors use.
    """

    name: str
    root: Path
    train: Records
    query: Records
    gallery: Records
    camera_names: tuple[str, ...] = ()
    identity_names: tuple[str, ...] = ()
    column_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    layout: str = ""
    shared_identities: tuple[int, ...] | None = ()
    protocol: str = "market1501"

    @property
    def labelled(self) -> bool:
        """True if the dataset has query and gallery images."""
        return len(self.query) + len(self.gallery) > 0


class ReIDDataset(Protocol):
    """Protocol of a dataset in the config group ``dataset``.

    The optional attribute ``facts`` (``data.datasets.official_counts.Facts``) holds official counts
    for ``task=verify``.
    """

    name: str

    def splits(self) -> Splits:
        """Read or generate the dataset.

        Raises:
            UserError: A folder or list is missing or has another layout, or a split is empty.
        """
        ...
