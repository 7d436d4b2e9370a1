"""Make the panels of a clustering and of an evaluation from plain arrays.

Names: ``clusters/largest``, ``clusters/tightest``, ``clusters/loosest``, ``clusters/mixed`` (with
identities), ``clusters/outliers`` (if there are any), ``rankings`` (with identities), ``map`` (of
an epoch that has a frame of the map),
``distances``, ``sizes``, ``flow`` (from the second epoch on), and ``thumbnails/boards`` and
``thumbnails/map``, the images of the others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dccc_lightning.clustering.pseudo_labels import PseudoLabeler
from dccc_lightning.common.progress import announced
from dccc_lightning.data.records import UNKNOWN, Records
from dccc_lightning.metrics.protocols import PROTOCOLS
from dccc_lightning.neighbors.camera_normalization import center
from dccc_lightning.neighbors.embeddings import Features, UnitEmbeddings
from dccc_lightning.reports.boards.board import (
    NO_NAMES,
    THUMBNAIL_HEIGHT,
    BoardRow,
    LabelNames,
    board,
    facts,
    keys,
    named,
)
from dccc_lightning.reports.boards.cluster_boards import (
    KINDS,
    ClusterFigures,
    cluster_rows,
    outlier_rows,
)
from dccc_lightning.reports.boards.ranking_board import Split, ranking_rows
from dccc_lightning.reports.boards.thumbnails import Load, Thumbnails, key
from dccc_lightning.reports.figures.chart import to_image
from dccc_lightning.reports.figures.cluster_sizes import count_sizes, size_chart
from dccc_lightning.reports.figures.distance_histograms import distance_charts, distance_histograms
from dccc_lightning.reports.figures.embedding_map import map_charts, sample, within_square
from dccc_lightning.reports.figures.label_flow import flow_chart, label_flow
from dccc_lightning.reports.map_frames import MapFrame
from dccc_lightning.reports.panels import Panel
from dccc_lightning.reports.picture_failures import warn_on_failure
from dccc_lightning.reports.results import CAMERA_CENTERED

Boards = dict[str, tuple[str, str, list[BoardRow]]]
"""Title, note and rows of each board, by name."""

MAP_HEIGHT = 64
"""Height of the thumbnails of the map, in pixels."""

REACH = 0.9
"""Least upper end of the histograms; most pairs of different identities are beyond it."""


@dataclass(frozen=True, eq=False)
class Clustered:
    """Input and result of an epoch's clustering.

    Attributes:
        embeddings: (N, D), of the training split.
        labels: (N,) clusters from 0 without gaps, at least one; -1 for outliers.
        previous: (N,) of the last epoch, None in the first.
        eps: Jaccard distance of the clustering.
        records: Of the N images.
        labeler: Of the clustering.
        names: Of cameras and identities.
        epoch: From 0.
        frame: Of the map, if the epoch has one.
    """

    embeddings: Features
    labels: NDArray[np.int64]
    previous: NDArray[np.int64] | None
    eps: float
    records: Records
    labeler: PseudoLabeler
    names: LabelNames = NO_NAMES
    epoch: int = 0
    frame: MapFrame | None = None


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Embeddings of the test split, query (Q, D) and gallery (G, D), or turns, and their records.

    With ``camera_center`` they are ranked as ``evaluate_retrieval`` ranks them then; the protocol
    tells the pairs that are left out.
    """

    query: Features
    gallery: Features
    query_records: Records
    gallery_records: Records
    network: str
    camera_center: bool = False
    protocol: str = "market1501"


def make_panels(found: Clustered, evaluated: Evaluated | None, load: Load) -> list[Panel]:
    """Make the panels of an epoch, except those that would be empty.

    Args:
        found: The clustering.
        evaluated: The test split; None where it was not evaluated.
        load: Loads images for the thumbnails.

    A panel that cannot be made is left out with a warning.
    """
    rows = UnitEmbeddings.of(found.embeddings).rows
    boards: Boards = {}
    with warn_on_failure("panels of clusters"):
        boards |= _cluster_boards(found, rows)
    if evaluated is not None:
        with warn_on_failure("panel rankings"):
            boards |= _rankings(evaluated, found.names)
    with announced("reading images for the boards"):
        panels = _drawn(boards, load)
    makers: dict[str, Callable[[], list[Panel]]] = {
        "map": lambda: _map(found, load),
        "distances": lambda: _distances(found),
        "sizes": lambda: _sizes(found),
        "flow": lambda: _flow(found),
    }
    for name, make in makers.items():
        with warn_on_failure(f"panel {name}"):
            panels += make()
    return panels


