"""``task=crop``: crops of tracks in videos, with a table that ``dataset=folder`` reads."""

import unicodedata
from collections.abc import Sequence
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dccc_lightning.common import checks
from dccc_lightning.common.console import CONSOLE, counted
from dccc_lightning.common.faults import explain_failures
from dccc_lightning.common.files import write_json
from dccc_lightning.common.overrides import path_argument
from dccc_lightning.common.progress import announced
from dccc_lightning.config.instantiate import Settings, checked
from dccc_lightning.data.tracks import read_tracks
from dccc_lightning.data.tracks.track_formats import FORMATS
from dccc_lightning.data.tracks.track_reader import AUTO, frames_named
from dccc_lightning.data.video.frame_sources import open_frames
from dccc_lightning.data.video.frames import FrameSource
from dccc_lightning.data.video.tracklet_crops import CropReport, check_fit, crop_tracks
from dccc_lightning.errors import UserError
from dccc_lightning.reports.cluster_table import write_cluster_table
from dccc_lightning.reports.results import versions

INPUTS = ("tracks", "video", "camera")

TAKEN = (".hydra", "config.yaml", "crops.csv", "crops.json", "crops.parquet", "run.log")
"""Names in the output that no folder of a camera can have."""


class Camera(NamedTuple):
    """Input of one camera.

    Attributes:
        name: Name.
        source: Video.
        tracks: Boxes.
        start: Time of the first frame, in seconds.
    """

    name: str
    source: FrameSource
    tracks: pa.Table
    start: float


def crop(settings: Settings, output: Path) -> dict[str, Any]:
    """Cut crops of the tracks of one or several cameras.

    All boxes are read and all videos opened before anything is written.

    Args:
        settings: Composed configuration.
        output: Folder to write the crops, crops.csv, crops.parquet and crops.json to.

    Returns:
        The content of crops.json.

    Raises:
        UserError: A setting, a file of boxes or a video is invalid, or there is no crop.
    """
    _check(settings)
    inputs = _inputs(settings)
    starts = _starts(settings["start"], len(inputs))
    cameras = [_opened(settings, *own, start) for own, start in zip(inputs, starts, strict=True)]
    reports: dict[str, CropReport] = {}
    with explain_failures(output):
        for camera in cameras:
            with announced(f"cropping {camera.name}"):
                reports[camera.name] = crop_tracks(
                    camera.tracks,
                    camera.source,
                    output,
                    camera.name,
                    per_tracklet=settings["per_tracklet"],
                    margin=settings["margin"],
                    start=camera.start,
                )
            _show(camera.name, reports[camera.name])
        table = pa.concat_tables([report.table for report in reports.values()])
        if not len(table):
            raise UserError(_without_crops(settings, sum(len(own.tracks) for own in cameras)))
        if settings["global_ids"]:
            names = [_track_of(row) for row in table.select(["camera", "tracklet"]).to_pylist()]
            table = table.append_column("identity", pa.array(names, pa.string()))
        _remove_earlier(output, set(table["path"].to_pylist()))
        write_cluster_table(output / "crops", table)
        results = {
            "crops": len(table),
            "margin": settings["margin"],
            "cameras": {
                camera.name: {
                    "video": camera.source.name,
                    "reading": camera.tracks.schema.metadata[b"reading"].decode(),
                    **_described(reports[camera.name]),
                }
                for camera in cameras
            },
            "versions": versions(),
        }
        write_json(output / "crops.json", results)
    places = ("dataset.root", output), ("dataset.table", output / "crops.csv")
    CONSOLE.print(
        f"{counted(len(table), 'crop')} with a margin of {settings['margin']:g}: train on them by "
        f"dataset=folder {' '.join(starmap(path_argument, places))}"
    )
    return results


def _check(settings: Settings) -> None:
    """Check the settings that are not files.

    Raises:
        UserError: One line with the setting.
    """

    def check() -> None:
        checks.choice("format", settings["format"], (AUTO, *FORMATS))
        checks.integer("vid_stride", settings["vid_stride"], 1)
        checks.integer("per_tracklet", settings["per_tracklet"], 1)
        checks.real("margin", settings["margin"], 0, 1)
        checks.boolean("global_ids", settings["global_ids"])

    checked("settings", check, dict.fromkeys(settings, ""))


