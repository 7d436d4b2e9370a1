"""Page of a map: map.html, with all that it shows in one file, or in a folder beside it."""

import json
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dccc_lightning.common.files import write_atomically
from dccc_lightning.data.natural_order import natural_key
from dccc_lightning.metrics.cluster_quality import matched_clusters
from dccc_lightning.reports.figures.embedding_map import within_square
from dccc_lightning.reports.map_frames import (
    MapFrame,
    MapImages,
    frame_epochs,
    read_frame,
    read_images,
)
from dccc_lightning.reports.map_thumbnails import (
    KIND,
    Sheets,
    aspect_of,
    fitting_sheets,
    make_sheets,
)
from dccc_lightning.reports.pages import render

LIMIT = 15_000_000
"""Bytes of a page in one file; larger maps have their data in a folder beside the page."""

BESIDE_HEIGHT = 64
"""Height of thumbnails in a folder, in pixels."""

_STEPS = 65_534
"""Largest coordinate of a point."""

_ROOM = 2000
"""Bytes beside data and pictures, such as the names of the latter."""

CHANGES = ("same cluster", "another cluster", "joined a cluster", "now an outlier", "outlier still")
"""Changes of an image between two frames, by their numbers."""

Ints = NDArray[np.int64]


def write_map_page(
    path: Path,
    title: str,
    images: MapImages,
    frames: Mapping[str, MapFrame],
    groups: Sequence[str] | None = None,
    total: int | None = None,
    limit: int = LIMIT,
) -> int:
    """Write the page, and its folder if the map is too large for one file.

    Args:
        path: Of the page, such as map.html; the folder is map_files/ then.
        title: Of the page.
        images: Of all frames, in their order.
        frames: By name, the earliest first.
        groups: Names of the clusters by their numbers, if these are identities.
        total: Number of images that these are a sample of; None if they are all.
        limit: Bytes of the page.

    Returns:
        The bytes of the page and of the files beside it.
    """
    data = map_data(images, frames, groups) | {"images": total or len(images)}
    size = len(_page(title, data))
    sheets = fitting_sheets(images.paths, limit - size - _ROOM) if size < limit - _ROOM else None
    folder = path.with_name(f"{path.stem}_files")
    if sheets is not None:
        content = _page(title, data | _thumbnails(sheets, sheets.uris()))
        write_atomically(path, content)
        return len(content)
    sheets = make_sheets(images.paths, BESIDE_HEIGHT, aspect_of(images.paths))
    names = [f"sheet_{number:03d}.{KIND}" for number in range(len(sheets.pictures))]
    files = dict(zip(names, sheets.pictures, strict=True))
    data |= _thumbnails(sheets, [f"{folder.name}/{name}" for name in names])
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    files["data.js"] = f"window.mapData = {text};\n".encode()
    content = _page(title, None, f"{folder.name}/data.js")
    for name, part in files.items():
        write_atomically(folder / name, part)
    write_atomically(path, content)
    return len(content) + sum(map(len, files.values()))


def write_run_map(path: Path, title: str, folder: Path, total: int | None = None) -> int:
    """Write the page of the frames in a folder; return the number of images, 0 without frames.

    Args:
        path: Of the page.
        title: Of the page.
        folder: Of the frames and the table of their images.
        total: Number of images that these are a sample of.

    Raises:
        ValueError: A file is damaged.
    """
    images = read_images(folder)
    if images is None:
        return 0
    frames = {f"epoch {epoch + 1}": read_frame(folder, epoch) for epoch in frame_epochs(folder)}
    of_images = {
        name: frame for name, frame in frames.items() if frame and len(frame.images) == len(images)
    }
    if not of_images:
        return 0
    write_map_page(path, title, images, of_images, total=total)
    return len(images)


