"""identities.parquet and identities.csv: who is on every image, with ids as text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dccc_lightning.common.overrides import path_argument
from dccc_lightning.data.image_table import LABELS, ImageTable, read_columns, read_image_table
from dccc_lightning.errors import UserError
from dccc_lightning.metrics.cluster_margins import Margins

STEM = "identities"
"""Name of the tables, the summary (.json) and the page (.html) in an output folder."""

EMBEDDINGS = "embeddings.npy"
"""Embeddings of the rows of the table, in an output folder."""

_LABELS = [name for name in LABELS if name != "identity"]


@dataclass(frozen=True, eq=False)
class Known:
    """Identities found before.

    Attributes:
        source: Folder or file that they come from.
        images: Images with their labels; ``identity`` is among the columns.
        names: Names given to identities.
        used: Ids that are taken, also by identities without images.
        embeddings: (N, D) float32 of the images, if the folder has them.
        fingerprint: Network of the embeddings.
    """

    source: Path
    images: ImageTable
    names: dict[str, str] = field(default_factory=dict)
    used: frozenset[str] = frozenset()
    embeddings: NDArray[np.float32] | None = None
    fingerprint: str = ""

    @property
    def folder(self) -> Path | None:
        """Output folder that these come from; None for a table that lies in none."""
        if self.source.is_dir():
            return self.source
        place = self.source.parent
        is_ours = self.source.stem == STEM and (place / f"{STEM}.json").is_file()
        return place if is_ours else None

    @property
    def identities(self) -> list[str | None]:
        """Id of each image."""
        return self.images.column("identity")


def identity_table(
    paths: Sequence[str],
    columns: Mapping[str, Sequence[str | None]],
    identities: Sequence[str],
    names: Mapping[str, str],
    margins: Margins,
    second: Sequence[str | None],
    earlier: Sequence[str | None],
) -> pa.Table:
    """Lay out identities, a row per image in the order of ``paths``.

    Columns: path, camera, session, tracklet and frame (null if unknown), identity, name (null if
    none was given), earlier (the id so far, null for a new image), distance (cosine distance to the
    centre of the identity), second (the nearest other identity), second_distance, and margin
    (second_distance - distance; low or negative is doubtful).
    """

    def distances(values: NDArray[np.float64]) -> pa.Array:
        return pa.array(values.astype(np.float32), from_pandas=True)  # NaN is null

    def texts(values: Sequence[str | None]) -> pa.Array:
        return pa.array(values, pa.string())

    unknown = [None] * len(paths)
    return pa.table(
        {
            "path": texts(paths),
            **{name: texts(columns.get(name, unknown)) for name in _LABELS},
            "identity": texts(identities),
            "name": texts([names.get(identity) for identity in identities]),
            "earlier": texts(earlier),
            "distance": distances(margins.own),
            "second": texts(second),
            "second_distance": distances(margins.other),
            "margin": distances(margins.margin),
        }
    )


def read_known(place: Path) -> Known:
    """Read an output folder of ``task=identify``, or a table with the columns path and identity.

    Raises:
        UserError: The folder or table is missing or damaged, a row has no identity, or an
            identity has two names.
    """
    is_folder = place.is_dir()
    file = place / f"{STEM}.parquet" if is_folder else place
    if not file.is_file():
        wanted = (
            f"no {STEM}.parquet of task=identify there" if is_folder else "no such file or folder"
        )
        raise UserError(f"known={place}: {wanted}")
    images = read_image_table(file)
    cells = images.columns.get("identity")
    if cells is None or None in cells:
        what = (
            "no column identity" if cells is None else f"no identity in row {cells.index(None) + 1}"
        )
        raise UserError(f"{file}: {what}; remove the row, or complete it")
    ids = [str(cell) for cell in cells]
    table = read_columns(file, ("path", "identity"), ("name",))
    given = table["name"].to_pylist() if "name" in table.column_names else [None] * len(ids)
    names: dict[str, str] = {}
    for identity, name in zip(ids, given, strict=True):
        if name and names.setdefault(identity, name) != name:
            raise UserError(
                f"{file}: {identity} has two names, {names[identity]} and {name}; keep one of them"
            )
    if not is_folder:
        return Known(place, images, names, frozenset(ids))
    try:
        facts: dict[str, Any] = json.loads((place / f"{STEM}.json").read_text())
        rows = np.load(place / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
        if rows.ndim != 2 or len(rows) != len(ids) or rows.dtype != np.float32:
            raise ValueError
        if facts["order"] != order_of(sorted(images.paths)):
            raise ValueError
        used, fingerprint = (
            frozenset(map(str, facts["ids_without_images"])) | set(ids),
            str(facts["fingerprint"]),
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{place}: {EMBEDDINGS} and {file.name} do not belong together or are damaged; give "
            f"{path_argument('known', place / f'{STEM}.csv')} and the images by input="
        ) from error
    ranks = {path: rank for rank, path in enumerate(sorted(images.paths))}
    in_order = rows[[ranks[path] for path in images.paths]]  # whatever sorted the table since
    return Known(place, images, names, used, in_order, fingerprint)


def order_of(paths: Sequence[str]) -> str:
    """Return a digest of paths in their order: that of the rows of the embeddings."""
    return sha256("\0".join(paths).encode("utf-8", "surrogateescape")).hexdigest()
