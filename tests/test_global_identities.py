"""Tracks with identities over all cameras, written as MOT and CocoVID files."""

from pathlib import Path

import pyarrow as pa
import pytest

from dccc_lightning.data.tracks import read_tracks
from dccc_lightning.data.tracks.global_identities import (
    NUMBERS,
    with_identities,
    write_cocovid,
    write_mot,
)
from dccc_lightning.errors import UserError
from dccc_lightning.metrics import identity_f1

IDENTITIES = """path,tracklet,identity
a.jpg,hall/1,0007
b.jpg,hall/1,0007
c.jpg,hall/2,NA
d.jpg,yard/1,NA
"""
BOXES = {
    "hall": "3,1,11,21,30,60,0.9,-1,-1,-1\n3,2,101,21,30,60,0.8,-1,-1,-1\n",
    "yard": "1,1,11.5,21,30,60.25,0.7,-1,-1,-1\n9,2,11,21,30,60,0.6,-1,-1,-1\n",
}


@pytest.fixture
def cameras(tmp_path: Path) -> dict[str, pa.Table]:
    (tmp_path / "identities.csv").write_text(IDENTITIES)
    tables = {}
    for camera, rows in BOXES.items():
        (tmp_path / f"{camera}.txt").write_text(rows)
        tracks = read_tracks(tmp_path / f"{camera}.txt", "mot15")
        tables[camera] = with_identities(tracks, camera, tmp_path / "identities.csv")
    return tables


def joined(tables: dict[str, pa.Table]) -> pa.Table:
    columns = ["camera", "frame", "identity", "x1", "y1", "x2", "y2"]
    return pa.concat_tables([table.select(columns) for table in tables.values()])


def test_identities_are_text_and_hold_over_cameras(cameras: dict[str, pa.Table]) -> None:
    assert cameras["hall"]["identity"].to_pylist() == ["0007", "NA"]
    assert cameras["yard"]["identity"].to_pylist() == ["NA", None]  # track 2 has no crop


def test_boxes_of_a_cut_tracklet_are_of_the_nearest_crop(tmp_path: Path) -> None:
    (tmp_path / "tracks.txt").write_text(
        "".join(f"{frame},1,11,21,30,60,0.9,-1,-1,-1\n" for frame in (1, 11, 15, 16, 17, 99))
    )
    (tmp_path / "identities.csv").write_text(
        "tracklet,identity,frame\nhall/1 cut 2,B,20\nhall/1 cut 1,A,0\nhall/1 cut 1,A,10\n"
    )
    tracks = read_tracks(tmp_path / "tracks.txt", "mot15")
    found = with_identities(tracks, "hall", tmp_path / "identities.csv")
    assert found["frame"].to_pylist() == [0, 10, 14, 15, 16, 98]
    assert found["identity"].to_pylist() == ["A", "A", "A", "A", "B", "B"]


@pytest.mark.parametrize("form", ["mot15", "cocovid"])
def test_what_is_written_is_read_back(
    cameras: dict[str, pa.Table], tmp_path: Path, form: str
) -> None:
    out = tmp_path / "out"
    numbers = write_mot(out, cameras)
    assert numbers == {"0007": 1, "NA": 2}
    assert (out / NUMBERS).read_text() == "1,0007\n2,NA\n"
    write_cocovid(out / "all.json", cameras, dict.fromkeys(cameras, (640, 480)))
    again = {}
    for camera, table in cameras.items():
        if form == "mot15":
            read = read_tracks(out / f"{camera}.txt", form)
        else:
            read = read_tracks(out / "all.json", form, video=camera)
        for name in ("frame", "x1", "y1", "x2", "y2"):
            assert read[name].to_pylist() == pytest.approx(table[name].to_pylist())
        again[camera] = read.append_column("camera", table["camera"])
        again[camera] = again[camera].append_column("identity", read["track"])
    scores = identity_f1(joined(cameras), joined(again))
    assert scores["idf1"] == 1.0
    shared = again["hall"]["track"][1].as_py(), again["yard"]["track"][0].as_py()
    assert shared == ("2", "2")


def test_identities_of_other_cameras_are_refused(
    cameras: dict[str, pa.Table], tmp_path: Path
) -> None:
    tracks = read_tracks(tmp_path / "hall.txt", "mot15")
    with pytest.raises(UserError, match="no tracklet of camera 'Hall'"):
        with_identities(tracks, "Hall", tmp_path / "identities.csv")
