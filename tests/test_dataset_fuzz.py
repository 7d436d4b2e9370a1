"""Whatever lies in a dataset's folder: records, or an error of one line."""

import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from dccc_lightning.data.datasets.file_names import MARKET_FOLDERS
from dccc_lightning.data.datasets.official_counts import CountWarning
from dccc_lightning.errors import UserError
from trees import known

LIST_FILES = ("list_train.txt", "list_val.txt", "list_query.txt", "list_gallery.txt")
PARTS = ("image_train", "image_query", "image_test")
ANYWHERE = ("train", "test", "test/query", "test/gallery", "train/0001", "test/gallery/7")
KINDS = {
    "market1501": (["", "Market-1501-v15.09.15"], ["0001_c1s1_001051_00.jpg", "-1_c1s1_1_03.jpg"]),
    "dukemtmc": (["", "DukeMTMC-reID"], ["0005_c2_f0046985.jpg", "0006_c8_f0046985.jpg"]),
    "occluded_duke": (["", "Occluded_Duke"], ["0005_c2_f0046985.jpg"]),
    "personx": (["", "PersonX"], ["0001_c10s1_000001_00.jpg", "0002_c3s1_000001_00.jpg"]),
    "veri776": (["", "VeRi"], ["0002_c002_00030600_0.jpg"]),
    "cuhk03_np": (["detected", "cuhk03-np/detected"], ["0003_c1_21.png"]),
    "last": (["", "last"], ["000001_0001.jpg", "7.jpg", "000001_c1.png"]),
    "msmt17": (["", "MSMT17_V1", "MSMT17_V2"], ["0000_c12_0008.jpg", "0001_c1s1_1_1.jpg"]),
}
"""Where each dataset may lie, and names that it can read."""


@st.composite
def file_names(draw, examples):
    """Valid names, names of one changed character, and anything a file system takes, in bytes."""
    name = draw(st.sampled_from(examples))
    kind = draw(st.sampled_from([*["valid"] * 8, "changed", "digits", "bytes", "text"]))
    if kind == "changed":
        at = draw(st.integers(0, len(name)))
        name = name[:at] + draw(st.text(max_size=2)) + name[at + 1 :]
    elif kind == "digits":
        name = draw(st.from_regex(r"[0-9]{1,40}_c[0-9]{1,40}(s1)?_1\.jpg", fullmatch=True))
    elif kind == "text":
        name = draw(st.text(min_size=1, max_size=20)) + draw(st.sampled_from(["", ".jpg", ".PNG"]))
    encoded = os.fsencode(name.encode("utf-8", "replace"))
    if kind == "bytes":
        encoded = draw(st.binary(min_size=1, max_size=20)) + b".jpg"
    encoded = encoded.replace(b"/", b"_").replace(b"\0", b"_")[:200]
    return b"_" if encoded in (b"", b".", b"..") else encoded


def outcome(dataset):
    """The splits, or None and a message that was checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CountWarning)
        try:
            splits = dataset.splits()
        except UserError as error:
            message = str(error)
        else:
            message = ""
    if message:
        assert message.splitlines() == [message]
        message.encode()  # can be printed
        return None
    for records in (splits.train, splits.query, splits.gallery):
        assert len(records) > 0
        assert records.identities.dtype == records.cameras.dtype == np.int64
        assert records.identities.min() >= 0
        assert records.cameras.min() >= (-1 if splits.name == "last" else 0)  # it has no cameras
        assert all(Path(path).is_relative_to(splits.root) for path in records.paths)
    test = np.concatenate([splits.query.identities, splits.gallery.identities])
    assert not np.isin(test, splits.train.identities).any()
    return splits


@pytest.mark.parametrize("dataset", KINDS)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_tree(dataset, data):
    homes, examples = KINDS[dataset]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / data.draw(st.sampled_from(homes))
        parts = {"veri776": PARTS, "last": ANYWHERE}.get(dataset, MARKET_FOLDERS)
        if data.draw(st.integers(0, 4)) == 0:
            parts = data.draw(st.lists(st.sampled_from(parts), min_size=1, unique=True))
        for part in parts:
            (home / part).mkdir(parents=True, exist_ok=True)
            for name in data.draw(st.lists(file_names(examples), min_size=1, max_size=3)):
                path = home / part / os.fsdecode(name)
                kind = data.draw(st.sampled_from([*["file"] * 20, "folder", "loop"]))
                if os.path.lexists(path):
                    continue
                if kind == "file":
                    path.touch()
                elif kind == "folder":
                    path.mkdir()
                else:
                    path.symlink_to(path)
        splits = outcome(known(dataset, Path(folder)))
        event("records" if splits else "an error")


@st.composite
def list_lines(draw):
    good = ["0000/0000_000_01_0303morning_0008_0.jpg 0", "0001/0001_000_15_0303noon_0008_0.jpg 7"]
    bad = [f"../{good[0]}", good[0][:-2], good[0].replace(" 0", " -1"), f"{good[0][:-1]}٣", ""]
    line = draw(st.sampled_from([*good * 10, *bad])).encode()
    kind = draw(st.sampled_from([*["valid"] * 12, "changed", "anything"]))
    if kind == "anything":
        return draw(st.binary(max_size=30))
    if kind == "changed" and line:
        at = draw(st.integers(0, len(line)))
        line = line[:at] + draw(st.binary(max_size=300)) + line[at + 1 :]
    return line


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_any_list(data):
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for part in ("train", "test"):
            for name in ("0000_000_01_0303morning_0008_0.jpg", "0001_000_15_0303noon_0008_0.jpg"):
                (home / part / name[:4]).mkdir(parents=True, exist_ok=True)
                (home / part / name[:4] / name).touch()
        for name in LIST_FILES:
            (home / name).write_bytes(b"\n".join(data.draw(st.lists(list_lines(), max_size=3))))
        event("records" if outcome(known("msmt17", home)) else "an error")