def map_data(
    images: MapImages, frames: Mapping[str, MapFrame], groups: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return what the page's script takes, except thumbnails; arrays are packed by ``_packed``.

    Args:
        images: Of all frames, in their order.
        frames: By name, the earliest first.
        groups: Names of the clusters by their numbers, if these are identities.
    """
    paths = [os.path.abspath(path) for path in images.paths]  # noqa: PTH100  (without ..)
    root = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120
    folder = root.rstrip("/") + "/"
    return {
        "folder": folder,
        "root": Path(folder).as_uri().rstrip("/") + "/",
        "paths": [path.removeprefix(folder) for path in paths],
        "camera": _labels(images.cameras),
        "identity": _labels(images.identities),
        "group": "cluster" if groups is None else "identity",
        "groups": groups if groups is None else list(groups),
        "changes": list(CHANGES),
        "frames": list(_frames(frames)),
    }


def _frames(frames: Mapping[str, MapFrame]) -> Iterator[dict[str, Any]]:
    previous: MapFrame | None = None
    hues: Ints = np.zeros(0, dtype=np.int64)
    for name, frame in frames.items():
        hues = _hues(frame, previous, hues)
        places = (within_square(frame.points) * _STEPS).round()
        places += (_STEPS - places.max(axis=0)) // 2  # in the middle
        columns = {
            "x": places[:, 0],
            "y": places[:, 1],
            "cluster": frame.clusters,
            "hue": hues,
            "distance": _tenthousandths(frame.distances),
            "margin": _tenthousandths(frame.margins),
            "near": frame.neighbors.ravel(),
        }
        if previous is not None:
            columns["change"] = changes(frame.clusters, previous.clusters)
        yield {"name": name} | {key: _packed(values) for key, values in columns.items()}
        previous = frame


def changes(labels: Ints, previous: Ints) -> Ints:
    """Return the change of each image (N,) between two clusterings, as a number of ``CHANGES``.

    >>> changes(np.array([0, 0, 1, -1, 1, -1]), np.array([5, 5, 5, 5, -1, -1])).tolist()
    [0, 0, 1, 3, 2, 4]
    """
    pairs = matched_clusters(labels, previous)
    match = np.full(max(int(labels.max(initial=-1)), 0) + 1, -1)
    match[pairs[:, 0]] = pairs[:, 1]
    is_in, was_in = labels >= 0, previous >= 0
    kept = is_in & was_in & (match[np.maximum(labels, 0)] == previous)
    conditions = [kept, is_in & was_in, is_in, was_in]
    found: Ints = np.select(conditions, [0, 1, 2, 3], 4).astype(np.int64)
    return found


def _hues(frame: MapFrame, previous: MapFrame | None, hues: Ints) -> Ints:
    """Return a number of a colour for each cluster: that of its match before, else a new one."""
    count = max(int(frame.clusters.max(initial=-1)), 0) + 1
    own = np.full(count, -1)
    if previous is not None:
        pairs = matched_clusters(frame.clusters, previous.clusters)
        own[pairs[:, 0]] = hues[pairs[:, 1]]
    fresh = own < 0
    first = int(hues.max(initial=-1)) + 1
    own[fresh] = np.arange(first, first + int(fresh.sum()))
    return own


def _labels(values: Sequence[str | None]) -> dict[str, Any] | None:
    """Return names in their natural order and the place of each value; None if none is known."""
    names = sorted({value for value in values if value is not None}, key=natural_key)
    if not names:
        return None
    places: dict[str | None, int] = {name: place for place, name in enumerate(names)}
    return {"names": names, "codes": _packed([places.get(value, -1) for value in values])}


def _tenthousandths(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return cosine distances, or differences of them, as numbers from 0 on; -1 for NaN."""
    scaled = (values.astype(np.float64).clip(-2, 4) * 10_000).round() + 20_000
    return np.where(np.isnan(values), -1.0, scaled)


def _packed(values: ArrayLike) -> dict[str, Any]:
    """Return integers from -1 on as base64 of the shortest unsigned type, each plus one."""
    raised = np.asarray(values).astype(np.int64) + 1
    highest = int(raised.max(initial=0))
    bits = 8 if highest < 2**8 else 16 if highest < 2**16 else 32
    content = raised.astype(f"<u{bits // 8}").tobytes()
    return {"bits": bits, "data": b64encode(content).decode()}


def _thumbnails(sheets: Sheets, sources: Sequence[str]) -> dict[str, Any]:
    names = ("width", "height", "columns", "rows")
    return {"sheets": sources, "tile": {name: getattr(sheets, name) for name in names}}


def _page(title: str, data: Mapping[str, Any] | None, source: str = "") -> bytes:
    return render("map.html", title=title, data=data, source=source).encode()
