"""Frames of a map: place, cluster and neighbours of each image after an epoch, and their files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dccc_lightning.common.parquet_files import read_parquet, write_parquet
from dccc_lightning.metrics.cluster_margins import cluster_margins
from dccc_lightning.neighbors.embeddings import UnitEmbeddings
from dccc_lightning.neighbors.nearest import knn
from dccc_lightning.reports.figures.embedding_map import layout, sample

FOLDER = "map"
"""Folder of the frames in that of a run."""

IMAGES = "images.parquet"
"""Table of the images of all frames, in their order."""

NEIGHBORS = 6
"""Nearest neighbours of an image that a frame keeps."""

_FRAME = re.compile(r"epoch_(\d+)\.parquet")


@dataclass(frozen=True, eq=False)
class MapFrame:
    """Map of n images by the embeddings of one epoch.

    Attributes:
        images: (n,) int64 ascending positions of the images in their split.
        points: (n, 2) float32 in the units of t-SNE.
        clusters: (n,) int64, -1 for outliers.
        distances: (n,) float32 cosine distances to the centre of the cluster; NaN for outliers.
        margins: (n,) float32 distances to the nearest other centre, less ``distances``.
        neighbors: (n, k) int64 places in this frame of the nearest other images, nearest first.
        epoch: From 0.
    """

    images: NDArray[np.int64]
    points: NDArray[np.float32]
    clusters: NDArray[np.int64]
    distances: NDArray[np.float32]
    margins: NDArray[np.float32]
    neighbors: NDArray[np.int64]
    epoch: int = 0


@dataclass(frozen=True)
class MapImages:
    """Images of a map: paths, and names of cameras and identities, None where unknown."""

    paths: Sequence[str]
    cameras: Sequence[str | None]
    identities: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, chosen: NDArray[np.int64]) -> "MapImages":
        """Return the images at the chosen positions."""
        columns = (self.paths, self.cameras, self.identities)
        return MapImages(*([column[n] for n in chosen] for column in columns))


def make_frame(
    features: UnitEmbeddings,
    labels: NDArray[np.int64],
    epoch: int = 0,
    most: int | None = None,
    start: MapFrame | None = None,
) -> MapFrame:
    """Arrange images by their embeddings.

    Args:
        features: (N, D) of all images; nearest neighbours are exact, among the images of the map.
        labels: (N,) clusters, -1 for outliers.
        epoch: From 0.
        most: Images of the map; of more, a sample that depends on N only. None for all.
        start: Frame of an earlier epoch to begin with, if it is of the same images.
    """
    chosen = sample(len(features), most or len(features))
    margins = cluster_margins(labels, features, chosen)
    if len(chosen) < len(features):
        features = features[chosen]
    begins = start is not None and np.array_equal(start.images, chosen)
    k = min(NEIGHBORS + 1, len(features))
    return MapFrame(
        images=chosen,
        points=layout(features.rows, start.points if start is not None and begins else None),
        clusters=labels[chosen],
        distances=margins.own.astype(np.float32),
        margins=margins.margin.astype(np.float32),
        neighbors=knn(features, k)[1][:, 1:],
        epoch=epoch,
    )


def write_frame(folder: Path, frame: MapFrame) -> None:
    """Write ``epoch_0009.parquet`` for the tenth epoch, complete or not at all."""
    floats = {"distance": frame.distances, "margin": frame.margins}
    table = pa.table(
        {
            "image": frame.images,
            "x": frame.points[:, 0],
            "y": frame.points[:, 1],
            "cluster": frame.clusters,
            **{name: pa.array(values, from_pandas=True) for name, values in floats.items()},
            "neighbors": list(frame.neighbors.astype(np.int32)),
        }
    )
    write_parquet(folder / f"epoch_{frame.epoch:04d}.parquet", table)


def read_frame(folder: Path, epoch: int) -> MapFrame | None:
    """Return the frame of an epoch; None if there is none.

    Raises:
        ValueError: The file is damaged.
    """
    table = read_parquet(folder / f"epoch_{epoch:04d}.parquet")
    if table is None:
        return None
    try:
        columns = {name: table[name].to_numpy() for name in table.column_names[:-1]}
        neighbors = np.array(table["neighbors"].to_pylist(), dtype=np.int64)
        points = np.stack([columns["x"], columns["y"]], axis=1).astype(np.float32)
        return MapFrame(
            columns["image"].astype(np.int64),
            points,
            columns["cluster"].astype(np.int64),
            columns["distance"].astype(np.float32),
            columns["margin"].astype(np.float32),
            neighbors.reshape(len(points), -1),
            epoch,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{folder / f'epoch_{epoch:04d}.parquet'} is damaged; {error}") from error


def frame_epochs(folder: Path) -> list[int]:
    """Return the epochs of the frames in a folder, ascending."""
    found = (_FRAME.fullmatch(path.name) for path in folder.glob("epoch_*.parquet"))
    return sorted(int(match[1]) for match in found if match)


def write_images(folder: Path, images: MapImages) -> None:
    """Write the table of the images of a folder of frames."""
    columns = {"path": images.paths, "camera": images.cameras, "identity": images.identities}
    table = pa.table({name: pa.array(list(v), pa.string()) for name, v in columns.items()})
    write_parquet(folder / IMAGES, table)


def read_images(folder: Path) -> MapImages | None:
    """Return the images of a folder of frames; None if it has none.

    Raises:
        ValueError: The file is damaged.
    """
    table = read_parquet(folder / IMAGES)
    if table is None:
        return None
    return MapImages(*(table[name].to_pylist() for name in ("path", "camera", "identity")))
