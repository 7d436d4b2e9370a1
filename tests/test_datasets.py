"""Every layout of the real datasets, in tiny trees with the traps that other parsers fall into."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dccc_lightning.data.datasets.market_layout import read_market_layout
from dccc_lightning.data.datasets.official_counts import Counts, CountWarning, Unverified
from dccc_lightning.data.datasets.split_source import SplitSource
from dccc_lightning.errors import UserError
from trees import (
    CUHK,
    DUKE,
    LAST,
    LISTS,
    MARKET,
    OCCLUDED,
    PERSONX,
    REPACKED,
    VERI,
    grow,
    grow_msmt,
    known,
    preset,
    refusal,
    rows,
)

pytestmark = pytest.mark.filterwarnings("ignore:.* images in .*, expected:UserWarning")


@pytest.mark.parametrize("inside", [True, False])
def test_market(tmp_path, inside):
    parent = tmp_path / "0001_c2s1_exp_c2" / "holiday_c2s1_"
    home = grow(parent / "Market-1501-v15.09.15", MARKET)
    splits = known("market1501", home if inside else parent).splits()
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
    assert len(known("market1501", "~", name="mine").splits().query) == 2


@pytest.mark.parametrize(
    ("home", "train", "test"),
    [("MSMT17_V1", "train", "test"), ("MSMT17_V2", "mask_train_v2", "mask_test_v2")],
)
@pytest.mark.parametrize("inside", [True, False])
def test_msmt_lists(tmp_path, home, train, test, inside):
    folder = grow_msmt(tmp_path / home, train, test)
    splits = known("msmt17", folder if inside else tmp_path).splits()
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
    splits = known("msmt17", tmp_path).splits()
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
    message = refusal(known("market1501", tmp_path))
    assert f"market1501: no folder bounding_box_train in {tmp_path};" in message
    layout = "Market-1501-v15.09.15/{bounding_box_train,query,bounding_box_test}"
    assert f"expected {tmp_path}/{layout} with names as 0001_c1s1_001051_00.jpg" in message
    assert "set dataset.root" in message

    home = grow(tmp_path / "Market-1501-v15.09.15", {"bounding_box_train": ["0001_c1s1_1_0.jpg"]})
    for root in (tmp_path, home):
        message = refusal(known("market1501", root))
        assert f"no folder query in {home}; expected {tmp_path}/{layout}" in message


def test_a_root_that_does_not_exist(tmp_path):
    root = tmp_path / "Market-1501-v15.09.15"
    message = refusal(known("market1501", root))
    assert f"no folder {root}; expected {root}/{{bounding_box_train," in message
    assert f"no folder {root}; expected {root}/MSMT17_V1/{{train,test}}" in refusal(
        known("msmt17", root)
    )


def test_names_that_do_not_parse(tmp_path):
    tree = MARKET | {"query": ["0001_c1s1_001051_00.jpg", "b.jpg", "a_c1s1_1_0.jpg"]}
    message = refusal(known("market1501", grow(tmp_path, tree)))
    assert "2 image name(s)" in message
    assert f"{tmp_path}/query" in message
    assert "the first is a_c1s1_1_0.jpg" in message


@pytest.mark.parametrize("empty", ["bounding_box_train", "query", "bounding_box_test"])
def test_an_empty_split(tmp_path, empty):
    message = refusal(known("market1501", grow(tmp_path, MARKET | {empty: ["Thumbs.db"]})))
    split = {"bounding_box_train": "train", "bounding_box_test": "gallery"}.get(empty, empty)
    assert f"no images for the {split} split" in message


def test_a_split_of_junk_is_empty(tmp_path):
    tree = MARKET | {"bounding_box_test": ["-1_c1s1_000401_03.jpg"]}
    assert "gallery" in refusal(known("market1501", grow(tmp_path, tree)))


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
    message = refusal(known("msmt17", tmp_path))
    assert f"msmt17: no list {name} in {home}; expected {home}/{{train,test}}" in message


def test_msmt_missing_folder(tmp_path):
    home = grow_msmt(tmp_path / "MSMT17_V1", test="tests")
    assert f"no folder test in {home};" in refusal(known("msmt17", tmp_path))
    home = grow_msmt(tmp_path / "MSMT17_V2", "mask_train_v2", "mask_tests")
    assert f"no folder mask_test_v2 in {home};" in refusal(known("msmt17", home))


def test_msmt_list_names_missing_files(tmp_path):
    home = grow_msmt(tmp_path)
    lost = [home / "test" / line.split()[0] for line in LISTS["list_gallery.txt"]]
    for file in lost:
        file.unlink()
    message = refusal(known("msmt17", tmp_path))
    assert f"2 file(s) of {home}/list_gallery.txt" in message
    assert f"the first is {lost[0]}" in message


@pytest.mark.parametrize("line", ["no-label.jpg", "0000/holiday.jpg 0", "0000/0000_0_0_x.jpg 0"])
def test_msmt_bad_lines(tmp_path, line):
    home = grow_msmt(tmp_path, lists=LISTS | {"list_val.txt": [line]})
    message = refusal(known("msmt17", tmp_path))
    assert f"1 line(s) of {home}/list_val.txt" in message
    assert f'the first is "{line}"' in message


def test_msmt_empty_list(tmp_path):
    grow_msmt(tmp_path, lists=LISTS | {"list_query.txt": [""]})
    assert "no images for the query split" in refusal(known("msmt17", tmp_path))


def test_counts_only_warn(tmp_path):
    home = grow(tmp_path / "Market-1501-v15.09.15", MARKET)
    with pytest.warns(UserWarning, match=r"found 4 / 2 / 3 .*expected 12,936 / 3,368 / 15,913"):
        known("market1501", tmp_path).splits()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_market_layout("own", home)
        warnings.simplefilter("ignore", CountWarning)
        known("market1501", tmp_path).splits()


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    ("dataset", "folder", "tree", "train", "query", "gallery"),
    [
        (
            "personx", "PersonX", PERSONX,
            [("0001_c10s1_000002_00.jpg", 1, 3), ("0001_c3s1_000001_00.jpg", 1, 0)],
            [("0002_c4s1_000001_00.jpg", 2, 1)],
            [("0002_c12s1_000003_00.jpg", 2, 5), ("0002_c8s1_000004_00.jpg", 2, 2)],
        ),
        (
            "veri776", "VeRi", VERI,
            [("0001_c001_00016450_0.jpg", 1, 0), ("0001_c020_00016460_0.jpg", 1, 19)],
            [("0002_c002_00030600_0.jpg", 2, 1)],
            [("0002_c002_00030600_0.jpg", 2, 1), ("0002_c012_00030605_1.jpg", 2, 11)],
        ),
        (
            "dukemtmc", "DukeMTMC-reID", DUKE,
            [("0005_c2_f0046985.jpg", 5, 1), ("0005_c8_f0000001.jpg", 5, 7)],
            [("0006_c1_f0030000.jpg", 6, 0)],
            [("0006_c3_f0030000.jpg", 6, 2), ("7000_c4_f0000002.jpg", 7000, 3)],
        ),
        (
            "occluded_duke", "Occluded_Duke", OCCLUDED,
            [("0001_c2_f0046182.jpg", 1, 1), ("0001_c7_f0046302.jpg", 1, 6)],
            [("0005_c1_f0044158.jpg", 5, 0)],
            [("0005_c2_f0044159.jpg", 5, 1), ("7139_c8_f0001.jpg", 7139, 7)],
        ),
    ],
)  # fmt: skip
def test_layouts_like_markets(tmp_path, inside, dataset, folder, tree, train, query, gallery):
    home = grow(tmp_path / "0009_c003s1_" / folder, tree)
    splits = known(dataset, home if inside else home.parent).splits()
    assert (splits.name, splits.root) == (dataset, home)
    assert [rows(part) for part in (splits.train, splits.query, splits.gallery)] == [
        train, query, gallery,
    ]  # fmt: skip
    assert splits.query.paths[0].parent == home / list(tree)[1]
    assert known(dataset, home, name="mine").splits().name == "mine"


def test_personx_has_no_camera_5(tmp_path):
    home = grow(tmp_path, PERSONX | {"query": ["0003_c5s1_000001_00.jpg"]})
    assert "0003_c5s1_000001_00.jpg" in refusal(known("personx", home))


def test_the_gallery_of_veri_holds_its_queries():
    assert known("veri776", "").facts.gallery_holds_queries


@pytest.mark.parametrize("variant", ["labeled", "detected"])
@pytest.mark.parametrize("root", [".", "cuhk03-np", "cuhk03-np/VARIANT"])
def test_cuhk03_variants(tmp_path, variant, root):
    top = tmp_path / "exp_c2_1"
    for other in ("labeled", "detected"):
        grow(top / "cuhk03-np" / other, CUHK)
    dataset = known("cuhk03_np", top / root.replace("VARIANT", variant), variant=variant)
    splits = dataset.splits()
    assert splits.root == top / "cuhk03-np" / variant
    assert rows(splits.train) == [("0003_c1_21.png", 3, 0), ("0003_c2_6.png", 3, 1)]
    assert rows(splits.gallery) == [("0001_c2_10.png", 1, 1), ("0001_c2_6.png", 1, 1)]
    assert dataset.facts.train.images == {"labeled": 7_368, "detected": 7_365}[variant]


def test_cuhk03_refuses_the_other_variant(tmp_path):
    grow(tmp_path / "cuhk03-np" / "detected", CUHK)
    message = refusal(known("cuhk03_np", tmp_path, variant="labeled"))
    assert f"no folder {tmp_path}/cuhk03-np/labeled; expected" in message
    assert "labeled" in refusal(
        known("cuhk03_np", tmp_path / "cuhk03-np" / "detected", variant="labeled")
    )
    with pytest.raises(ValueError, match="variant must be one of labeled, detected, got 'both'"):
        known("cuhk03_np", tmp_path, variant="both")


@pytest.mark.parametrize("inside", [True, False])
def test_last_has_no_cameras(tmp_path, inside):
    home = grow(tmp_path / "000007_c1" / "last", LAST)
    splits = known("last", home if inside else home.parent).splits()
    assert rows(splits.train) == [
        ("000002_0009.jpg", 2, -1),
        ("000010_c2_0001.jpg", 10, -1),
        ("b_c7.jpg", 10, -1),
    ]
    assert rows(splits.query) == [("000002_0001.jpg", 13, -1), ("000010_0003_1.jpg", 21, -1)]
    assert rows(splits.gallery) == [
        ("000002_0001.jpg", 13, -1),
        ("000002_0002.jpg", 13, -1),
        ("000010_0004.jpg", 21, -1),
    ], "moved above the training identities, by as much as the queries; validation is not read"
    assert splits.shared_identities is None


def test_last_refusals(tmp_path):
    assert f"no folder train in {tmp_path}; expected {tmp_path}/last/{{train/<id>,test/query" in (
        refusal(known("last", tmp_path))
    )
    home = grow(tmp_path / "last", LAST | {"test/query": ["000001.jpg", "who.jpg"]})
    assert f"1 image name(s) in {home}/test/query do not match 000001_0001.jpg" in refusal(
        known("last", home)
    )
    (home / "test" / "query" / "who.jpg").unlink()
    grow(home, {"train/somebody": ["a.jpg"]})
    message = refusal(known("last", home))
    assert f"1 image name(s) in {home}/train do not match 000001/000001_0001.jpg, the" in message
    assert "the first is somebody/a.jpg" in message
    home = grow(tmp_path / "b" / "last", {"train/1": ["a.jpg"], "test/query": ["1_a.jpg"]})
    assert f"no folder test/gallery in {home}" in refusal(known("last", home))


def test_shared_identities_are_told_where_numbers_mean_the_same(tmp_path):
    market = grow(tmp_path / "a", MARKET | {"query": ["0002_c1s1_000001_00.jpg"]})
    assert known("market1501", market).splits().shared_identities == (2,)
    assert known("market1501", grow(tmp_path / "b", MARKET)).splits().shared_identities == ()
    assert known("msmt17", grow_msmt(tmp_path / "c")).splits().shared_identities is None
    assert known("msmt17", grow(tmp_path / "d", REPACKED)).splits().shared_identities is None


def test_the_layout_is_told(tmp_path):
    assert known("market1501", grow(tmp_path / "a", MARKET)).splits().layout == (
        "{bounding_box_train,query,bounding_box_test} with names as 0001_c1s1_001051_00.jpg"
    )
    v1, v2 = grow_msmt(tmp_path / "b"), grow_msmt(tmp_path / "c", "mask_train_v2", "mask_test_v2")
    assert known("msmt17", v1).splits().layout.startswith("{train,test} with list_")
    assert known("msmt17", v2).splits().layout.startswith("{mask_train_v2,mask_test_v2} with list_")


def test_junk_and_distractors_are_settings(tmp_path):
    home = grow(tmp_path / "a", MARKET)
    usual = known("market1501", home)
    assert (usual.junk, usual.distractors) == ({"-1"}, {"0"})
    assert -1 not in usual.splits().gallery.identities
    assert 0 in usual.splits().gallery.identities
    both = known("market1501", home, junk=[-1, 0], distractors=[]).splits()
    assert {-1, 0}.isdisjoint(both.gallery.identities.tolist())
    kept = known("market1501", home, junk=[]).splits()
    assert -1 in kept.gallery.identities
    strange = grow(tmp_path / "b", MARKET | {"query": ["0000_c4s6_015641_00.jpg"]})
    assert "1 query image(s) of a distractor, the first is " in refusal(
        known("market1501", strange)
    )
    assert len(known("market1501", strange, distractors=[]).splits().query) == 1
    with pytest.raises(TypeError, match="junk must be a word or a list of words, got "):
        known("market1501", home, junk={"x": 1})


def test_official_counts():
    """DATASETS.md's figures; those with a question mark there are ``Unverified``."""
    market, duke, msmt, veri, personx, last, occluded = (
        known(name, "").facts
        for name in (
            "market1501",
            "dukemtmc",
            "msmt17",
            "veri776",
            "personx",
            "last",
            "occluded_duke",
        )
    )
    labeled, detected = (known("cuhk03_np", "", variant=v).facts for v in ("labeled", "detected"))
    images = {
        market: (12_936, 3_368, 15_913),
        duke: (16_522, 2_228, 17_661),
        msmt: (32_621, 11_659, 82_161),
        personx: (9_840, 5_136, 30_816),
        veri: (37_778, 1_678, 11_579),
        labeled: (7_368, 1_400, 5_328),
        detected: (7_365, 1_400, 5_332),
        last: (71_248, 10_176, 125_353),
        occluded: (15_618, 2_210, 17_661),
    }
    doubtful = set()
    for facts, counts in images.items():
        found = (facts.train.images, facts.query.images, facts.gallery.images)
        assert found == counts
        doubtful |= {count for count in found if isinstance(count, Unverified)}
    assert doubtful == {37_778, 15_618, 2_210, 17_661}
    assert not isinstance(duke.gallery.images, Unverified)
    identities = {
        market: (751, 750),
        duke: (702, 702),
        msmt: (1_041, 3_060),
        veri: (576, 200),
        labeled: (767, 700),
        detected: (767, 700),
    }
    for facts, counts in identities.items():
        assert (facts.train.identities, facts.query.identities) == counts
    assert personx.total == Counts(identities=1_266, cameras=6)
    cameras = [facts.total.cameras for facts in (market, duke, msmt, veri)]
    assert cameras == [6, 8, 15, 20]


