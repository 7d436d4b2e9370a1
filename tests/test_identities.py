"""Ids that stay, tables whose ids are text, folders of links."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
import pytest

from dccc_lightning.data.datasets.image_labels import ImageLabels
from dccc_lightning.data.datasets.label_numbers import column_numbers
from dccc_lightning.data.image_table import read_image_table
from dccc_lightning.errors import UserError
from dccc_lightning.identities.identity_folders import link_folders
from dccc_lightning.identities.identity_table import identity_table, read_known
from dccc_lightning.identities.stable_ids import continued
from dccc_lightning.metrics.cluster_margins import cluster_margins
from dccc_lightning.reports.cluster_table import write_cluster_table
from dccc_lightning.reports.identity_page import identity_page

HARD = ["0007", "NA", "1e5", "null", "-1", "a,b", 'say "x"', "Zoë", "true", "007.0", "1_000", " 7"]
"""Ids that readers of tables take for something else."""


def test_clusters_take_ids_by_their_images_not_by_their_numbers():
    old = ["x", "x", "x", "y", "y", None, None]
    labels = np.array([0, 0, 0, 1, 1, 2, 2])
    again = np.array([2, 2, 2, 0, 0, 1, 1])
    first, second = continued(labels, old), continued(again, old)
    assert [first.ids[n] for n in labels] == [second.ids[n] for n in again]
    assert first.ids == ["x", "y", "id0001"]
    assert first.opened == ["id0001"]


def test_a_split_leaves_the_id_with_most_images_and_a_merge_retires_one():
    split = continued(np.array([0, 0, 1]), ["id0004"] * 3)
    assert split.ids == ["id0004", "id0005"]
    merged = continued(np.array([0, 0, 0]), ["id0002", "id0001", "id0002"])
    assert (merged.ids, merged.retired) == (["id0002"], {"id0001": "id0002"})
    # the larger part of one that was spread over two says where it went
    spread = continued(np.array([0] * 5 + [1] * 6), ["a"] * 4 + ["c"] + ["b"] * 4 + ["c"] * 2)
    assert spread.retired == {"c": "b"}


def test_an_id_is_never_used_again():
    assert continued(np.array([0]), [None], used=["id0041", "id9999", "visitor"]).ids == ["id10000"]


def table_of(paths, ids, earlier=None):
    labels = np.unique(ids, return_inverse=True)[1]
    rows = np.random.default_rng(0).normal(size=(len(ids), 4))
    nothing = [None] * len(ids)
    return identity_table(
        paths, {"tracklet": ids, "camera": ids}, ids, {ids[0]: "0"},
        cluster_margins(labels, rows), nothing, earlier or nothing,
    )  # fmt: skip


def test_ids_stay_text_through_csv_parquet_json_and_hive_partitions(tmp_path):
    paths = [f"/images/{n}.jpg" for n in range(len(HARD))]
    table = table_of(paths, HARD)
    write_cluster_table(tmp_path / "identities", table)
    pyarrow.dataset.write_dataset(
        table, tmp_path / "hive", format="parquet",
        partitioning=pyarrow.dataset.partitioning(
            pa.schema([("identity", pa.string())]), flavor="hive"
        ),
    )  # fmt: skip
    hive = pyarrow.dataset.dataset(
        tmp_path / "hive",
        partitioning=pyarrow.dataset.partitioning(
            pa.schema([("identity", pa.string())]), flavor="hive"
        ),
    ).to_table(use_threads=False)
    assert dict(zip(hive["path"].to_pylist(), hive["identity"].to_pylist(), strict=True)) == dict(
        zip(paths, HARD, strict=True)
    )
    for suffix in ("csv", "parquet"):
        known = read_known(tmp_path / f"identities.{suffix}")
        assert known.identities == known.images.columns["camera"] == HARD
        assert known.names == {"0007": "0"}
        assert known.images.columns["frame"] == [None] * len(HARD)
        found = continued(np.arange(len(HARD)), known.identities)
        assert found.ids == json.loads(json.dumps(found.ids)) == HARD


def test_folders_hold_links_to_the_images_of_an_identity(tmp_path):
    paths = [tmp_path / place for place in ("a/1.jpg", "b/1.jpg", "b/2.jpg", "b/3.jpg")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(path))
    for _ in range(2):  # earlier folders are replaced
        link_folders(
            tmp_path / "folders", [str(p) for p in paths], ["0007", "0007", "0007", "../x"]
        )
    links = sorted((tmp_path / "folders").rglob("*.jpg"))
    names = [str(link.relative_to(tmp_path / "folders")) for link in links]
    assert names == ["..%2Fx/3.jpg", "0007/0_1.jpg", "0007/1_1.jpg", "0007/2.jpg"]
    assert [link.read_text() for link in links] == [str(paths[n]) for n in (3, 0, 1, 2)]
    assert not (tmp_path / ".folders").exists()


def test_the_page_has_every_image_and_escapes_names():
    page = identity_page(table_of(["/i/<b>.jpg", "/i/2.jpg"], ["a<b", "c"]), "identities of x")
    assert "a&lt;b" in page
    assert "file:///i/%3Cb%3E.jpg" in page
    assert "a<b" not in page
    assert page.count("<figure>") == 2
    assert "2.jpg<br>camera c" in page


TABLES = {
    "no path": ("file,camera\na.jpg,1\n", "no column path"),
    "twice": ("path\na.jpg\n./a.jpg\n", "row 2: './a.jpg' repeats row 1"),
    "empty": ('path,camera\n"",1\n', "row 1: an empty path"),
    "ragged": ("path,camera\na.jpg\n", "cannot be read as a table"),
    "frame": ("path,frame\na.jpg,1.5\n", "row 1: frame '1.5' is no whole number from 0"),
    "time without a zone": (
        "path,frame\na.jpg,2026-10-25 02:30:00\n",
        "'2026-10-25 02:30:00' is no whole number from 0; for times, give seconds or millis",
    ),
    "time with a zone": ("path,frame\na.jpg,2026-10-25T02:30:00Z\n", "seconds since one moment"),
    "two boxes of one track in a frame": (
        "path,camera,tracklet,frame\na.jpg,1,7,5\nb.jpg,2,7,5\nc.jpg,1,7,05\n",
        "row 3: frame 05 of tracklet 7 repeats row 1",
    ),
    "columns": ("path,camera,camera\na.jpg,1,2\n", "two columns camera"),
    "nothing": ("", "cannot be read as a table"),
}


def test_frames_that_pandas_wrote_are_numbers(tmp_path):
    (tmp_path / "t.csv").write_text("path,tracklet,frame\na.jpg,7,12.0\nb.jpg,7,\nc.jpg,7,9\n")
    assert read_image_table(tmp_path / "t.csv").columns["frame"] == ["12", None, "9"]
    (tmp_path / "t.csv").write_text("path,tracklet,frame\na.jpg,7,12.0\nb.jpg,7,12\n")
    with pytest.raises(UserError, match="row 2: frame 12 of tracklet 7 repeats row 1"):
        read_image_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("frames", "numbers"),
    [
        (("100.0", "9.0", "12"), (100, 9, 12)),
        (("10000000000", "9999999999"), (10**10, 10**10 - 1)),
        (("10.5", "9.25", "9.250", "-3"), (2, 1, 1, 0)),
        (("2026-10-25T10", "2026-10-25T09"), (1, 0)),
    ],
)
def test_frames_of_a_dataset_are_in_the_order_of_time(frames, numbers):
    images = [ImageLabels(f"{frame}.jpg", frame=frame) for frame in (*frames, "")]
    found = column_numbers(images, counted=("frame",))["frame"]
    assert found == dict(zip(frames, numbers, strict=True))


@pytest.mark.parametrize("name", TABLES)
def test_a_wrong_table_is_one_line_that_names_the_row(tmp_path, name):
    content, expected = TABLES[name]
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(UserError) as caught:
        read_image_table(tmp_path / "t.csv")
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_table_belongs_to_images_by_path(tmp_path):
    (tmp_path / "t.csv").write_text(f"camera,path\n02,b.jpg\n,{tmp_path}/x/../a.jpg\n")
    table = read_image_table(tmp_path / "t.csv")
    assert table.columns == {"camera": ["02", None]}
    assert table.rows([f"{tmp_path}/a.jpg", f"{tmp_path}/b.jpg"]) == [1, 0]
    with pytest.raises(UserError, match=r"no row for 1 of 2 images, the first is /c\.jpg"):
        table.rows(["/c.jpg", str(Path(tmp_path, "a.jpg"))])