def _drawn(boards: Boards, load: Load) -> list[Panel]:
    """Draw the boards, and the images of all of them, each image read once."""
    read = Thumbnails({}, np.zeros((0, 1, 1, 3), dtype=np.uint8))
    panels = []
    for name, content in boards.items():
        with warn_on_failure(f"panel {name}"):
            both = read.extended(keys(content[2]), load, THUMBNAIL_HEIGHT)
            panels.append(board(name, *content, both))
            read = both
    return [*panels, read.panel("thumbnails/boards", "images of the boards")] if panels else []


def _cluster_boards(found: Clustered, rows: NDArray[np.float32]) -> Boards:
    """Return the boards of clusters, except empty ones."""
    figures = ClusterFigures(rows, found.labels, found.records)
    note = "from the centre of the cluster outwards; spread: mean cosine distance of its pairs"
    if (found.records.identities != UNKNOWN).any():
        note += "; green: the commonest identity, red: another"
    boards = {
        f"clusters/{kind}": (title, note, cluster_rows(figures, kind, found.names))
        for kind, title in KINDS.items()
    }
    note = "the figure is the cosine distance to the nearest centroid"
    boards["clusters/outliers"] = "outliers", note, outlier_rows(figures, found.names)
    return {name: content for name, content in boards.items() if content[2]}


def _rankings(found: Evaluated, names: LabelNames) -> Boards:
    query, gallery = map(_rows, (found.query, found.gallery))
    note = "query (blue) and the first ten of the gallery; green: the same person, red: another"
    if found.camera_center:
        together = found.query_records.cameras, found.gallery_records.cameras
        both = np.concatenate([query, gallery])
        flat = both.reshape(-1, both.shape[-1])  # the turns of an image have its camera
        cameras = np.concatenate(together).repeat(len(flat) // len(both))
        centered = np.asarray(center(flat, cameras)).reshape(both.shape)
        query, gallery = centered[: len(query)], centered[len(query) :]
        note += f"; {CAMERA_CENTERED}"
    rows = ranking_rows(
        Split(query, found.query_records), Split(gallery, found.gallery_records), names,
        PROTOCOLS[found.protocol],
    )  # fmt: skip
    return {"rankings": (f"rankings of the {found.network}", note, rows)} if rows else {}


def _rows(features: Features) -> NDArray[np.float32]:
    """Return embeddings (N, D) of length 1, or the turns (N, R, D) of images to align."""
    if isinstance(features, UnitEmbeddings) or features.ndim == 2:
        return UnitEmbeddings.of(features).compared
    return UnitEmbeddings.of_turns(features).compared


def _map(found: Clustered, load: Load) -> list[Panel]:
    if found.frame is None:
        return []
    shown = sample(len(found.frame.images))
    chosen = found.frame.images[shown]
    indices = chosen.tolist()
    points = within_square(found.frame.points[shown])
    data = {
        "points": points.round(4).tolist(),
        "keys": [key("train", index) for index in indices],
        "captions": [facts(found.records, index, found.names) for index in indices],
        "cluster": found.labels[chosen].tolist(),
        "images": len(found.labels),
    }
    for name, values, names in (
        ("identity", found.records.identities, found.names.identities),
        ("camera", found.records.cameras, found.names.cameras),
    ):
        if (values != UNKNOWN).any():
            own = values[chosen].tolist()
            data[name] = own
            data[f"{name}_names"] = [named(v, names) if v != UNKNOWN else "unknown" for v in own]
    thumbnails = Thumbnails.load(data["keys"], load, MAP_HEIGHT)
    picture = to_image(map_charts(data), (5.2, 5.2 * float(np.ptp(points[:, 1])) + 0.6))
    return [
        Panel("map", f"map of {len(chosen):,} training images", picture, data),
        thumbnails.panel("thumbnails/map", "images of the map"),
    ]


def _distances(found: Clustered) -> list[Panel]:
    reach = min(max(REACH, found.eps + 0.1), 0.99)
    cameras = found.records.cameras
    graph = found.labeler.distances(found.embeddings, cameras, reach, found.epoch)
    data = distance_histograms(graph, found.labels, found.records.identities, found.eps)
    return [
        Panel("distances", "distances and eps", to_image(distance_charts(data), (6, 3.8)), data)
    ]


def _sizes(found: Clustered) -> list[Panel]:
    data = count_sizes(found.labels)
    return [Panel("sizes", "cluster sizes", to_image([size_chart(data)], (6, 3.4)), data)]


def _flow(found: Clustered) -> list[Panel]:
    if found.previous is None:
        return []
    data = label_flow(found.labels, found.previous)
    return [Panel("flow", "label flow", to_image([flow_chart(data)], (6.4, 3.8)), data)]
