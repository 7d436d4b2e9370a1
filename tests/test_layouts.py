"""Every layout of conf/dataset on a tiny tree, with the trap that the set is known for."""

import json
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from dccc_lightning.data.audit.inspection import inspect
from dccc_lightning.data.audit.split_images import is_match, split_images
from dccc_lightning.data.audit.verification import compare_counts, run_checks
from dccc_lightning.data.datasets.declared_layout import DeclaredLayout
from dccc_lightning.data.datasets.folder import ImageFolder
from dccc_lightning.data.datasets.image_labels import GALLERY, QUERY, TRAIN
from dccc_lightning.data.datasets.official_counts import Facts
from dccc_lightning.data.image_list import listed_split
from dccc_lightning.data.records import Records, Splits
from dccc_lightning.errors import UserError
from dccc_lightning.metrics.protocol_arrangement import arrange, split_labels
from dccc_lightning.metrics.protocols import PROTOCOLS, protocol_of
from dccc_lightning.tasks.train import _check_splits
from trees import PRESETS, known, preset, touch

pytestmark = pytest.mark.filterwarnings("ignore:.* images in .*, expected:UserWarning")


ROOT = Path(__file__).parents[1]


def several(template, *values):
    return [template.format(*(value if isinstance(value, tuple) else (value,))) for value in values]


def partitions(*trained):
    """Cells of one struct each, whose third field has the people of training, as GRID has them."""
    cells = np.empty((1, len(trained)), dtype=object)
    for place, people in enumerate(trained):
        struct = np.empty((1, 1), dtype=[(name, object) for name in ("x", "y", "z")])
        struct[0, 0] = (np.zeros((1, 2)), np.zeros((1, 3)), np.array([people]))
        cells[0, place] = struct
    return cells


TREES = {
    "cuhk01": several("campus/{}.png", *(f"{i:04d}{s:03d}" for i in (1, 2) for s in (1, 2, 3, 4))),
    "cuhk02": several("Dataset/P{}/cam{}/001_01.png", *((p, c) for p in (1, 2, 5) for c in (1, 2))),
    "cuhk03": several(
        "images_detected/{}_{:03d}_{}_01.png",
        *((pair, person, view) for pair in (1, 2) for person in (1, 2) for view in (1, 2)),
    ),
    "grid": [
        "probe/0001_1_25004_1.jpeg", "probe/0002_2_25004_1.jpeg", "gallery/0001_5_25023_1.jpeg",
        "gallery/0002_6_25023_1.jpeg", "gallery/0000_3_25100_1.jpeg",
        "gallery/0000_4_25100_2.jpeg",
    ],
    "prid2011": [
        *several("single_shot/cam_a/person_{}.png", "0001", "0002", "0200", "0201", "0385"),
        *several("single_shot/cam_b/person_{}.png", "0001", "0002", "0200", "0201", "0749"),
    ],
    "viper": ["cam_a/000_45.bmp", "cam_b/000_90.bmp", "cam_a/001_0.bmp", "cam_b/001_180.bmp"],
    "qmul_ilids": several("Persons/{}.jpg", "0001001", "0001002", "0002001", "0002002", "0002003"),
    "ilids_vid": several(
        "sequences/cam{}/person{:03d}/cam{}_person001_00{}.png",
        *((c, p, c, f) for c in (1, 2) for p in (1, 3) for f in (317, 318)),
    ),
    "dukemtmc_videoreid": [
        "train/0001/0002/0001_C6_F0099_X30823.jpg", "train/0001/0002/0001_C6_F0101_X30831.jpg",
        "query/0005/0005/0005C1F0001X1.jpg", "gallery/0005/0007/0005C12F0001X1.jpg",
    ],
    "sysu_mm01": [
        *several("cam{}/{:04d}/0001.jpg", *((c, i) for c in range(1, 7) for i in (1, 2, 6, 333))),
        "cam1/0009/0001.jpg",
    ],
    "regdb": several(
        "{}/{}/a_0{}.bmp", *((m, i, i) for m in ("Visible", "Thermal") for i in (1, 2))
    ),
    "llcm": [
        "vis/0001/0001_c01_s1_f1_vis.jpg", "nir/0001/0001_c02_s1_f1_nir.jpg",
        "test_vis/cam3/0005/0005_c03_s1_f1_vis.jpg", "test_nir/cam4/0005/0005_c04_s1_f2_nir.jpg",
        "test_nir/cam4/0006/0006_c04_s1_f2_nir.jpg",
    ],
    "ag_reid": [
        *several("bounding_box_train/P0001T0{}A{}C{}F31.jpg",
                 ("4041", 0, 0), ("4041", 1, 0), ("4042", 0, 3)),
        "query_all_c0/P0000T02140A0C0F91.jpg", "bounding_box_test_all_c3/P0000T02140A0C3F691.jpg",
        "query_all_c3/P0000T02140A0C3F751.jpg", "bounding_box_test_all_c0/P0000T02140A0C0F31.jpg",
    ],
    "ag_reid_v2": [
        *several("train_all/P0001T04041A{0}/P0001T04041A{0}C{1}F{2}.jpg",
                 (0, 0, 31), (1, 2, 100031)),
        "query/P0001T04042A0/P0001T04042A0C3F1.jpg", "gallery/P0001T04042A0/P0001T04042A0C0F2.jpg",
    ],
    "cargo": [
        "train/Cam13/Cam13_day_2519_320.jpg", "query/Cam2/Cam2_night_7_1.jpg",
        "gallery/Cam6/Cam6_day_7_2.jpg",
    ],
    "uav_human": several(
        "bounding_box_train/P{}S{}G10B10H10UC022000LC021000A00{}R0_08241716_170_bbx.jpg",
        ("000", "00", 1), ("000", "01", 1), ("001", "00", 0),
    ),
    "ltcc": [
        "train/001_1_c12_015833.png", "query/005_1_c1_000001.png", "test/005_2_c1_000009.png",
        "test/005_1_c2_000002.png", "test/005_3_c3_000003.png",
    ],
    "prcc": [
        *several("rgb/train/001/{}_cropped_rgb001.jpg", "A", "B", "C"),
        *several("rgb/test/{}/002/cropped_rgb{}.jpg", ("A", 1), ("A", 2), ("B", 1), ("C", 1)),
        "rgb/val/001/A_cropped_rgb009.jpg",
    ],
    "celeb_reid": ["train/1_1_0.jpg", "query/700_1_0.jpg", "gallery/700_2_1.jpg"],
    "celeb_reid_light": ["train/1_1_0.jpg", "query/700_1_0.jpg", "gallery/700_2_1.jpg"],
    "deepchange": [
        "train-set/P1_C2_20200413_07_4_2.jpg", "test-set-query/P16_C2_20200413_07_4_2.jpg",
        "test-set-gallery/P16_C2_20200501_09_1_1.jpg",
        "test-set-gallery/P16_C17_20200413_09_1_1.jpg",
    ],
    "vc_clothes": [
        "train/0001-01-01-00.jpg", *several("query/0300-0{}-01-00.jpg", 1, 2, 3),
        *several("gallery/0300-0{}-02-00.jpg", 2, 3, 4),
    ],
    "ccvid": several(
        "session{}/{}_0{}/0000{}.jpg",
        *((s, p, 1, f) for s, p in ((1, "001"), (1, "005"), (3, "005")) for f in (1, 2)),
    ),
    "occluded_reid": several(
        "{}_body_images/00{}/00{}_01.tif",
        *((body, i, i) for body in ("occluded", "whole") for i in (1, 2)),
    ),
    "p_dukemtmc": several(
        "{}/{}_body_images/{}/{}_c1_f1.jpg",
        ("train", "whole", "0001", "0001"), ("train", "occluded", "0001", "0001"),
        ("test", "occluded", "0005", "0005"), ("test", "whole", "0005", "0005"),
    ),
    "randperson": several("subset/00000{}_s0{}_c00_f000264.jpg", (0, 0), (0, 1), (1, 1)),
    "clonedperson": [
        "train/000000_s00_c00_f000001.jpg", "test/query/700000_s02_c00_f023389.jpg",
        "test/gallery/700000_s03_c00_f000001.jpg",
    ],
    "unrealperson": several(
        "unreal_v{}/images/333_c001_78.jpg", "1.1", "1.2", "3.1"
    ),
    "sensereid": ["test_probe/00001_0.jpg", "test_gallery/00001_1.jpg", "test_gallery/00002_0.jpg"],
    "caviar": several("{}.jpg", "0001001", "0001002", "0002001", "0002002"),
    "pes3d": several("{}/{}_1.bmp", (1, 1), (1, 2), (2, 1), (2, 2)),
    "airport": several(
        "camera{}/{}/1.jpg", *((c, i) for c in (1, 2) for i in (11001, 11002)), (1, 1)
    ),
    "veri_wild": several("images/0000{}/00000{}.jpg", (1, 1), (1, 2), (5, 3), (5, 4)),
    "vehicleid": several("image/000000{}.jpg", 1, 2, 3, 4, 5),
    "cityflow": several("image_train/00000{}.jpg", 1, 2),
    "mars": several(
        "{}/{}/{}C{}T000{}F00{}.jpg",
        *((*n[:2], n[1], *n[2:]) for n in (
            ("bbox_train", "0001", 1, 1, 1), ("bbox_train", "0001", 1, 1, 2),
            ("bbox_train", "0001", 6, 2, 1), ("bbox_test", "00-1", 1, 1, 1),
            ("bbox_test", "0000", 2, 1, 1), ("bbox_test", "0002", 1, 1, 1),
            ("bbox_test", "0002", 3, 1, 1), ("bbox_test", "0002", 3, 1, 2),
        )),
    ),
    "mevid": several(
        "{}/{}/{}O00{}C{}T00{}F0000{}.jpg",
        *((*n[:2], n[1], *n[2:]) for n in (
            ("bbox_train", "0201", 3, 330, 4, 1), ("bbox_train", "0201", 3, 330, 4, 2),
            ("bbox_test", "0205", 1, 329, 0, 1), ("bbox_test", "0205", 2, 508, 0, 1),
        )),
    ),
}  # fmt: skip

