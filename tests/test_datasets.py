"""Every layout of the real datasets, in tiny trees with the traps that other parsers fall into."""

import random
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.data.dukemtmc import NAMES as DUKE_NAMES
from dccc_lightning.data.dukemtmc import DukeMTMC
from dccc_lightning.data.layout import MARKET_NAMES, NameRule, read_market_layout
from dccc_lightning.data.market1501 import Market1501
from dccc_lightning.data.msmt17 import LIST_NAMES, MSMT17, REPACKED_NAMES
from dccc_lightning.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.* images in .*, expected:UserWarning")

MARKET = {
    "bounding_box_train": [
        "0002_c1s1_000451_03.jpg",
        "0002_c6s1_000451_03.JPG",
        "0007_c3s3_077419_03.jpeg",
        "0010_c12s2_000001_01.png",
        "Thumbs.db",
        "._0002_c1s1_000451_03.jpg",
        "readme.txt",
    ],
    "query": ["0001_c1s1_001051_00.jpg", "0003_c4s6_015641_00.jpg", "Thumbs.db"],
    "bounding_box_test": [
        "-1_c1s1_000401_03.jpg",
        "0000_c5s1_000151_01.jpg",
        "0001_c2s1_001051_00.jpg",
        "0003_c1s6_015641_00.jpg",
    ],
}
DUKE = {
    "bounding_box_train": ["0005_c2_f0046985.jpg", "0005_c8_f0000001.jpg"],
    "query": ["0006_c1_f0030000.jpg"],
    "bounding_box_test": ["0006_c3_f0030000.jpg", "7000_c4_f0000002.jpg"],
}
REPACKED = {
    "bounding_box_train": ["0000_c01_0008.jpg", "0001_c12_0009.jpg"],
    "query": ["0000_c15_0001.jpg"],
    "bounding_box_test": ["0000_c02_0001.jpg", "0001_c11_0001.jpg"],
}
LISTS = {
    "list_train.txt": ["0000/0000_000_01_0303morning_0008_0.jpg 0"],
    "list_val.txt": ["0004/0004_001_15_0303noon_0009_1_ex.jpg 4", ""],
    "list_query.txt": ["0000/0000_000_12_0303evening_0010_0.jpg 0"],
    "list_gallery.txt": [
        "0001/0001_002_03_0303noon_0011_0.jpg 1",
        "0000/0000_001_02_0303noon_0012_0.jpg 0",
    ],
}


def grow(home, tree):
    """Create the tree's files, empty, in no particular order."""
    files = [home / folder / name for folder, names in tree.items() for name in names]
    random.Random(0).shuffle(files)
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return home


def grow_msmt(home, train="train", test="test", lists=None):
    for name, lines in (lists or LISTS).items():
        folder = train if name in {"list_train.txt", "list_val.txt"} else test
        grow(home, {folder: [line.split(" ")[0] for line in lines if line]})
        (home / name).write_text("\n".join(lines) + "\n")
    return home


def rows(records):
    return list(
        zip(
            [path.name for path in records.paths],
            records.identities.tolist(),
            records.cameras.tolist(),
            strict=True,
        )
    )


def refusal(dataset):
    with pytest.raises(UserError) as caught:
        dataset.splits()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("inside", [True, False])
def test_market(tmp_path, inside):
    parent = tmp_path / "0001_c2s1_exp_c2" / "holiday_c2s1_"
    home = grow(parent / "Market-1501-v15.09.15", MARKET)
    splits = Market1501(home if inside else parent).splits()
    assert (splits.name, splits.root) == ("market1501", home)
    assert rows(splits.train) == [
        ("0002_c1s1_000451_03.jpg", 2, 0),
        ("0002_c6s1_000451_03.JPG", 2, 5),
        ("0007_c3s3_077419_03.jpeg", 7, 2),
        ("0010_c12s2_000001_01.png", 10, 11),
    ]
    assert rows(splits.query) == [
        ("0001_c1s1_001051_00.jpg", 1, 0),
        ("0003_c4s6_015641_00.jpg", 3, 3),
    ]
    assert rows(splits.gallery) == [
        ("0000_c5s1_000151_01.jpg", 0, 4),
        ("0001_c2s1_001051_00.jpg", 1, 1),
        ("0003_c1s6_015641_00.jpg", 3, 0),
    ]
    assert all(path.is_file() for path in (*splits.train.paths, *splits.gallery.paths))


