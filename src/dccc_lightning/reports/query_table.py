"""queries.parquet: average precision and first hits of every query of a run."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from dccc_lightning.common.parquet_files import read_parquet, write_parquet
from dccc_lightning.data.records import Splits
from dccc_lightning.metrics.query_rankings import QueryRankings
from dccc_lightning.reports.cluster_table import named

FILE = "queries.parquet"

_REMEDY = "without the file its run has no intervals"

_SCHEMA = pa.schema({
    "path": pa.string(), "identity": pa.string(), "camera": pa.string(),
    "precision": pa.float64(), "hits": pa.list_(pa.string()), "scores": pa.list_(pa.float32()),
    "right": pa.list_(pa.bool_()),
})  # fmt: skip


def query_table(splits: Splits, rankings: QueryRankings, network: str) -> pa.Table:
    """Lay out the rankings of the queries, a row each in the order of the test split.

    Columns: path, identity, camera (name or number, null if unknown), precision (average
    precision, 0 to 1), hits (paths of the first gallery images), scores (their cosines) and right
    (true where the identity is the query's). The metadata name the network.

    Args:
        splits: Of the dataset.
        rankings: Of its queries.
        network: ``student`` or ``teacher``.
    """
    paths = [str(path) for part in (splits.query, splits.gallery) for path in part.paths]
    identities = np.concatenate([splits.query.identities, splits.gallery.identities])
    cameras = np.concatenate([splits.query.cameras, splits.gallery.cameras])[rankings.queries]
    own = identities[rankings.queries]
    rows = [
        (hits[hits >= 0].tolist(), scores[hits >= 0].tolist())
        for hits, scores in zip(rankings.hits, rankings.scores, strict=True)
    ]
    table = pa.table(
        {
            "path": [paths[place] for place in rankings.queries],
            "identity": [str(value) for value in own.tolist()],
            "camera": named(cameras, splits.camera_names),
            "precision": rankings.precision,
            "hits": [[paths[place] for place in hits] for hits, _ in rows],
            "scores": [scores for _, scores in rows],
            "right": [
                [bool(identities[place] == identity) for place in hits]
                for (hits, _), identity in zip(rows, own, strict=True)
            ],
        },
        _SCHEMA,
    )
    return table.replace_schema_metadata({"network": network})


def write_query_table(folder: Path, table: pa.Table) -> None:
    """Write queries.parquet, complete or as it was.

    Raises:
        UnwritableFileError: The disk is full or the folder is read-only.
    """
    write_parquet(folder / FILE, table)


def read_query_table(folder: Path) -> pa.Table | None:
    """Read the queries of a run; None if it has no such file.

    Raises:
        ValueError: The file is damaged, or has other columns or values.
    """
    table = read_parquet(folder / FILE)
    if table is None:
        return None
    network = (table.schema.metadata or {}).get(b"network")
    if network is None or not set(_SCHEMA.names) <= set(table.column_names):
        raise ValueError(f"{FILE} has other columns; {_REMEDY}")
    table = table.select(_SCHEMA.names).cast(_SCHEMA)
    if not np.isfinite(table["precision"].to_numpy()).all():  # null becomes NaN
        raise ValueError(f"{FILE} has a precision that is no number; {_REMEDY}")
    return table.replace_schema_metadata({"network": network})
