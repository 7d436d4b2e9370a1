"""Vector stores as the export of a gallery needs them: read, remove, add."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

TABLE = "images"
"""Name of the table or collection."""

LABELS = ("camera", "identity", "session", "tracklet")
"""Columns of labels, null where unknown."""

TYPES = {
    "id": pa.int64(), "path": pa.string(), **dict.fromkeys(LABELS, pa.string()),
    "seconds": pa.float64(), "model": pa.string(),
}  # fmt: skip
"""Columns beside the vector; ``model`` is the fingerprint of the network."""

FACTS = tuple(TYPES)

_COLUMNS, _ROWS = ", ".join(FACTS), 1024


class VectorStore(ABC):
    """Vector store with the images of a gallery, in a table that is made if it is missing.

    Args:
        place: Path, or connection string of a server.
        width: Length of a vector.
    """

    @abstractmethod
    def __init__(self, place: str, width: int) -> None: ...

    @abstractmethod
    def rows(self) -> Iterable[tuple[Any, ...]]:
        """Return the values of ``FACTS`` of each image, None where unknown."""

    @abstractmethod
    def replace(self, gone: list[int], new: pa.Table) -> None:
        """Remove images by id, then add others."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


class LanceStore(VectorStore):
    """Folder of LanceDB; it takes the metric at each search."""

    def __init__(self, place: str, width: int) -> None:
        import lancedb  # noqa: PLC0415  # of the stores extra

        schema = pa.schema([*TYPES.items(), ("vector", pa.list_(pa.float32(), width))])
        self.table = lancedb.connect(place).create_table(TABLE, schema=schema, exist_ok=True)

    def rows(self) -> Iterable[tuple[Any, ...]]:
        """Scan the table."""
        scan = self.table.search().select(list(FACTS)).limit(max(1, self.table.count_rows()))
        found = scan.to_arrow()
        return zip(*(found[name].to_pylist() for name in FACTS), strict=True)

    def replace(self, gone: list[int], new: pa.Table) -> None:
        """Write two versions of the table; an interruption between them is made good next time."""
        if gone:
            self.table.delete(f"id IN ({_listed(gone)})")
        if len(new):
            self.table.add(new)

    def close(self) -> None:
        """Do nothing: LanceDB holds no files open."""


class QdrantStore(VectorStore):
    """Folder of Qdrant's local mode."""

    def __init__(self, place: str, width: int) -> None:
        from qdrant_client import QdrantClient, models  # noqa: PLC0415  # of the stores extra

        self.models, self.client = models, QdrantClient(path=place)
        if not self.client.collection_exists(TABLE):
            vectors = models.VectorParams(size=width, distance=models.Distance.COSINE)
            self.client.create_collection(TABLE, vectors_config=vectors)

    def rows(self) -> Iterable[tuple[Any, ...]]:
        """Return the payloads of all points."""
        count = self.client.count(TABLE, exact=True).count
        points = self.client.scroll(TABLE, limit=max(count, 1), with_payload=True)[0]
        return ((p.id, *((p.payload or {}).get(name) for name in FACTS[1:])) for p in points)

    def replace(self, gone: list[int], new: pa.Table) -> None:
        """Write in batches; an interruption between them is made good next time."""
        if gone:
            self.client.delete(TABLE, points_selector=[*gone])
        for batch in new.to_batches(_ROWS):
            points = [
                self.models.PointStruct(id=row.pop("id"), vector=row.pop("vector"), payload=row)
                for row in batch.to_pylist()
            ]
            self.client.upsert(TABLE, points)

    def close(self) -> None:
        """Release the folder for other processes."""
        self.client.close()


class DuckStore(VectorStore):
    """File of DuckDB; the metric is that of the function in each query."""

    def __init__(self, place: str, width: int) -> None:
        import duckdb  # noqa: PLC0415  # of the stores extra

        self.connection = duckdb.connect(place)
        self.connection.execute(_create(f"FLOAT[{width}]"))

    def rows(self) -> Iterable[tuple[Any, ...]]:
        """Return all rows."""
        return self.connection.execute(f"SELECT {_COLUMNS} FROM {TABLE}").fetchall()

    def replace(self, gone: list[int], new: pa.Table) -> None:
        """Write in two transactions: DuckDB refuses an id that leaves and comes back in one."""
        if gone:
            self.connection.execute(f"DELETE FROM {TABLE} WHERE id IN ({_listed(gone)})")
        self.connection.register("new_rows", new)
        self.connection.execute(f"INSERT INTO {TABLE} SELECT * FROM new_rows")

    def close(self) -> None:
        """Close the file."""
        self.connection.close()