def _inputs(settings: Settings) -> list[tuple[str, str, str]]:
    """Return tracks, video and name of each camera.

    Raises:
        UserError: One is missing or no text, the lists differ in length, two cameras have one name,
            or a name is taken by a file of the output.
    """
    lists: dict[str, list[str]] = {}
    for key in INPUTS:
        value = settings[key]
        if value is None or value == []:
            raise UserError(
                f"{key}= is needed: task=crop tracks=FILE video=FILE_OR_FOLDER camera=NAME"
            )
        entries = value if isinstance(value, list) else [value]
        lists[key] = [_text(key, entry) for entry in entries]
    if len({len(entries) for entries in lists.values()}) > 1:
        found = ", ".join(f"{len(entries)} in {key}=" for key, entries in lists.items())
        raise UserError(f"tracks=, video= and camera= need one entry per camera, got {found}")
    names = lists["camera"]
    first: dict[str, str] = {}
    for name in names:  # they become folders
        other = first.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if names.count(name) > 1:
            raise UserError(f"camera={name} is named twice; two cameras need two names")
        if other != name:
            raise UserError(
                f"camera={name} and camera={other} are one folder where file systems ignore case "
                "or the form of accents; two cameras need two names"
            )
    if "" in names:
        raise UserError("camera= needs a name")
    if taken := next((name for name in names if name.casefold() in TAKEN), None):
        raise UserError(f"camera={taken}: a file of the output has this name; choose another one")
    return list(zip(*lists.values(), strict=True))


def _remove_earlier(output: Path, kept: set[str]) -> None:
    """Remove the crops of an earlier run in the output, as ``resume=`` with other settings."""
    table = output / "crops.parquet"
    if table.is_file():
        for path in pq.ParquetFile(table).read(["path"], use_threads=False)["path"].to_pylist():
            if path not in kept:
                (output / path).unlink(missing_ok=True)


def _text(key: str, entry: object) -> str:
    """Return a path or name; YAML reads ``1e5`` and ``true`` as something else.

    Raises:
        UserError: It is neither text nor a whole number.
    """
    if isinstance(entry, bool) or not isinstance(entry, (str, int)):
        raise UserError(f"{key}={entry}: is no text here; quote it, as in '{key}=\"1e5\"'")
    return str(entry)


def _without_crops(settings: Settings, boxes: int) -> str:
    """Return the error of cameras without any crop."""
    if not boxes:
        return f"no crops: there are no boxes in tracks={settings['tracks']}"
    return (
        f"no crops: {counted(boxes, 'box', 'boxes')} in tracks={settings['tracks']}, none of them "
        f"in a picture of video={settings['video']}; do they belong together?"
    )


def _starts(value: object, cameras: int) -> list[float]:
    """Return the time of the first frame of each camera.

    Raises:
        UserError: There is not one finite number for each camera.
    """
    if value is None:
        return [0.0] * cameras
    entries = value if isinstance(value, list) else [value]
    if len(entries) != cameras:
        raise UserError(
            f"start={value}: needs the seconds of one camera each, {cameras} in camera="
        )
    finite = partial(checks.real, "start", open_low=True, open_high=True)
    return [checked("settings", partial(finite, entry)) for entry in entries]


def _opened(settings: Settings, tracks: str, video: str, name: str, start: float) -> Camera:
    """Read the boxes of a camera and open its video.

    Raises:
        UserError: One cannot be read, or they do not belong together.
    """
    source = open_frames(video)
    table = read_tracks(
        tracks,
        settings["format"],
        source.size,
        classes=_classes(settings["classes"]),
        video=video,
        vid_stride=settings["vid_stride"],
    )
    CONSOLE.print(table.schema.metadata[b"reading"].decode())
    if (files := frames_named(table)) is not None and Path(video).expanduser().is_dir():
        source = open_frames(video, files)
    check_fit(table, source)
    return Camera(name, source, table, start)


def _classes(value: object) -> Sequence[str] | None:
    if value is None:
        return None
    return [str(entry) for entry in (value if isinstance(value, list) else [value])]


def _track_of(row: dict[str, str | None]) -> str | None:
    """Return the id of a tracklet without its camera."""
    tracklet = row["tracklet"]
    return None if tracklet is None else tracklet.removeprefix(f"{row['camera']}/")


def _described(report: CropReport) -> dict[str, Any]:
    return {
        "frames": report.frames,
        "boxes": report.boxes,
        "tracklets": report.tracklets,
        "crops": len(report.table),
        "boxes_without_crop": report.counts,
        "notes": report.notes,
        **report.record,
    }


def _show(camera: str, report: CropReport) -> None:
    """Print the counts of a camera, and remarks on its video."""
    width, height = report.record["size"]
    CONSOLE.print(
        f"{camera}: {counted(report.frames, 'frame')} of {width} x {height}, "
        f"{counted(report.tracklets, 'tracklet')}, {counted(report.boxes, 'box', 'boxes')}, "
        f"{counted(len(report.table), 'crop')}"
    )
    for note in report.notes:
        CONSOLE.print(f"{camera}: {note}", style="yellow")
    for reason, count in report.counts.items():
        CONSOLE.print(f"{camera}: {counted(count, 'box', 'boxes')} {reason}", style="yellow")