def test_root_may_be_text_and_relative_to_home(tmp_path, monkeypatch):
    grow(tmp_path / "Market-1501-v15.09.15", MARKET)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(Market1501("~", name="mine").splits().query) == 2


def test_duke(tmp_path):
    grow(tmp_path / "DukeMTMC-reID", DUKE)
    splits = DukeMTMC(tmp_path).splits()
    assert rows(splits.train) == [("0005_c2_f0046985.jpg", 5, 1), ("0005_c8_f0000001.jpg", 5, 7)]
    assert rows(splits.query) == [("0006_c1_f0030000.jpg", 6, 0)]
    assert rows(splits.gallery) == [
        ("0006_c3_f0030000.jpg", 6, 2),
        ("7000_c4_f0000002.jpg", 7000, 3),
    ]


@pytest.mark.parametrize(
    ("home", "train", "test"),
    [("MSMT17_V1", "train", "test"), ("MSMT17_V2", "mask_train_v2", "mask_test_v2")],
)
@pytest.mark.parametrize("inside", [True, False])
def test_msmt_lists(tmp_path, home, train, test, inside):
    folder = grow_msmt(tmp_path / home, train, test)
    splits = MSMT17(folder if inside else tmp_path).splits()
    assert rows(splits.train) == [
        ("0000_000_01_0303morning_0008_0.jpg", 0, 0),
        ("0004_001_15_0303noon_0009_1_ex.jpg", 4, 14),
    ]
    assert rows(splits.query) == [("0000_000_12_0303evening_0010_0.jpg", 5, 11)]
    assert rows(splits.gallery) == [
        ("0000_001_02_0303noon_0012_0.jpg", 5, 1),
        ("0001_002_03_0303noon_0011_0.jpg", 6, 2),
    ]
    assert splits.train.paths[0].parent == folder / train / "0000"
    assert splits.query.paths[0].is_file()


def test_msmt_repacked(tmp_path):
    grow(tmp_path / "MSMT17", REPACKED)
    splits = MSMT17(tmp_path).splits()
    assert rows(splits.train) == [("0000_c01_0008.jpg", 0, 0), ("0001_c12_0009.jpg", 1, 11)]
    assert rows(splits.query) == [("0000_c15_0001.jpg", 2, 14)]
    assert rows(splits.gallery) == [("0000_c02_0001.jpg", 2, 1), ("0001_c11_0001.jpg", 3, 10)]


def test_identities_are_left_alone_unless_they_coincide(tmp_path):
    tree = MARKET | {"query": ["0002_c1s1_000001_00.jpg"]}
    splits = read_market_layout("own", grow(tmp_path, tree))
    assert splits.query.identities.tolist() == [2 + 11]
    assert splits.gallery.identities.tolist() == [0 + 11, 1 + 11, 3 + 11]
    assert not np.isin(splits.query.identities, splits.train.identities).any()


def test_a_missing_folder_says_what_where_and_how(tmp_path):
    message = refusal(Market1501(tmp_path))
    assert f"market1501: no folder bounding_box_train in {tmp_path};" in message
    layout = "Market-1501-v15.09.15/{bounding_box_train,query,bounding_box_test}"
    assert f"expected {tmp_path}/{layout} with names as 0001_c1s1_001051_00.jpg" in message
    assert "set dataset.root" in message

    home = grow(tmp_path / "Market-1501-v15.09.15", {"bounding_box_train": ["0001_c1s1_1_0.jpg"]})
    for root in (tmp_path, home):
        message = refusal(Market1501(root))
        assert f"no folder query in {home}; expected {tmp_path}/{layout}" in message


def test_a_root_that_does_not_exist(tmp_path):
    root = tmp_path / "Market-1501-v15.09.15"
    message = refusal(Market1501(root))
    assert f"no folder {root}; expected {root}/{{bounding_box_train," in message
    assert f"no folder {root}; expected {root}/MSMT17_V1/{{train,test}}" in refusal(MSMT17(root))


def test_names_that_do_not_parse(tmp_path):
    tree = MARKET | {"query": ["0001_c1s1_001051_00.jpg", "b.jpg", "a_c1s1_1_0.jpg"]}
    message = refusal(Market1501(grow(tmp_path, tree)))
    assert "2 image name(s)" in message
    assert f"{tmp_path}/query" in message
    assert "the first is a_c1s1_1_0.jpg" in message