TEXTS = {
    "sysu_mm01": {
        "exp/train_id.txt": "1\n", "exp/val_id.txt": "2\n", "exp/test_id.txt": "6,333\n",
    },
    "regdb": {
        "idx/train_visible_1.txt": "Visible/1/a_01.bmp 0\n",
        "idx/train_thermal_1.txt": "Thermal/1/a_01.bmp 0\n",
        "idx/test_visible_1.txt": "Visible/2/a_02.bmp 0\n",
        "idx/test_thermal_1.txt": "Thermal/2/a_02.bmp 0\n",
    },
    "llcm": {
        "idx/train_vis.txt": "vis/0001/0001_c01_s1_f1_vis.jpg 0\n",
        "idx/train_nir.txt": "nir/0001/0001_c02_s1_f1_nir.jpg 0\n",
        "idx/test_id.txt": "5,17\n",
    },
    "deepchange": {
        "train-set-bbox.txt": "P1_C2_20200413_07_4_2.jpg,1\n",
        "test-set-query-bbox.txt": "P16_C2_20200413_07_4_2.jpg,900\n",
        "test-set-gallery-bbox.txt":
            "P16_C2_20200501_09_1_1.jpg,901\nP16_C17_20200413_09_1_1.jpg,902\n",
    },
    "ccvid": {
        "train.txt": "session1/001_01\t001\tu0_l0\n", "query.txt": "session1/005_01\t005\tu0_l0\n",
        "gallery.txt": "session3/005_01\t005\tu1_l1\n",
    },
    "airport": {"filepath.txt": "\n".join(
        several("camera{}\\{}\\1.jpg", *((c, i) for c in (1, 2) for i in (11001, 11002)), (1, 1))
    )},
    "veri_wild": {
        "train_test_split/train_list.txt": "00001/000001\n00001/000002\n",
        "train_test_split/test_10000_query.txt": "00005/000003\n",
        "train_test_split/test_10000.txt": "00005/000004\n",
        "train_test_split/vehicle_info.txt": "id/image;Camera ID;Time;Model;Type;Color\n" + "".join(
            f"0000{v}/00000{i};{c};2018-03-01 10:00:00;;;\n"
            for v, i, c in ((1, 1, 7), (1, 2, 174), (5, 3, 1), (5, 4, 2))
        ),
    },
    "vehicleid": {
        "train_test_split/train_list.txt": "0000001 9\n",
        "train_test_split/test_list_2400.txt": "0000002 7\n0000003 7\n0000004 8\n0000005 8\n",
    },
    "cityflow": {
        "train_label.xml": '<?xml version="1.0" encoding="gb2312"?>\n<TrainingImages Version="1.0">'
        '<Items number="2"><Item imageName="000001.jpg" vehicleID="0001" cameraID="c036"/>'
        '<Item cameraID="c043" imageName="000002.jpg" vehicleID="0002"/></Items></TrainingImages>',
    },
    "mars": {
        "info/train_name.txt": "0001C1T0001F001.jpg\n0001C1T0001F002.jpg\n0001C6T0002F001.jpg\n",
        "info/test_name.txt": "00-1C1T0001F001.jpg\n0000C2T0001F001.jpg\n0002C1T0001F001.jpg\n"
        "0002C3T0001F001.jpg\n0002C3T0001F002.jpg\n",
    },
    "mevid": {
        "train_name.txt": "0201O003C330T004F00001.jpg\n0201O003C330T004F00002.jpg\n",
        "test_name.txt": "0205O001C329T000F00001.jpg\n0205O002C508T000F00001.jpg\n",
        "track_train_info.txt": "0.0e+00 2.0e+00 2.01e+02 3.0e+00 3.30e+02\n",
        "track_test_info.txt": "0.0e+00 1.0e+00 2.05e+02 1 329\n1.0e+00 2.0e+00 2.05e+02 2 508\n",
        "query_IDX.txt": "1.0e+00\n",
    },
}  # fmt: skip

