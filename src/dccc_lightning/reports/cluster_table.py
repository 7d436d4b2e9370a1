"""clusters.parquet and clusters.csv: the cluster of every training image."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from dccc_lightning.common.files import write_atomically
from dccc_lightning.common.parquet_files import read_parquet, write_parquet
from dccc_lightning.data.records import UNKNOWN, Splits
from dccc_lightning.metrics.cluster_margins import Margins


def cluster_table(splits: Splits, labels: NDArray[np.int64], margins: Margins) -> pa.Table:
    """Lay out the clusters of the training images, a row each in the order of the split.

    Columns: path; camera, session and tracklet (name or number, null if unknown); split, cluster
    (-1 for an outlier), outlier, distance (cosine distance to the centre of the cluster, null for
    an outlier), second (the nearest other cluster), second_distance, and margin (second_distance -
    distance).

    Args:
        splits: Of the dataset.
        labels: (N,) of the training images, -1 for an outlier.
        margins: Of the same images.
    """
    records = splits.train

    def distances(values: NDArray[np.float64]) -> pa.Array:
        return pa.array(values.astype(np.float32), from_pandas=True)  # NaN is null

    return pa.table(
        {
            "path": pa.array([str(path) for path in records.paths]),
            "camera": named(records.cameras, splits.camera_names),
            **{
                name: named(records.column(name), splits.column_names.get(name, ()))
                for name in ("session", "tracklet")
            },
            "split": pa.array(["train"] * len(records)),
            "cluster": pa.array(labels),
            "outlier": pa.array(labels < 0),
            "distance": distances(margins.own),
            "second": pa.array(margins.second, mask=margins.second < 0),
            "second_distance": distances(margins.other),
            "margin": distances(margins.margin),
        }
    )


def named(values: NDArray[np.int64], names: Sequence[str]) -> pa.Array:
    """Return labels (N,) as text: names, or numbers where there are none; null if unknown."""
    shown = [
        None if value == UNKNOWN else names[value] if names else str(value)
        for value in values.tolist()
    ]
    return pa.array(shown, pa.string())


def read_cluster_table(stem: Path) -> pa.Table | None:
    """Read what ``write_cluster_table`` wrote; as ``read_parquet``."""
    return read_parquet(stem.with_name(f"{stem.name}.parquet"))


def cluster_sizes(table: pa.Table) -> list[tuple[int, int]]:
    """Return (cluster, number of images), the largest first, without the outliers."""
    counts = Counter(number for number in table["cluster"].to_pylist() if number >= 0)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def write_cluster_table(stem: Path, table: pa.Table) -> None:
    """Write ``STEM.parquet`` and ``STEM.csv``, each complete or as it was.

    Raises:
        UnwritableFileError: The disk is full or the folder is read-only.
    """
    write_parquet(stem.with_name(f"{stem.name}.parquet"), table)
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink)
    write_atomically(stem.with_name(f"{stem.name}.csv"), sink.getvalue().to_pybytes())