@pytest.mark.parametrize("empty", ["bounding_box_train", "query", "bounding_box_test"])
def test_an_empty_split(tmp_path, empty):
    message = refusal(Market1501(grow(tmp_path, MARKET | {empty: ["Thumbs.db"]})))
    split = {"bounding_box_train": "train", "bounding_box_test": "gallery"}.get(empty, empty)
    assert f"no images for the {split} split" in message


def test_a_split_of_junk_is_empty(tmp_path):
    tree = MARKET | {"bounding_box_test": ["-1_c1s1_000401_03.jpg"]}
    assert "gallery" in refusal(Market1501(grow(tmp_path, tree)))


def test_query_and_gallery_may_be_absent_if_asked(tmp_path):
    tree = {"bounding_box_train": MARKET["bounding_box_train"], "query": ["Thumbs.db"]}
    splits = read_market_layout("own", grow(tmp_path, tree), require_test=False)
    assert [len(part) for part in (splits.train, splits.query, splits.gallery)] == [4, 0, 0]
    with pytest.raises(UserError, match="no folder bounding_box_test"):
        read_market_layout("own", tmp_path)
    with pytest.raises(UserError, match="no images for the train split"):
        read_market_layout(
            "own", grow(tmp_path / "b", {"bounding_box_train": ["x.db"]}), require_test=False
        )


@pytest.mark.parametrize("name", list(LISTS))
def test_msmt_missing_list(tmp_path, name):
    home = grow_msmt(tmp_path / "MSMT17_V1")
    (home / name).unlink()
    message = refusal(MSMT17(tmp_path))
    assert f"msmt17: no list {name} in {home}; expected {home}/{{train,test}}" in message


def test_msmt_missing_folder(tmp_path):
    home = grow_msmt(tmp_path / "MSMT17_V1", test="tests")
    assert f"no folder test in {home};" in refusal(MSMT17(tmp_path))
    home = grow_msmt(tmp_path / "MSMT17_V2", "mask_train_v2", "mask_tests")
    assert f"no folder mask_test_v2 in {home};" in refusal(MSMT17(home))


def test_msmt_list_names_missing_files(tmp_path):
    home = grow_msmt(tmp_path)
    lost = [home / "test" / line.split()[0] for line in LISTS["list_gallery.txt"]]
    for file in lost:
        file.unlink()
    message = refusal(MSMT17(tmp_path))
    assert f"2 file(s) of {home}/list_gallery.txt" in message
    assert f"the first is {lost[0]}" in message


@pytest.mark.parametrize("line", ["no-label.jpg", "0000/holiday.jpg 0", "0000/0000_0_0_x.jpg 0"])
def test_msmt_bad_lines(tmp_path, line):
    home = grow_msmt(tmp_path, lists=LISTS | {"list_val.txt": [line]})
    message = refusal(MSMT17(tmp_path))
    assert f"1 line(s) of {home}/list_val.txt" in message
    assert f'the first is "{line}"' in message


def test_msmt_empty_list(tmp_path):
    grow_msmt(tmp_path, lists=LISTS | {"list_query.txt": [""]})
    assert "no images for the query split" in refusal(MSMT17(tmp_path))


def test_counts_only_warn(tmp_path):
    home = grow(tmp_path / "Market-1501-v15.09.15", MARKET)
    with pytest.warns(UserWarning, match=r"found 4 / 2 / 3 .*expected 12,936 / 3,368 / 15,913"):
        Market1501(tmp_path).splits()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_market_layout("own", home)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 9999), st.integers(1, 20), st.integers(0, 999_999))
def test_names_round_trip(identity, camera, frame):
    for rule, name in (
        (MARKET_NAMES, f"{identity:04d}_c{camera}s1_{frame:06d}_00.jpg"),
        (DUKE_NAMES, f"{identity:04d}_c{camera}_f{frame:07d}.jpg"),
        (REPACKED_NAMES, f"{identity:04d}_c{camera:02d}_{frame:06d}.jpg"),
        (LIST_NAMES, f"{identity:04d}_{frame:03d}_{camera:02d}_0303morning_0008_0.jpg"),
    ):
        assert rule.parse(name) == (identity, camera - 1), name
        assert rule.parse(rule.example) is not None


@pytest.mark.parametrize("rule", [MARKET_NAMES, DUKE_NAMES, REPACKED_NAMES, LIST_NAMES])
def test_names_are_matched_whole(rule: NameRule):
    assert rule.parse("x" + rule.example) is None
    assert rule.parse(rule.example.replace(".jpg", " copy.jpg")) is None
    assert MARKET_NAMES.parse("0001_c0s1_001051_00.jpg") is None, "cameras count from 1"