@pytest.mark.parametrize("name", ["../other/0000_000_01_a_0_0.jpg", "/0000_000_01_a_0_0.jpg"])
def test_msmt_lists_do_not_lead_out_of_their_folder(tmp_path, name):
    grow_msmt(tmp_path / "MSMT17_V1", lists=LISTS | {"list_val.txt": [f"{name} 0"]})
    message = refusal(known("msmt17", tmp_path))
    assert "1 line(s)" in message
    assert f'the first is "{name} 0"' in message


@pytest.mark.parametrize("folder", ["x" * 300, "a\0b"])
def test_msmt_lists_with_folders_that_cannot_be(tmp_path, folder):
    line = f"{folder}/0000_000_01_0303morning_0008_0.jpg 0"
    home = grow_msmt(tmp_path)
    (home / "list_val.txt").write_text(line)
    assert "1 file(s) of" in refusal(known("msmt17", home))


def test_msmt_lists_of_other_bytes(tmp_path):
    home = grow_msmt(tmp_path / "MSMT17_V1")
    (home / "list_query.txt").write_bytes(b"\xff\xfe0000")
    assert f"cannot read {home}/list_query.txt" in refusal(known("msmt17", tmp_path))


def test_numbers_without_end_are_no_identities(tmp_path):
    assert parsed("market1501", f"{'9' * 20}_c1s1_000001_00.jpg") is None
    assert parsed("market1501", f"1_c{'9' * 20}s1_000001_00.jpg") is None
    line = f"0000/0000_000_01_0303morning_0008_0.jpg {'9' * 5000}"
    grow_msmt(tmp_path, lists=LISTS | {"list_train.txt": [line]})
    assert "1 line(s)" in refusal(known("msmt17", tmp_path))


