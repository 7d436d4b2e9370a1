"""Tiny trees of every dataset's layout, with the traps that other parsers fall into."""

import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from dccc_lightning.data.datasets.declared_layout import DeclaredLayout
from dccc_lightning.errors import UserError

PRESETS = Path(__file__).parents[1] / "conf" / "dataset"

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


PERSONX = {
    "bounding_box_train": ["0001_c3s1_000001_00.jpg", "0001_c10s1_000002_00.jpg", "Thumbs.db"],
    "query": ["0002_c4s1_000001_00.jpg"],
    "bounding_box_test": ["0002_c12s1_000003_00.jpg", "0002_c8s1_000004_00.jpg"],
}
VERI = {
    "image_train": ["0001_c001_00016450_0.jpg", "0001_c020_00016460_0.jpg"],
    "image_query": ["0002_c002_00030600_0.jpg"],
    "image_test": ["0002_c002_00030600_0.jpg", "0002_c012_00030605_1.jpg"],
}
CUHK = {
    "bounding_box_train": ["0003_c1_21.png", "0003_c2_6.png"],
    "query": ["0001_c1_1.png"],
    "bounding_box_test": ["0001_c2_10.png", "0001_c2_6.png"],
}
OCCLUDED = {
    "bounding_box_train": ["0001_c2_f0046182.jpg", "0001_c7_f0046302.jpg"],
    "query": ["0005_c1_f0044158.jpg"],
    "bounding_box_test": ["0005_c2_f0044159.jpg", "7139_c8_f0001.jpg"],
}
LAST = {
    "train/000010": ["000010_c2_0001.jpg", "b_c7.jpg", ".hidden.jpg", "Thumbs.db"],
    "train/000002": ["000002_0009.jpg"],
    "train/.cache": ["x.jpg"],
    "val/query": ["000050_0001.jpg"],
    "val/gallery/000050": ["000050_0002.jpg"],
    "test/query": ["000010_0003_1.jpg", "000002_0001.jpg"],
    "test/gallery/000010": ["000010_0004.jpg"],
    "test/gallery/000002": ["000002_0002.jpg", "000002_0001.jpg"],
}


def picture(number, size=(64, 128)):
    """A picture with coarse and fine detail, as a crop has."""
    rng = np.random.default_rng(number)
    pixels = np.zeros((size[1], size[0], 3))
    for detail, weight in ((2, 1.0), (4, 0.8), (8, 0.7), (16, 0.6)):
        coarse = Image.fromarray(rng.integers(0, 256, (2 * detail, detail, 3), dtype=np.uint8))
        pixels += weight * np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))
    return Image.fromarray((pixels / 3.1).astype(np.uint8))


def touch(root, *paths):
    """Create empty files, and the folders above them."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def grow(home, tree):
    """Create the tree's files, empty, in no particular order."""
    files = [f"{folder}/{name}" for folder, names in tree.items() for name in names]
    random.Random(0).shuffle(files)
    touch(home, *files)
    return home


def grow_msmt(home, train="train", test="test", lists=None):
    for name, lines in (lists or LISTS).items():
        folder = train if name in {"list_train.txt", "list_val.txt"} else test
        grow(home, {folder: [line.split(" ")[0] for line in lines if line]})
        (home / name).write_text("\n".join(lines) + "\n")
    return home


@cache
def preset(name):
    """Settings of a dataset, as in its file."""
    content = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())
    assert content["defaults"] in ([{"override /model": "resnet50"}], ["base/untuned"])
    return content["dataset"]


def known(dataset, root, **changes):
    """A dataset of conf/dataset, without Hydra."""
    settings = {**preset(dataset), "root": root, **changes}
    own = ("_target_", "on_error", "cache")
    return DeclaredLayout(**{key: value for key, value in settings.items() if key not in own})


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
