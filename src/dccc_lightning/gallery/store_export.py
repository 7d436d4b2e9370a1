"""Export of a gallery to vector stores, as unit vectors compared by cosine."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dccc_lightning.common import checks
from dccc_lightning.errors import UserError
from dccc_lightning.gallery.gallery_index import GalleryIndex

METRIC = "cosine"
"""Metric that every store is given, since the default of most is another."""

TABLE = "images"
"""Name of the table or collection: id, path, camera, identity, vector."""

_ROWS = 1024


def export_gallery(gallery: GalleryIndex, store: str, path: str | os.PathLike[str]) -> int:
    """Write the images of a gallery to a vector store, and return their number.

    Of a store that was written before, only the images that are new are added, and those that left
    the gallery are removed. Unknown cameras and identities are null.

    Args:
        gallery: Gallery of any kind; its exact embeddings are written.
        store: ``lancedb``, ``qdrant`` (local) or ``duckdb``.
        path: Folder of the store, or the file of DuckDB.

    Raises:
        UserError: The package of the store is missing, or the store holds another number of images
            afterwards.
        ValueError: The store is unknown, or an embedding is zero or not finite.
    """
    write = STORES[checks.choice("store", store, tuple(STORES))]
    lengths = np.linalg.norm(gallery.embeddings, axis=1)
    if not (np.abs(lengths - 1) < 1e-3).all():  # also NaN
        raise ValueError("embeddings must have length 1")
    try:
        held = write(gallery, Path(path))
    except ImportError as error:
        raise UserError(
            f"store={store}: needs {error.name}: pip install 'dccc-lightning[stores]'"
        ) from error
    if held != len(gallery):
        raise UserError(f"{path}: holds {held} images, the gallery {len(gallery)}; write it anew")
    return held


def _rows(gallery: GalleryIndex, held: NDArray[np.int64]) -> tuple[pa.Table, list[int]]:
    """Return the rows that a store lacks, and the ids to remove from it."""
    ids = gallery.table.ids
    new = np.flatnonzero(~np.isin(ids, held))
    columns = {"id": pa.array(ids[new]), "path": pa.array(gallery.table.paths[new], pa.string())}
    for name, values in (
        ("camera", gallery.table.cameras), ("identity", gallery.table.identities),
    ):  # fmt: skip
        columns[name] = pa.array([value or None for value in values[new]], pa.string())
    flat = pa.array(np.ascontiguousarray(gallery.embeddings[new], np.float32).ravel())
    columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, gallery.feature_dim)
    return pa.table(columns), np.setdiff1d(held, ids).tolist()


def _lancedb(gallery: GalleryIndex, path: Path) -> int:
    import lancedb  # noqa: PLC0415  # of the stores extra

    database = lancedb.connect(path)
    schema = _rows(gallery, gallery.table.ids)[0].schema
    table = database.create_table(TABLE, schema=schema, exist_ok=True)
    held = table.to_arrow()["id"].to_numpy()
    new, gone = _rows(gallery, held)
    if gone:
        table.delete(f"id IN ({', '.join(map(str, gone))})")
    if len(new):
        table.add(new)
    return int(table.count_rows())


def _qdrant(gallery: GalleryIndex, path: Path) -> int:
    from qdrant_client import QdrantClient, models  # noqa: PLC0415  # of the stores extra

    client = QdrantClient(path=str(path))
    try:
        if not client.collection_exists(TABLE):
            vectors = models.VectorParams(
                size=gallery.feature_dim, distance=models.Distance(METRIC.capitalize())
            )
            client.create_collection(TABLE, vectors_config=vectors)
        count = client.count(TABLE, exact=True).count
        points = client.scroll(TABLE, limit=max(count, 1), with_payload=False)[0]
        held = np.array([point.id for point in points], dtype=np.int64)
        new, gone = _rows(gallery, held)
        if gone:
            client.delete(TABLE, points_selector=[*gone])
        for batch in new.to_batches(_ROWS):
            client.upsert(TABLE, [_point(models, row) for row in batch.to_pylist()])
        return int(client.count(TABLE, exact=True).count)
    finally:
        client.close()


def _point(models: Any, row: Mapping[str, Any]) -> Any:
    payload = {key: row[key] for key in ("path", "camera", "identity")}
    return models.PointStruct(id=row["id"], vector=row["vector"], payload=payload)


def _duckdb(gallery: GalleryIndex, path: Path) -> int:
    import duckdb  # noqa: PLC0415  # of the stores extra

    with duckdb.connect(str(path)) as connection:
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {TABLE} (id BIGINT PRIMARY KEY, path VARCHAR, "
            f"camera VARCHAR, identity VARCHAR, vector FLOAT[{gallery.feature_dim}])"
        )
        held = connection.execute(f"SELECT id FROM {TABLE}").fetchnumpy()["id"]
        new, gone = _rows(gallery, np.asarray(held, dtype=np.int64))
        connection.register("new_rows", new)
        connection.execute("BEGIN")
        if gone:
            connection.execute(f"DELETE FROM {TABLE} WHERE id IN ({', '.join(map(str, gone))})")
        connection.execute(f"INSERT INTO {TABLE} SELECT * FROM new_rows")
        connection.execute("COMMIT")
        return int(connection.execute(f"SELECT count(*) FROM {TABLE}").fetchall()[0][0])


STORES: Mapping[str, Callable[[GalleryIndex, Path], int]] = {
    "lancedb": _lancedb, "qdrant": _qdrant, "duckdb": _duckdb,
}  # fmt: skip
"""Functions that write a gallery and return the number of images in the store."""
