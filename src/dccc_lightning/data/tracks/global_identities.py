"""Tracks of several cameras with the identities of ``task=identify``, as MOT and CocoVID files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from dccc_lightning.common.files import write_atomically, write_json
from dccc_lightning.data.image_table import read_columns
from dccc_lightning.data.tracklet_pieces import whole_name
from dccc_lightning.data.tracks.gaps import FILLED
from dccc_lightning.errors import UserError

NUMBERS = "identities.txt"
"""File beside the MOT files: number and identity."""


def with_identities(tracks: pa.Table, camera: str, identities: str | os.PathLike[str]) -> pa.Table:
    """Return tracks with the columns ``camera`` and ``identity``.

    Where a tracklet was cut, a box has the identity of the crop that is nearest in time.

    Args:
        tracks: Result of ``read_tracks``.
        camera: Name of the camera, as in ``task=crop``.
        identities: identities.csv or identities.parquet of ``task=identify`` on the crops.

    Returns:
        The table; the identity is null where a box has no track, or a track no crop.

    Raises:
        UserError: The table of identities cannot be read, or has no tracklet of the camera.
    """
    place, shown = Path(identities), _shown(Path(identities))
    names = [
        None if (own := shown.get(f"{camera}/{track}")) is None else _nearest(own, frame)
        for track, frame in zip(
            tracks["track"].to_pylist(), tracks["frame"].to_pylist(), strict=True
        )
    ]
    if len(tracks) and not any(names):
        raise UserError(f"{place}: no tracklet of camera {camera!r}; identify crops of its tracks")
    table = tracks.append_column("camera", pa.array([camera] * len(tracks), pa.string()))
    return table.append_column("identity", pa.array(names, pa.string()))


def _shown(place: Path) -> dict[str, list[tuple[int, str]]]:
    """Return frame and identity of the crops of each tracklet; a single one without a cut."""
    known = read_columns(place, ("tracklet", "identity"), ("frame",))
    rows: dict[str, list[tuple[int, str]]] = {}
    names = known["tracklet"].to_pylist()
    frames = known["frame"].to_pylist() if "frame" in known.column_names else [None] * len(names)
    for name, frame, identity in zip(names, frames, known["identity"].to_pylist(), strict=True):
        if name is not None:
            rows.setdefault(whole_name(name), []).append((int(frame or 0), identity))
    return {
        name: sorted(own) if len({identity for _, identity in own}) > 1 else own[:1]
        for name, own in rows.items()
    }


def _nearest(shown: list[tuple[int, str]], frame: int) -> str:
    """Return the identity of the crop that is nearest in time, the earlier of two."""
    return min(shown, key=lambda crop: (abs(crop[0] - frame), crop[0]))[1]


def write_mot(folder: str | os.PathLike[str], cameras: Mapping[str, pa.Table]) -> dict[str, int]:
    """Write ``CAMERA.txt`` in the format of MOT results, with one number an identity everywhere.

    Frames and pixels begin at 1. Boxes without identity have the number -1. Boxes that
    ``fill_gaps`` added have 0 in place of -1 in the ninth column, the visibility of MOT's ground
    truth, which programs ignore in results. ``identities.txt`` has the identity of each number.

    Args:
        folder: Folder to write to, created if missing.
        cameras: Results of ``with_identities`` by camera, with or without ``fill_gaps``.

    Returns:
        The number of each identity, from 1 in the order of their names.
    """
    place, numbers = Path(folder), _numbers(cameras)
    place.mkdir(parents=True, exist_ok=True)
    for camera, table in cameras.items():
        lines = [
            f"{row['frame'] + 1},{numbers.get(row['identity'], -1)},{row['x1'] + 1:.10g},"
            f"{row['y1'] + 1:.10g},{row['x2'] - row['x1']:.10g},{row['y2'] - row['y1']:.10g},"
            f"{1 if row['score'] is None else row['score']:.10g},"
            f"-1,{0 if row.get(FILLED) else -1},-1\n"
            for row in table.sort_by("frame").to_pylist()
        ]
        write_atomically(place / f"{camera}.txt", "".join(lines).encode())
    listed = "".join(f"{number},{name}\n" for name, number in numbers.items())
    write_atomically(place / NUMBERS, listed.encode())
    return numbers


def write_cocovid(
    path: str | os.PathLike[str],
    cameras: Mapping[str, pa.Table],
    sizes: Mapping[str, tuple[int, int]],
) -> None:
    """Write one CocoVID file: a video a camera, and the same ``instance_id`` for one identity.

    Frames are from 0, and every frame up to the last box is listed. Annotations also have the
    identity as text, and ``filled`` if the table has that column. Boxes without identity get an
    instance of their own.

    Args:
        path: File to write.
        cameras: Results of ``with_identities`` by camera, with or without ``fill_gaps``.
        sizes: Width and height of the upright picture by camera.
    """
    numbers = _numbers(cameras)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    videos = [{"id": at, "name": camera} for at, camera in enumerate(cameras, start=1)]
    following = len(numbers)
    for video, (camera, table) in zip(videos, cameras.items(), strict=True):
        rows, before = table.sort_by("frame").to_pylist(), len(images) + 1
        width, height = sizes[camera]
        images += [
            {
                "id": before + frame, "video_id": video["id"], "frame_id": frame,
                "file_name": f"{camera}/{frame + 1:06d}.jpg", "width": width, "height": height,
            }
            for frame in range(rows[-1]["frame"] + 1 if rows else 0)
        ]  # fmt: skip
        for row in rows:
            following += row["identity"] is None
            sides = row["x2"] - row["x1"], row["y2"] - row["y1"]
            annotation = {
                "id": len(annotations) + 1, "image_id": before + row["frame"],
                "video_id": video["id"], "category_id": 1,
                "instance_id": numbers.get(row["identity"], following),
                "bbox": [row["x1"], row["y1"], *sides], "area": sides[0] * sides[1], "iscrowd": 0,
                "identity": row["identity"],
                **({FILLED: row[FILLED]} if FILLED in row else {}),
            }  # fmt: skip
            annotations.append(annotation)
    categories = [{"id": 1, "name": "person"}]
    content = {"videos": videos, "images": images, "annotations": annotations}
    write_json(Path(path), {**content, "categories": categories})


def _numbers(cameras: Mapping[str, pa.Table]) -> dict[str, int]:
    """Return a number for each identity of any camera, from 1."""
    names = {name for table in cameras.values() for name in table["identity"].to_pylist()}
    return {name: at for at, name in enumerate(sorted(names - {None}), start=1)}
