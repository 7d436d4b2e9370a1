"""Tracks with identities over all cameras, their gaps filled, written as MOT and CocoVID files."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dccc_lightning.data.tracks import fill_gaps, read_tracks
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


def test_gaps_of_identities_are_filled_by_straight_lines() -> None:
    """Each row: frame, track, identity, x1; the other corners move with x1."""
    given = [
        (0, "1", "A", 0.0), (4, "2", "A", 8.0),  # two tracks of one identity
        (0, "3", "B", 50.0), (5, "3", "C", 0.0),  # a track that was cut
        (0, "4", "D", 0.0), (5, "4", "D", 9.0),  # a gap of 4
        (0, "5", "E", 0.0), (2, "5", "E", 4.0), (2, "6", "E", 90.0), (4, "6", "E", 70.0),  # twice
        (0, None, None, 0.0), (2, None, None, 4.0),
        (7, "7", "F", 1.0), (9, "7", "F", 2.0),
    ]  # fmt: skip
    table = _table(given)
    found = fill_gaps(table, 3)
    rows = {
        (row["frame"], row["identity"], row["track"]): row
        for row in found.to_pylist()
        if row["filled"]
    }
    assert found["frame"].to_pylist() == sorted(found["frame"].to_pylist())
    assert {key: row["x1"] for key, row in rows.items()} == {
        (1, "A", None): 2.0, (2, "A", None): 4.0, (3, "A", None): 6.0, (8, "F", "7"): 1.5,
    }  # fmt: skip
    for row in rows.values():
        assert (row["x2"], row["y1"], row["y2"]) == (row["x1"] + 3, 1 - row["x1"], 9.0)
        assert row["score"] is None
        assert row["camera"] == "hall"
    kept = found.filter(pc.invert(found["filled"])).drop_columns("filled")
    assert sorted(kept.to_pylist(), key=str) == sorted(table.to_pylist(), key=str)
    assert len(fill_gaps(table, 4)) == len(table) + 4 + 4
    assert len(fill_gaps(table, 0)) == len(table)
    by_track = fill_gaps(table.drop_columns("identity"), 3)  # 1, 2 and 3 with 4 are not filled
    assert set(by_track.filter(by_track["filled"])["track"].to_pylist()) == {"5", "6", "7"}


def _table(rows: list[tuple[int, str | None, str | None, float]]) -> pa.Table:
    frames, tracks, identities, left = zip(*rows, strict=True)
    return pa.table(
        {
            "frame": frames, "track": pa.array(tracks, pa.string()), "x1": left,
            "y1": [1 - x for x in left], "x2": [x + 3 for x in left], "y2": [9.0] * len(rows),
            "score": [0.5] * len(rows), "camera": ["hall"] * len(rows),
            "identity": pa.array(identities, pa.string()),
        }
    )  # fmt: skip


def test_filled_boxes_are_marked_in_files(tmp_path: Path) -> None:
    filled = fill_gaps(_table([(0, "1", "A", 2.0), (2, "1", "A", 4.0)]))
    write_mot(tmp_path, {"hall": filled})
    assert (tmp_path / "hall.txt").read_text().splitlines() == [
        "1,1,3,0,3,10,0.5,-1,-1,-1", "2,1,4,-1,3,11,1,-1,0,-1", "3,1,5,-2,3,12,0.5,-1,-1,-1",
    ]  # fmt: skip
    assert len(read_tracks(tmp_path / "hall.txt")) == 3
    write_cocovid(tmp_path / "all.json", {"hall": filled}, {"hall": (9, 9)})
    annotations = json.loads((tmp_path / "all.json").read_text())["annotations"]
    assert [row["filled"] for row in annotations] == [False, True, False]
    assert len(read_tracks(tmp_path / "all.json", "cocovid", video="hall")) == 3


@pytest.mark.parametrize(("longest", "error"), [(-1, ValueError), (True, TypeError)])
def test_a_wrong_length_of_gaps_is_refused(longest: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="longest must be"):
        fill_gaps(_table([(0, "1", "A", 0.0)]), longest)