class SqliteStore(VectorStore):
    """File of SQLite with the extension sqlite-vec; unknown are the label '' and the time -inf.

    Through apsw, since the sqlite3 of many Pythons loads no extensions.
    """

    def __init__(self, place: str, width: int) -> None:
        import apsw  # noqa: PLC0415  # of the stores extra
        import sqlite_vec  # noqa: PLC0415  # of the stores extra

        self.connection = apsw.Connection(place)
        self.connection.enable_load_extension(True)
        sqlite_vec.load(self.connection)
        self.connection.execute(
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {TABLE} USING vec0(id INTEGER PRIMARY KEY, "
            f"vector FLOAT[{width}] distance_metric=cosine, {' TEXT, '.join(LABELS)} TEXT, "
            "seconds FLOAT, +path TEXT, +model TEXT)"
        )

    def rows(self) -> Iterable[tuple[Any, ...]]:
        """Return all rows."""
        nothing = {**dict.fromkeys(LABELS, "''"), "seconds": "-9e999"}
        columns = ", ".join(
            f"nullif({name}, {nothing[name]})" if name in nothing else name for name in FACTS
        )
        return self.connection.execute(f"SELECT {columns} FROM {TABLE}").fetchall()

    def replace(self, gone: list[int], new: pa.Table) -> None:
        """Write in one transaction."""
        with self.connection:
            self.connection.executemany(f"DELETE FROM {TABLE} WHERE id = ?", [(i,) for i in gone])
            for batch in new.to_batches(_ROWS):
                vectors = batch["vector"].flatten().to_numpy().reshape(len(batch), -1)
                given = [[cell or "" for cell in batch[name].to_pylist()] for name in LABELS]
                facts = [batch[name].to_pylist() for name in ("id", "path", "model")]
                seconds = batch["seconds"].fill_null(-math.inf).to_pylist()
                rows = zip(*facts, *given, seconds, map(bytes, vectors), strict=True)
                self.connection.executemany(
                    f"INSERT INTO {TABLE} (id, path, model, {', '.join(LABELS)}, seconds, vector) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    rows,
                )

    def close(self) -> None:
        """Close the file."""
        self.connection.close()


class PostgresStore(VectorStore):
    """Database of PostgreSQL with the extension pgvector; the metric is each query's operator."""

    def __init__(self, place: str, width: int) -> None:
        import psycopg  # noqa: PLC0415  # of the stores extra

        self.connection = psycopg.connect(place)
        self.connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        self.connection.execute(_create(f"vector({width})"))

    def rows(self) -> Iterable[tuple[Any, ...]]:
        """Return all rows."""
        return self.connection.execute(f"SELECT {_COLUMNS} FROM {TABLE}").fetchall()

    def replace(self, gone: list[int], new: pa.Table) -> None:
        """Write in one transaction."""
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {TABLE} WHERE id = ANY(%s)", [gone])
            with cursor.copy(f"COPY {TABLE} ({_COLUMNS}, vector) FROM STDIN") as copy:
                for batch in new.to_batches(_ROWS):
                    for row in batch.to_pylist():
                        copy.write_row([*(row[name] for name in FACTS), str(row["vector"])])
        self.connection.commit()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


STORES: Mapping[str, type[VectorStore]] = {
    "lancedb": LanceStore, "qdrant": QdrantStore, "duckdb": DuckStore, "sqlite_vec": SqliteStore,
    "pgvector": PostgresStore,
}  # fmt: skip


def open_store(store: str, place: str | os.PathLike[str], width: int) -> VectorStore:
    """Open a store, or make it."""
    return STORES[store](os.fspath(place), width)


def _create(vector: str) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {TABLE} (id BIGINT PRIMARY KEY, path VARCHAR, "
        f"{' VARCHAR, '.join(LABELS)} VARCHAR, seconds DOUBLE PRECISION, model VARCHAR, "
        f"vector {vector})"
    )


def _listed(ids: list[int]) -> str:
    return ", ".join(map(str, ids))