def test_a_name_with_a_line_break_is_told_in_one_line(tmp_path):
    grow(tmp_path, MARKET | {"query": ["a\nb.jpg"]})
    assert r"the first is 'a\nb.jpg'" in refusal(known("market1501", tmp_path))


def parsed(dataset, name, variant=None):
    """The numbers in a file name by a dataset's pattern."""
    settings = preset(dataset) if variant is None else preset(dataset)["variants"][variant]
    rule = {key: settings[key] for key in ("pattern", "example")}
    groups = SplitSource.of("splits", rule).groups(name, {})
    return groups and tuple(int(groups[key]) for key in ("identity", "camera") if key in groups)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 9999), st.integers(1, 20), st.integers(0, 999_999))
def test_names_round_trip(identity, camera, frame):
    for dataset, variant, name in (
        ("market1501", None, f"{identity:04d}_c{camera}s1_{frame:06d}_00.jpg"),
        ("dukemtmc", None, f"{identity:04d}_c{camera}_f{frame:07d}.jpg"),
        ("msmt17", "repacked", f"{identity:04d}_c{camera:02d}_{frame:06d}.jpg"),
        ("veri776", None, f"{identity:04d}_c{camera:03d}_{frame:08d}_0.jpg"),
        ("cuhk03_np", None, f"{identity:04d}_c{camera}_{frame}.png"),
    ):
        assert parsed(dataset, name, variant) == (identity, camera), name
    name = f"{identity:04d}_{frame:03d}_{camera:02d}_0303morning_0008_0.jpg"
    assert parsed("msmt17", name) == (camera,), "the list has the identity"


@pytest.mark.parametrize(
    ("dataset", "variant"),
    [("market1501", None), ("dukemtmc", None), ("msmt17", "repacked"), ("msmt17", None),
     ("personx", None), ("veri776", None), ("cuhk03_np", None)],
)  # fmt: skip
def test_names_are_matched_whole(dataset, variant):
    example = preset(dataset) if variant is None else preset(dataset)["variants"][variant]
    example = example["example"]
    assert parsed(dataset, example, variant) is not None
    assert parsed(dataset, "x" + example, variant) is None
    assert parsed(dataset, example.replace(".", " copy."), variant) is None
    assert parsed("market1501", "0001_c0s1_001051_00.jpg") is None, "cameras count from 1"
