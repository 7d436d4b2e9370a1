"""Crops of a synthetic video, cut as by ``task=crop``, with identities from the truth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dccc_lightning.data.records import UNKNOWN, Records
from dccc_lightning.data.tracks import read_tracks
from dccc_lightning.data.video.tracklet_crops import crop_tracks

FOLDER, TABLE = "crops", "crops.parquet"

HELD_OUT = (2, 6)
"""Positions among a tracklet's crops of those that are query or gallery."""

OVERLAP = 0.5
"""Least overlap (IoU) with a true box that gives a crop its identity."""

CORNERS = ("x1", "y1", "x2", "y2")


def write_crops(
    folder: Path, cameras: Sequence[str], tracks: str, per_tracklet: int, margin: float
) -> None:
    """Cut the crops of all cameras, and write their table.

    Args:
        folder: Folder of the cameras.
        cameras: Their names.
        tracks: File of tracks in the folder of each camera.
        per_tracklet: Largest number of crops of a tracklet.
        margin: Share of the width and height of a box added on each side.
    """
    tables = []
    for camera in cameras:
        place = folder / camera
        report = crop_tracks(
            read_tracks(place / tracks, "mot15"),
            place / "img1",
            folder / FOLDER,
            camera,
            per_tracklet=per_tracklet,
            margin=margin,
        )
        truth = read_tracks(place / "gt/gt.txt", "mot17")
        identities = pa.array(identities_of(report.table, truth), pa.int64())
        tables.append(report.table.append_column("identity", identities))
    pq.write_table(pa.concat_tables(tables), folder / FOLDER / TABLE)


def identities_of(boxes: pa.Table, truth: pa.Table) -> list[int]:
    """Return the identity of the true box that overlaps each box most, or ``UNKNOWN``.

    Args:
        boxes: N boxes of a camera: frame and ``CORNERS``.
        truth: True boxes of the camera, with the identity as track.
    """
    frames = truth["frame"].to_numpy()
    numbers = truth["track"].to_pylist()
    true, found = _corners(truth), []
    for frame, box in zip(boxes["frame"].to_pylist(), _corners(boxes), strict=True):
        here = np.flatnonzero(frames == frame)
        shares = _overlaps(box, true[here])
        best = int(shares.argmax()) if len(here) else -1
        known = best >= 0 and shares[best] >= OVERLAP
        found.append(int(numbers[here[best]]) if known else UNKNOWN)
    return found


def read_crops(folder: Path) -> tuple[Records, Records, Records, tuple[str, ...]]:
    """Return the training, query and gallery records, and the names of the cameras.

    A query is the first held out crop of a person in a camera, if another camera has a held out
    crop of that person.
    """
    table = pq.read_table(folder / FOLDER / TABLE)
    names, cameras = np.unique(table["camera"].to_pylist(), return_inverse=True)
    _, tracklets = np.unique(table["tracklet"].to_pylist(), return_inverse=True)
    records = Records(
        tuple(folder / FOLDER / path for path in table["path"].to_pylist()),
        table["identity"].to_numpy().astype(np.int64),
        cameras.astype(np.int64),
        {"tracklet": tracklets.astype(np.int64), "frame": table["frame"].to_numpy()},
    )
    held = np.isin(_ranks(tracklets, records.column("frame")), HELD_OUT)
    test = np.flatnonzero(held & (records.identities != UNKNOWN))
    first = _first_of_each(np.stack([records.identities, records.cameras])[:, test])
    elsewhere = [
        bool((records.cameras[test][records.identities[test] == person] != camera).any())
        for person, camera in zip(records.identities[test], records.cameras[test], strict=True)
    ]
    queries = first & np.array(elsewhere, dtype=bool)
    parts = (np.flatnonzero(~held), test[queries], test[~queries])
    train, query, gallery = (records.select(part) for part in parts)
    return train, query, gallery, tuple(names.tolist())


def _corners(table: pa.Table) -> NDArray[np.float64]:
    return np.stack([table[name].to_numpy() for name in CORNERS], axis=1)


def _overlaps(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the IoU (M,) of a box with others."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = np.prod(box[2:] - box[:2]) + (others[:, 2:] - others[:, :2]).prod(axis=1)
    return np.asarray(shared / (areas - shared))


def _ranks(groups: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rank of each value among those of its group."""
    order = np.lexsort([values, groups])
    starts = np.searchsorted(groups[order], groups[order])
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = np.arange(len(groups)) - starts
    return ranks


def _first_of_each(columns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return a mask of the first column (M,) of each kind."""
    _, first = np.unique(columns, axis=1, return_index=True)
    mask = np.zeros(columns.shape[1], dtype=bool)
    mask[first] = True
    return mask