ARRAYS = {
    "ilids_vid": {
        "train-test people splits/train_test_splits_ilidsvid.mat": {"ls_set": [[1, 2], [2, 1]]}
    },
    "grid": {"features_and_partitions.mat": {"trainIdxAll": partitions([1], [2])}},
    "mars": {
        "info/tracks_train_info.mat": {"track_train_info": [[1, 2, 1, 1], [3, 3, 1, 6]]},
        "info/tracks_test_info.mat": {
            "track_test_info": [[1, 1, -1, 1], [2, 2, 0, 2], [3, 3, 2, 1], [4, 5, 2, 3]]
        },
        "info/query_IDX.mat": {"query_IDX": [[3]]},
    },
}


WITHOUT_TEST = ("uav_human", "randperson", "unrealperson", "cityflow")


def plant(home, name):
    """Create a tree in a folder."""
    touch(home, *TREES[name])
    for path, text in TEXTS.get(name, {}).items():
        touch(home, path)
        (home / path).write_text(text)
    for path, arrays in ARRAYS.get(name, {}).items():
        touch(home, path)
        savemat(home / path, {key: np.asarray(value) for key, value in arrays.items()})
    return home


def read(tmp_path, name, **changes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return known(name, plant(tmp_path / "c9s1_0000", name), **changes).splits()


def told(splits, records):
    """Path, identity and camera of each image, by their names where they have some."""
    return [
        (
            path.relative_to(splits.root).as_posix(),
            splits.identity_names[i] if splits.identity_names else i,
            splits.camera_names[c] if splits.camera_names and c >= 0 else c,
        )
        for path, i, c in zip(
            records.paths, records.identities.tolist(), records.cameras.tolist(), strict=True
        )
    ]


def in_short(splits):
    """Identity and camera of each image of the three splits."""
    parts = (splits.train, splits.query, splits.gallery)
    return tuple(" ".join(f"{i}@{c}" for _, i, c in told(splits, part)) for part in parts)


EXPECTED = {
    "cuhk01": ("1@0 1@0 1@1 1@1", "2@0 2@0", "2@1 2@1"),
    "cuhk02": ("P1_001@P1_1 P1_001@P1_2 P2_001@P2_1 P2_001@P2_2", "P5_001@P5_1", "P5_001@P5_2"),
    "cuhk03": ("1_001@0 1_002@0 2_001@0 1_001@1 1_002@1 2_001@1", "2_002@0", "2_002@1"),
    "grid": ("1@0 1@4", "2@1", "0@2 0@3 2@5"),
    "prid2011": (
        "0001@a 0001@b",
        "0002@a 0200@a",
        "0002@b 0200@b b0201@b b0749@b",
    ),
    "viper": ("0@cam_a 0@cam_b", "1@cam_a", "1@cam_b"),
    "qmul_ilids": ("1@-1 1@-1", "2@-1", "2@-1 2@-1"),
    "ilids_vid": ("3@cam1 3@cam1 3@cam2 3@cam2", "1@cam1 1@cam1", "1@cam2 1@cam2"),
    "dukemtmc_videoreid": ("1@5 1@5", "5@0", "5@11"),
    "sysu_mm01": (
        "1@0 1@1 1@3 1@4 1@2 1@5 2@0 2@1 2@3 2@4 2@2 2@5",
        "6@2 333@2 6@5 333@5",
        "6@0 333@0 6@1 333@1 6@3 333@3 6@4 333@4",
    ),
    "regdb": ("0@-1 0@-1", "1@-1", "1@-1"),
    "llcm": ("0@0 0@1", "5@3", "5@2"),
    "ag_reid": ("0001040410@0 0001040411@0 0001040420@1", "0000021400@0", "0000021400@1"),
    "ag_reid_v2": ("0001040410@0 0001040411@1", "0001040420@2", "0001040420@0"),
    "cargo": ("2519@12", "7@1", "7@5"),
    "uav_human": ("00000@-1 00001@-1 00100@-1", "", ""),
    "ltcc": ("1@11", "5@0", "5@1 5@0 5@2"),
    "prcc": ("1@A 1@B 1@C", "2@C", "2@A 2@A"),
    "celeb_reid": ("1@-1", "700@-1", "700@-1"),
    "celeb_reid_light": ("1@-1", "700@-1", "700@-1"),
    "deepchange": ("1@1", "16@1", "16@16 16@1"),
    "vc_clothes": ("1@0", "300@0 300@1 300@2", "300@1 300@2 300@3"),
    "ccvid": ("1@01 1@01", "5@01 5@01", "5@session301 5@session301"),
    "occluded_reid": ("", "1@occluded 2@occluded", "1@whole 2@whole"),
    "p_dukemtmc": ("1@-1 1@-1", "5@occluded", "5@whole"),
    "randperson": ("0@s00_c00 0@s01_c00 1@s01_c00", "", ""),
    "clonedperson": ("0@s00_c00", "700000@s02_c00", "700000@s03_c00"),
    "unrealperson": ("1_333@1_001 2_333@1_001 1_333@3_001", "", ""),
    "sensereid": ("", "1@0", "1@1 2@0"),
    "caviar": ("1@-1 1@-1", "2@-1", "2@-1"),
    "pes3d": ("2@-1 2@-1", "1@-1", "1@-1"),
    "airport": ("-1@camera1 11002@camera1 11002@camera2", "11001@camera1", "11001@camera2"),
    "veri_wild": ("1@6 1@173", "5@0", "5@1"),
    "vehicleid": ("9@-1", "7@-1 8@-1", "7@-1 8@-1"),
    "cityflow": ("1@c036 2@c043", "", ""),
    "mars": ("1@0 1@0 1@5", "2@0", "0@1 2@0 2@2 2@2"),
    "mevid": ("201@C330 201@C330", "205@C508", "205@C329"),
}
"""Identity@camera of training, query and gallery images in order; -1 is unknown."""


@pytest.mark.parametrize("name", TREES)
def test_a_tiny_tree_is_read(tmp_path, name):
    splits = read(tmp_path, name)
    assert in_short(splits) == EXPECTED[name]
    every = (splits.train, splits.query, splits.gallery)
    assert all(path.is_file() for records in every for path in records.paths)
    assert splits.name == name
    tested = {*splits.query.identities.tolist(), *splits.gallery.identities.tolist()}
    assert tested.isdisjoint(splits.train.identities[splits.train.identities >= 0].tolist())


def test_every_preset_of_a_layout_has_a_tree():
    older = {"market1501", "dukemtmc", "occluded_duke", "personx", "veri776", "cuhk03_np", "last",
             "msmt17", "synthetic", "synthetic_video", "folder", "several"}  # fmt: skip
    named = {path.stem for path in PRESETS.glob("*.yaml")}
    assert named - older == set(TREES) == set(EXPECTED)
    assert len(named - {"synthetic", "synthetic_video", "folder", "several"}) >= 35


@pytest.mark.parametrize("name", TREES)
def test_a_tiny_tree_is_verified(tmp_path, name):
    splits = read(tmp_path, name)
    facts = known(name, splits.root).facts
    figures = list(compare_counts(splits, facts))
    official = {(figure.split, figure.measure): figure.official for figure in figures}
    for split in ("train", "query", "gallery", "total"):
        for measure, count in vars(getattr(facts, split)).items():
            assert official[split, measure] == count
    parts = (splits.train, splits.query, splits.gallery)
    looks = [inspect(path) for records in parts for path in records.paths]
    found = {check.key: check.items for check in run_checks(splits, facts, looks)}
    assert len(found["empty"]) == len(looks)
    assert not found["unreadable"]
    assert not found["unmatched"] or len(found["unmatched"]) < len(splits.query)


@pytest.mark.parametrize("name", TREES)
def test_a_missing_tree_is_one_line_with_the_layout(tmp_path, name):
    with pytest.raises(UserError) as caught:
        known(name, tmp_path / "nothing").splits()
    message = str(caught.value)
    assert message.startswith(f"{name}: no ")
    assert message.endswith("; set dataset.root")
    assert "expected " in message
    assert preset(name)["folders"][0] in message
    assert len(message.splitlines()) == 1


def test_the_page_and_the_readme_have_every_dataset():
    table = runpy.run_path(str(ROOT / "docs" / "hooks" / "dataset_table.py"))["render"]()
    page = (ROOT / "docs" / "datasets.md").read_text()
    assert table in page, "print it by python docs/hooks/dataset_table.py"
    number = table.count("\n") - 2
    assert f"\n{number} public datasets have a file" in page
    assert f"{number - 3} other public datasets" in (ROOT / "README.md").read_text()
    for name in ("G2APS", "P-DESTRE", "ENTIRe-ID"):
        assert name in page, "left out, and said so"


def test_a_preset_says_its_source_and_its_trap():
    for settings in map(preset, TREES):
        assert len(settings["source"]) > 10
        assert len(settings["remark"]) > 10
        variants = (settings.get("variants") or {}).values()
        named = [part["protocol"] for part in (settings, *variants) if "protocol" in part]
        assert set(named) <= set(PROTOCOLS)


@pytest.mark.parametrize("name", [name for name in TREES if name not in WITHOUT_TEST])
def test_the_protocol_of_a_preset_has_queries_with_matches(tmp_path, name):
    splits = read(tmp_path, name)
    labels = split_labels(splits.query, splits.gallery)
    protocol = protocol_of("auto", splits)
    assert set(protocol.needs()) <= set(labels)
    arranged = arrange(protocol, labels, len(splits.query))
    for query, gallery in arranged.draws():
        ours, theirs = (
            {k: v[part] for k, v in arranged.labels.items()} for part in (query, gallery)
        )
        rows, columns = np.nonzero(ours["identity"][:, None] == theirs["identity"])
        assert (~protocol.left_out(ours, theirs, rows, columns)).any()


# Traps, one by one.


def names(splits, part):
    return [path.relative_to(splits.root).as_posix() for path in getattr(splits, part).paths]


def column(splits, part, name):
    """Labels of a column, by their names where they have some."""
    numbers = getattr(splits, part).column(name).tolist()
    known_names = splits.column_names.get(name)
    return [known_names[n] if known_names else n for n in numbers]


@pytest.mark.parametrize("variant", ["single_shot", "multi_shot"])
def test_prid_above_200_is_another_person_in_each_camera(tmp_path, variant):
    files = [f"{variant}/{image}" for image in (
        "cam_a/person_0199", "cam_b/person_0199", "cam_a/person_0200", "cam_b/person_0200",
        "cam_a/person_0201", "cam_b/person_0201", "cam_a/person_0300", "cam_b/person_0300",
        "cam_b/person_0749",
    )]  # fmt: skip
    touch(tmp_path, *(f"{f}/0001.png" if variant == "multi_shot" else f"{f}.png" for f in files))
    splits = known("prid2011", tmp_path, variant=variant, test_share=1).splits()
    assert in_short(splits)[2] == "0199@b 0200@b b0201@b b0300@b b0749@b"
    both = set(splits.query.identities) & set(splits.gallery.identities)
    assert sorted(splits.identity_names[i] for i in both) == ["0199", "0200"]
    tracklets = len(set(splits.gallery.column("tracklet")))
    assert tracklets == (5 if variant == "multi_shot" else 1)


def the_three(splits):
    return [names(splits, part) for part in ("train", "query", "gallery")]


# The first test people by torchreid's own code, run on whole trees (November 2026).
TORCHREID = {
    ("viper", 0): "1 7 8 10 12 14 15", ("viper", 18): "3 4 5 6 7 8 10",
    ("cuhk01", 0): "2 5 8 11 16 19 21", ("cuhk01", 18): "2 3 11 14 16 21 23",
    ("prid2011", 0): "2 5 10 11 12 13 15", ("prid2011", 9): "1 2 3 7 9 20 22",
}  # fmt: skip
WHOLE = {
    "viper": (range(632), ("cam_a/{:03d}_0.bmp", "cam_b/{:03d}_90.bmp")),
    "cuhk01": (range(1, 972), ("campus/{:04d}001.png", "campus/{:04d}003.png")),
    "prid2011": (range(1, 201),
                 ("single_shot/cam_a/person_{:04d}.png", "single_shot/cam_b/person_{:04d}.png")),
}  # fmt: skip


@pytest.mark.parametrize(("name", "split"), TORCHREID)
def test_divisions_without_a_file_are_drawn_as_torchreid_draws_them(name, split):
    """On labels alone: whole trees have thousands of files."""
    people, (ours, theirs) = WHOLE[name]
    own = known(name, "data", split=split)
    layout = own.layouts[own.variant or ""]
    parts = {}
    for part, text in ((QUERY, ours), (GALLERY, theirs)):
        source = layout.sources[part][0]
        inner = [text.format(person).removeprefix(f"{source.folder}/") for person in people]
        parts[part] = [source._image(path, source.groups(path, {})) for path in inner]
    divided, origin = layout.divisions.divided(name, Path("data"), split, parts, ())
    found = [str(int(image.identity)) for image in divided[QUERY]]
    assert " ".join(found[:7]) == TORCHREID[name, split]
    assert len(divided[TRAIN]) == 2 * (len(people) // 2)
    assert f"division {split} of {10 if name == 'prid2011' else 20} drawn by" in origin


def test_an_odd_division_of_viper_exchanges_query_and_gallery(tmp_path):
    first = read(tmp_path, "viper")
    second = known("viper", first.root, split=1).splits()
    assert the_three(second) == [names(first, part) for part in ("train", "gallery", "query")]
    assert first.layout.endswith("; division 0 of 20 drawn by numpy from seed 1")


def test_a_file_of_divisions_is_read_before_any_is_drawn(tmp_path):
    home = plant(tmp_path / "VIPeR", "viper")
    a, b = ([f"elsewhere/{i}", 0, 0] for i in ("cam_a/001_0.bmp", "cam_b/000_90.bmp"))
    c, d = ([f"elsewhere\\{i}", 0, 1] for i in ("cam_a\\000_45.bmp", "cam_b\\001_180.bmp"))
    lists = [{"train": [a, d], "query": [c], "gallery": [b]},
             {"train": [c, b], "query": [d], "gallery": [a]}]  # fmt: skip
    (tmp_path / "splits.json").write_text(json.dumps(lists))
    assert the_three(known("viper", home, split=0).splits()) == [
        ["cam_a/001_0.bmp", "cam_b/001_180.bmp"], ["cam_a/000_45.bmp"], ["cam_b/000_90.bmp"],
    ]  # fmt: skip
    assert the_three(known("viper", home, split=1).splits()) == [
        ["cam_a/000_45.bmp", "cam_b/000_90.bmp"], ["cam_b/001_180.bmp"], ["cam_a/001_0.bmp"],
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"viper: dataset.split must be in \[0, 1\], a division of"):
        known("viper", home, split=2).splits()


@pytest.mark.parametrize("content", [
    "", "{}", "[]", "[3]", "[{}]", '[{"train": ["900_1.bmp"], "test": []}]', '[{"train": 3}]',
    '[{"train": [[]], "test": [null]}]', "[" * 100_000,
])  # fmt: skip
def test_divisions_that_do_not_fit_are_one_line(tmp_path, content):
    home = plant(tmp_path, "viper")
    (home / "splits.json").write_text(content)
    with pytest.raises(UserError, match=r"viper: cannot read the divisions of .*splits.json") as e:
        known("viper", home).splits()
    assert len(str(e.value).splitlines()) == 1
    (home / "splits.json").unlink()
    assert len(known("viper", home).splits().query) == 1, "as the message says"


def test_prid_has_lists_of_people_or_folders(tmp_path):
    single = read(tmp_path, "prid2011").root
    (single / "splits_single_shot.json").write_text('[{"train": [200, 1], "test": [2]}]')
    assert in_short(known("prid2011", single).splits()) == (
        "0001@a 0200@a 0001@b 0200@b", "0002@a", "0002@b b0201@b b0749@b",
    )  # fmt: skip
    home = tmp_path / "prid_2011"
    people = ("0001", "0002", "0003", "0300")
    touch(
        home,
        *several("multi_shot/cam_{}/person_{}/0001.png", *((c, p) for c in "ab" for p in people)),
    )
    lists = [{"train": ["person_0003"], "test": ["person_0001"]}]
    (tmp_path / "splits_prid2011.json").write_text(json.dumps(lists))
    splits = known("prid2011", home, variant="multi_shot").splits()
    assert in_short(splits) == ("0003@a 0003@b", "0001@a", "0001@b"), "178 of the 200 people"


@pytest.mark.parametrize("name", ["grid", "ilids_vid"])
def test_official_divisions_of_matlab_files(tmp_path, name):
    first = read(tmp_path, name)
    second = known(name, first.root, split=1).splits()
    assert set(in_short(first)[1].split()[0]) != set(in_short(second)[1].split()[0])
    assert first.layout.split("; ")[1].startswith("division 0 of 2 of ")
    with pytest.raises(UserError, match=rf"{name}: dataset.split must be in \[0, 1\]"):
        known(name, first.root, split=2).splits()
    file = next(first.root.rglob("*.mat"))
    for broken in (b"MATLAB?", b"", MATLAB_7_3):
        file.write_bytes(broken)
        with pytest.raises(UserError, match=f"{name}: cannot read the divisions of .*{file.name}"):
            known(name, first.root).splits()
    savemat(file, {"ls_set": np.array([[7, 8]]), "other": 1})
    with pytest.raises(UserError, match="people in each row"):
        known(name, first.root).splits()
    file.unlink()
    with pytest.warns(UserWarning, match=f"{name}: no .*, the file of the official divisions: the"):
        assert known(name, first.root).splits().layout.endswith("; divided by this package")
    with pytest.raises(UserError, match=rf"{name}: dataset.split=1 needs .*{file.name}"):
        known(name, first.root, split=1).splits()


def test_a_division_contradicts_a_share_of_the_people():
    with pytest.raises(ValueError, match="split must be 0 without official divisions, got 3"):
        known("viper", "data", split=3, test_share=0.5)
    with pytest.raises(ValueError, match="split must be 0 without"):
        known("cargo", "data", split=3)


def test_cuhk03_has_twenty_divisions_beside_its_images(tmp_path):
    home = read(tmp_path, "cuhk03").root
    train, test = (several("x/{}_{:03d}_{}_01.png", *c) for c in (
        [(2, 1, 1), (1, 2, 1)], [(1, 1, 1), (1, 1, 2)],
    ))  # fmt: skip
    listed = [{"train": [[i, 0, 0] for i in train], "query": [[i, 0, 0] for i in test]}]
    (home / "splits_classic_detected.json").write_text(json.dumps(listed))
    assert in_short(known("cuhk03", home).splits()) == (
        "1_002@0 2_001@0 1_002@1 2_001@1", "1_001@0", "1_001@1"
    )  # fmt: skip


def test_all_of_randperson_is_read_without_its_subset_and_deleted_images(tmp_path):
    touch(tmp_path, *several(
        "images/{}/000000_s0{}_c00_f000264.jpg",
        ("scene00/camera0_1", 0), ("scene00/delete_camera0_1", 0), ("scene01", 1), ("subset", 2),
    ))  # fmt: skip
    splits = known("randperson", tmp_path).splits()
    assert names(splits, "train") == [
        "images/scene00/camera0_1/000000_s00_c00_f000264.jpg",
        "images/scene01/000000_s01_c00_f000264.jpg",
    ]
    assert in_short(splits)[0] == "0@s00_c00 0@s01_c00"
    assert in_short(known("randperson", tmp_path / "images").splits())[0] == "0@s02_c00"


def test_ltcc_calls_the_gallery_test_and_its_images_are_no_queries(tmp_path):
    splits = read(tmp_path, "ltcc")
    assert names(splits, "query") == ["query/005_1_c1_000001.png"]
    assert names(splits, "gallery") == [
        "test/005_1_c2_000002.png", "test/005_2_c1_000009.png", "test/005_3_c3_000003.png",
    ]  # fmt: skip
    assert column(splits, "gallery", "clothes") == ["005_1", "005_2", "005_3"]
    assert splits.protocol == "clothes_changed"


def test_grid_has_distractors_in_the_gallery_alone(tmp_path):
    splits = read(tmp_path, "grid", test_share=1)
    assert in_short(splits)[1:] == ("1@0 2@1", "0@2 0@3 1@4 2@5")
    touch(splits.root, "probe/0000_1_25004_9.jpeg")
    with pytest.raises(UserError, match=r"grid: 1 query image\(s\) of a distractor"):
        known("grid", splits.root).splits()


def test_mars_has_junk_distractors_and_queries_in_the_gallery(tmp_path):
    splits = read(tmp_path, "mars")
    assert not any("00-1" in name for name in names(splits, "gallery"))
    assert not any("0000" in name for name in names(splits, "query"))
    assert column(splits, "query", "tracklet") == ["bbox_test_3"]
    assert column(splits, "gallery", "tracklet") == [f"bbox_test_{n}" for n in (2, 3, 4, 4)]
    assert column(splits, "train", "tracklet") == [f"bbox_train_{n}" for n in (1, 1, 2)]


def test_the_order_of_a_list_with_tracklets_is_without_influence(tmp_path):
    first = read(tmp_path, "mars")
    file = first.root / "info/train_name.txt"
    one, other, *rest = file.read_text().splitlines()  # of one tracklet
    file.write_text("\n".join([other, one, *rest]) + "\n")
    second = known("mars", first.root).splits()
    assert one != other
    assert names(first, "train") == names(second, "train") == sorted(names(first, "train"))


MATLAB_7_3 = b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(384) + b"\x89HDF\r\n\x1a\n"
"""Head of a file saved with -v7.3: a text, version 0x0200, then HDF5."""


@pytest.mark.parametrize("numbers", [[[0, 1, 1, 1]], [[1, 4, 1, 1]], [[1]]])
def test_tracklets_that_do_not_fit_their_names_are_refused(tmp_path, numbers):
    home = read(tmp_path, "mars").root
    savemat(home / "info/tracks_train_info.mat", {"track_train_info": np.array(numbers)})
    with pytest.raises(UserError, match=r"mars: .*tracks_train_info.mat") as caught:
        known("mars", home).splits()
    assert len(str(caught.value).splitlines()) == 1
    (home / "info/tracks_train_info.mat").write_bytes(b"MATLAB?")
    with pytest.raises(UserError, match=r"mars: cannot read .*tracks_train_info.mat: "):
        known("mars", home).splits()
    (home / "info/tracks_train_info.mat").write_bytes(MATLAB_7_3)
    with pytest.raises(UserError, match=r"tracks_train_info.mat: it is of MATLAB 7.3; save it in"):
        known("mars", home).splits()


def test_mevid_counts_from_0_and_its_lists_may_lie_in_a_folder(tmp_path):
    home = plant(tmp_path, "mevid")
    first = known("mevid", home).splits()
    for name in TEXTS["mevid"]:
        touch(home, f"mevid-v1-annotation-data/{name}")
        (home / name).rename(home / "mevid-v1-annotation-data" / name)
    second = known("mevid", home).splits()
    assert in_short(first) == in_short(second)
    assert column(first, "query", "clothes") == ["0205_002"]


def test_dukemtmc_videoreid_has_two_namings(tmp_path):
    splits = read(tmp_path, "dukemtmc_videoreid")
    assert "_C6_F0099_X" in names(splits, "train")[0]
    assert "C12F0001X" in names(splits, "gallery")[0]
    assert column(splits, "train", "frame") == [99, 101]
    assert len({*column(splits, "query", "tracklet"), *column(splits, "gallery", "tracklet")}) == 2


def test_deepchange_has_cameras_beside_its_tracklets(tmp_path):
    splits = read(tmp_path, "deepchange")
    assert splits.query.cameras.tolist() == [1]
    assert column(splits, "query", "tracklet") == [900]
    assert column(splits, "gallery", "clothes") == ["16_20200413", "16_20200501"]
    (splits.root / "train-set-bbox.txt").write_text("P1_C2_20200413_07_4_2.jpg\n")
    with pytest.raises(UserError, match=r'1 line\(s\) of .*, the first is "P1_C2_20200413_07_4_2'):
        known("deepchange", splits.root).splits()


def test_sysu_indoor_search_has_a_gallery_of_two_cameras(tmp_path):
    splits = read(tmp_path, "sysu_mm01", variant="indoor")
    assert splits.protocol == "sysu_indoor_search"
    assert set(splits.gallery.cameras) == {0, 1}
    assert set(splits.query.cameras) == {2, 5}
    assert set(column(splits, "query", "modality")) == {"infrared"}
    assert set(column(splits, "gallery", "modality")) == {"visible"}
    assert not any("0009" in name for name in names(splits, "train")), "in none of the lists"


def test_prcc_asks_for_other_or_for_the_same_clothes(tmp_path):
    changed = read(tmp_path, "prcc")
    assert column(changed, "query", "clothes") == ["002C"]
    assert column(changed, "train", "clothes") == ["001", "001", "001C"]
    same = known("prcc", changed.root, variant="same")
    assert column(same.splits(), "query", "clothes") == ["002"]
    assert (same.splits().protocol, same.facts.query.images) == ("prcc_same_clothes", 3_873)
    assert changed.gallery.cameras.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("name", "settings", "queries"),
    [
        ("ltcc", {
            "pattern": r"(?P<split>\w+)/(?P<identity>\d+)_(?P<outfit>\d+)_c(?P<camera>\d+)_",
            "clothes": "{identity}_{outfit}",
        }, ["query/005_1_c1_000001.png"]),
        ("mars", {
            "pattern": r"bbox_(?P<split>train|test)/[^/]+/(?P<identity>00-1|\d{4})C(?P<camera>\d)T",
        }, ["bbox_test/0002/0002C1T0001F001.jpg"]),
        ("ag_reid_v2", {
            "pattern": r"^(?P<split>\w+)/[^/]+/P(?P<P>\d+)T(?P<T>\d+)A(?P<A>\d)C(?P<camera>\d)",
            "identity": "{P}{T}{A}", "splits": {"train": ["train_all"]},
        }, ["query/P0001T04042A0/P0001T04042A0C3F1.jpg"]),
        ("occluded_reid", {
            "pattern": r"(?P<split>\w+)_body_images/(?P<identity>\d+)/",
            "splits": {"query": ["occluded"], "gallery": ["whole"]},
        }, ["occluded_body_images/001/001_01.tif", "occluded_body_images/002/002_01.tif"]),
    ],
)  # fmt: skip
def test_the_trees_are_read_by_patterns_of_the_user(tmp_path, name, settings, queries):
    """Junk and distractors are no queries, and a gallery called test has none."""
    home = plant(tmp_path, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        splits = ImageFolder(root=home, **settings).splits()
        table = tmp_path / "labels.csv"
        parts = {
            split: told(splits, getattr(splits, split)) for split in ("train", "query", "gallery")
        }
        lines = [f"{path},{identity},{camera},{split}" for split, images in parts.items()
                 for path, identity, camera in images]  # fmt: skip
        table.write_text("path,identity,camera,split\n" + "\n".join(lines).replace(",-1", ","))
        again = ImageFolder(root=home, table=table).splits()
    assert names(splits, "query") == queries
    assert the_three(again) == the_three(splits), "a table says the same"
    tested = {*splits.query.identities.tolist(), *splits.gallery.identities.tolist()} - {-1}
    assert tested.isdisjoint(splits.train.identities.tolist())


def test_vc_clothes_compares_two_pairs_of_cameras(tmp_path):
    home = read(tmp_path, "vc_clothes").root
    for variant, cameras in (("same_clothes", {1, 2}), ("clothes_changed", {2, 3})):
        splits = known("vc_clothes", home, variant=variant).splits()
        assert {*splits.query.cameras.tolist(), *splits.gallery.cameras.tolist()} <= cameras
        assert splits.protocol == variant
        assert len(splits.gallery) == 2


def test_vehicleid_has_a_test_list_that_its_protocol_draws_from(tmp_path):
    splits = read(tmp_path, "vehicleid")
    assert sorted(names(splits, "query") + names(splits, "gallery")) == [
        f"image/000000{i}.jpg" for i in (2, 3, 4, 5)
    ]
    assert splits.protocol == "vehicleid"
    assert known("vehicleid", splits.root, variant=800).variant == "800"


def test_an_image_of_the_same_session_is_no_match(tmp_path):
    touch(tmp_path, "q/1_c1_s7.jpg", "g/1_c2_s7.jpg", "g/1_c2_s8.jpg", "t/2_c1_s1.jpg")
    splits = DeclaredLayout(
        tmp_path, "own", {"train": "t", "query": "q", "gallery": "g"}, example="1_c1_s1.jpg",
        pattern=r"(?P<identity>\d)_c(?P<camera>\d)_s(?P<session>\d)",
    ).splits()  # fmt: skip
    query, *gallery = [image for image in split_images(splits) if image.split != "train"]
    assert [is_match(query, image) for image in gallery] == [False, True]


def test_a_tracklet_is_one_of_its_camera_and_no_match(tmp_path):
    touch(tmp_path, "q/1_c1_t7.jpg", "g/1_c1_t7.jpg", "g/1_c2_t7.jpg", "t/2_c1_t1.jpg")
    own = {"train": "t", "query": "q", "gallery": "g"}
    reading = {"example": "1_c1_t1.jpg", "pattern": r"(?P<identity>\d)_c(\d)_t(?P<tracklet>\d)"}
    unknown = DeclaredLayout(tmp_path, "own", own, **reading).splits()
    query, *gallery = [image for image in split_images(unknown) if image.split != "train"]
    assert [is_match(query, image) for image in gallery] == [False, False], "without cameras"
    reading["pattern"] = reading["pattern"].replace(r"c(\d)", r"c(?P<camera>\d)")
    splits = DeclaredLayout(tmp_path, "own", own, **reading).splits()
    query, *gallery = [image for image in split_images(splits) if image.split != "train"]
    assert [is_match(query, image) for image in gallery] == [False, True]
    labels = {k: np.array(v) for k, v in split_labels(splits.query, splits.gallery).items()}
    rows, columns = np.array([0, 0]), np.array([1, 2])
    for name in ("other_tracklet", "market1501"):
        assert PROTOCOLS[name].left_out(labels, labels, rows, columns).tolist() == [True, False]


def test_sightings_are_sessions_else_tracklets_of_cameras():
    columns = {"session": np.array([5, 5, -1, -1, -1, -1]),
               "tracklet": np.array([1, 2, 1, 1, 1, -1])}  # fmt: skip
    records = Records(tuple(map(Path, "abcdef")), np.zeros(6, int), np.array([0, 1, 0, 0, 1, 0]),
                      columns)  # fmt: skip
    seen = records.sightings().tolist()
    assert seen[0] == seen[1] != seen[2] == seen[3] != seen[4]
    assert (seen[5], len(set(seen))) == (-1, 4)
    assert records.select([0, 5]).sightings().tolist()[1] == -1
    both = records.select([0, 2]).joined(records.select([1, 3])).sightings().tolist()
    assert both[0] == both[2] != both[1] == both[3]
    named = Splits("own", Path(), records, records, records, column_names={"session": ("",) * 6})
    assert [i.sighting for i in listed_split(named, "train")][2:] == [
        "0 tracklet 1", "0 tracklet 1", "1 tracklet 1", "",
    ]  # fmt: skip


def test_a_query_has_a_match_in_another_session_of_the_same_camera_name(tmp_path):
    """verify looks at all gallery images of an identity and camera, not at one."""
    touch(tmp_path, "q/1_s7.jpg", "q/3_s1.jpg", "g/1_s7.jpg", "g/1_s8.jpg", "g/1_s9.jpg",
          "g/3_s1.jpg", "t/2_s1.jpg")  # fmt: skip
    (tmp_path / "g/1_s9.jpg").rename(tmp_path / "g/1_s07.jpg")
    splits = DeclaredLayout(
        tmp_path, "own", {"train": "t", "query": "q", "gallery": "g"}, example="1_s1.jpg",
        pattern=r"(?P<identity>\d)_s(?P<session>\d+)",
    ).splits()  # fmt: skip
    parts = (splits.train, splits.query, splits.gallery)
    looks = [inspect(path) for records in parts for path in records.paths]
    found = {check.key: check.items for check in run_checks(splits, Facts(), looks)}
    assert list(found["unmatched"]) == ["q/3_s1.jpg"]


def test_veri_wild_needs_its_table_of_cameras(tmp_path):
    home = read(tmp_path, "veri_wild").root
    table = home / "train_test_split/vehicle_info.txt"
    table.write_text(table.read_text().replace("00001/000002", "00001/000009"))
    with pytest.raises(UserError, match=r"1 line\(s\) of .*train_list.txt do not match"):
        known("veri_wild", home).splits()
    table.unlink()
    with pytest.raises(UserError, match=r"no list train_test_split/vehicle_info.txt in"):
        known("veri_wild", home).splits()


def test_cityflow_is_an_xml_file_of_any_declared_encoding(tmp_path):
    home = read(tmp_path, "cityflow").root
    labels = home / "train_label.xml"
    labels.write_text(labels.read_text().replace("imageName", "image"))
    with pytest.raises(UserError, match="no images for the train split"):
        known("cityflow", home).splits()
    labels.write_text("<TrainingImages>")
    with pytest.raises(UserError, match=r"cityflow: cannot read .*train_label.xml: no element"):
        known("cityflow", home).splits()


def test_sensereid_has_two_names_of_a_folder(tmp_path):
    touch(tmp_path, "test_prob/00001_0.jpg", "test_gallery/00001_1.jpg")
    assert in_short(known("sensereid", tmp_path).splits()) == ("", "1@0", "1@1")


def test_a_test_without_training_images_is_not_trained_with(tmp_path):
    with pytest.raises(UserError, match="sensereid: no training images, only a test; use task="):
        _check_splits(read(tmp_path, "sensereid"), {})


def test_a_training_warns_of_small_cameras(tmp_path):
    own = {"evaluate": {"protocol": "auto"}, "clustering": {"k1": 1}}
    with pytest.warns(UserWarning, match="mars: cameras have .* under 10; if they are sightings"):
        _check_splits(read(tmp_path, "mars"), own)


def test_a_camera_that_the_dataset_does_not_have_is_told(tmp_path):
    touch(tmp_path, "campus/0001005.png")
    with pytest.raises(UserError) as caught:
        known("cuhk01", tmp_path, splits={"query": "campus", "gallery": "campus"}).splits()
    assert "have a camera that the dataset does not have, the first is " in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patern": "x"}, "patern is no such setting; valid: home, splits"),
        ({"splits": {"val": "x"}}, "splits must be settings of some of train, query, gallery,"),
        ({"splits": {"train": {"folders": "x"}}}, "splits.train must be some of folder, list"),
        ({"pattern": "("}, "pattern must be a regular expression, got '\\('"),
        ({"identity": "{nobody}"}, "identity must name groups in braces, some of .*'{nobody}'"),
        ({"identity": "{"}, "identity must name groups in braces"),
        ({"identity": 7}, "identity must be a text such as"),
        ({"where": {"nobody": [1]}}, "where must name groups"),
        ({"where": [1]}, r"where must be {GROUP: \[VALUES\]}"),
        ({"list": 3}, "list must be a file or a list of files, got 3"),
        ({"join": {"list": "x"}}, "join must be {list: FILE, line: EXPRESSION}"),
        ({"tracklets": {"range": "x"}}, "tracklets must be {ranges: FILE"),
        ({"cameras": "abc"}, r"cameras must be \[NAMES\] or {NAME: NUMBER}, got 'abc'"),
        ({"facts": {"train": {"images": "many"}}}, "facts.train.images must be a number"),
        ({"facts": {"val": {}}}, "facts must be of train, query, gallery, total, got val"),
        ({"facts": {"train": {"pictures": 1}}}, "facts.train must have some of images, ident"),
        ({"facts": 3}, "facts must be"),
        ({"test_share": 2}, r"test_share must be in \[0, 1\], got 2"),
        ({"one_numbering": "no"}, "one_numbering must be true or false"),
    ],
)  # fmt: skip
def test_settings_of_a_layout_are_checked(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        known("cargo", "data", **changes)
