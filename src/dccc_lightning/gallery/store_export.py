"""Export of a gallery to vector stores, as unit vectors compared by cosine."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa

from dccc_lightning.common import checks
from dccc_lightning.errors import UserError
from dccc_lightning.gallery.gallery_index import GalleryIndex
from dccc_lightning.gallery.vector_stores import STORES, TABLE, TYPES, VectorStore, open_store

_log = logging.getLogger(__name__)


def export_gallery(
    gallery: GalleryIndex,
    store: str,
    path: str | os.PathLike[str],
    seconds: Mapping[str, float | None] | None = None,
) -> int:
    """Write the images of a gallery to a vector store, and return their number.

    In a store that was written before, images that left the gallery or changed are removed, and
    those that it lacks are added. Labels and times are null where unknown.

    Args:
        gallery: Gallery of any kind; its exact embeddings are written.
        store: ``lancedb``, ``qdrant`` (local), ``duckdb``, ``sqlite_vec`` or ``pgvector``.
        path: Folder of the store, file of DuckDB or SQLite, or connection string of PostgreSQL.
        seconds: Times of images by path, as in the gallery; such as ``time`` of ``task=crop``.
            A warning is logged if images have none.

    Raises:
        UserError: The package of the store is missing, the store refuses, holds embeddings of
            another network, or holds another number of images afterwards.
        ValueError: The store is unknown, an embedding is zero or not finite, or a time is not
            finite, or ``seconds`` has no path of the gallery.
    """
    checks.choice("store", store, tuple(STORES))
    lengths = np.linalg.norm(gallery.embeddings, axis=1)
    if not (np.abs(lengths - 1) < 1e-3).all():  # also NaN
        raise ValueError("embeddings must have length 1")
    times = _times(gallery, seconds or {})
    try:
        with closing(open_store(store, path, gallery.feature_dim)) as opened:
            held = _write(gallery, opened, times)
    except ImportError as error:
        raise UserError(
            f"store={store}: needs {error.name}: pip install 'dccc-lightning[stores]'"
        ) from error
    except UserError as error:
        raise UserError(f"store={store}: {error}") from error
    except Exception as error:  # exceptions differ by store
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"store={store}: cannot be written: {reason}") from error
    if held != len(gallery):
        raise UserError(
            f"store={store}: holds {held} images, the gallery {len(gallery)}; write it anew"
        )
    return held


def _times(gallery: GalleryIndex, seconds: Mapping[str, float | None]) -> list[float | None]:
    """Return the time of each image."""
    paths = gallery.table.paths
    if seconds and len(paths) and not any(path in seconds for path in paths):
        raise ValueError(f"seconds has no path of the gallery, such as {paths[0]}")
    given = [seconds.get(path) for path in paths]
    if not all(time is None or math.isfinite(time) for time in given):
        raise ValueError("seconds must be finite, or None where unknown")
    if seconds and (missing := given.count(None)):
        _log.warning(
            "seconds: no time for %s of %s images; no condition of time finds them",
            f"{missing:,}", f"{len(given):,}",
        )  # fmt: skip
    return [None if time is None else float(time) for time in given]


def _write(gallery: GalleryIndex, store: VectorStore, times: Sequence[float | None]) -> int:
    """Bring a store to the state of the gallery, and count its images."""
    table = gallery.table
    labels = zip(
        table.cameras, table.identities, table.sessions, table.tracklets, strict=True
    )  # in the order of vector_stores.LABELS
    facts = zip(table.ids.tolist(), table.paths, labels, times, strict=True)
    model = gallery.fingerprint
    wanted = {
        number: (path, *(label or None for label in own), time, model)
        for number, path, own, time in facts
    }
    held = {row[0]: tuple(row[1:]) for row in store.rows()}
    if any(row[-1] != model for row in held.values()):
        raise UserError(
            f"its table {TABLE} holds embeddings of another network; write to another place, or "
            "remove the table"
        )
    gone = [number for number, row in held.items() if wanted.get(number) != row]
    kept = held.keys() - set(gone)
    new = np.array([number not in kept for number in wanted], dtype=bool)
    store.replace(gone, _columns(gallery, [(n, *wanted[n]) for n in wanted if n not in kept], new))
    return sum(1 for _ in store.rows())


def _columns(gallery: GalleryIndex, rows: list[tuple[Any, ...]], chosen: Any) -> pa.Table:
    """Return rows of ``TYPES`` with their vectors."""
    given = list(zip(*rows, strict=True)) or [()] * len(TYPES)
    columns = {n: pa.array(v, t) for (n, t), v in zip(TYPES.items(), given, strict=True)}
    flat = pa.array(np.ascontiguousarray(gallery.embeddings[chosen], np.float32).ravel())
    columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, gallery.feature_dim)
    return pa.table(columns)
