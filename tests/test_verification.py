"""Verification: every kind of damage is found, and what is sound is called so."""

import json
import re
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conftest import Command
from dccc_lightning.cli import conf_dir
from dccc_lightning.data.audit import inspection
from dccc_lightning.data.audit.image_sizes import Range, Sizes
from dccc_lightning.data.audit.inspection import inspect, inspect_all
from dccc_lightning.data.audit.verification import examine, run_checks
from dccc_lightning.data.datasets.market_layout import read_market_layout
from dccc_lightning.data.datasets.official_counts import Counts, Facts, Unverified
from dccc_lightning.data.records import UNKNOWN, Records, Splits
from trees import LISTS, grow_msmt, known, picture

PAGE = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text()
TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
TREE = [
    f"{TRAIN}/0001_c1s1_000001_00.jpg",
    f"{TRAIN}/0001_c2s1_000001_00.jpg",
    f"{TRAIN}/0002_c1s1_000001_00.jpg",
    f"{QUERY}/0003_c1s1_000001_00.jpg",
    f"{QUERY}/0004_c2s1_000001_00.jpg",
    f"{GALLERY}/0000_c1s1_000001_00.jpg",
    f"{GALLERY}/0003_c2s1_000001_00.jpg",
    f"{GALLERY}/0004_c1s1_000001_00.jpg",
]


def save(path, number):
    """Write a small image that no other number has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (16, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def home(tmp_path):
    for number, name in enumerate(TREE):
        save(tmp_path / "own" / name, number)
    return tmp_path / "own"


def report_of(home, facts=Facts()):  # noqa: B008  (frozen)
    return examine(read_market_layout("own", home), facts, progress=False)


def found(report):
    return {check.key: check.items for check in report.checks if check.items}


def test_sound(home):
    report = report_of(home)
    assert report.errors == report.warnings == []
    assert found(report) == {}
    counts = {(f.split, f.measure): f.found for f in report.figures}
    assert counts == {
        ("train", "images"): 3, ("train", "identities"): 2, ("train", "cameras"): 2,
        ("query", "images"): 2, ("query", "identities"): 2, ("query", "cameras"): 2,
        ("gallery", "images"): 3, ("gallery", "identities"): 3, ("gallery", "cameras"): 2,
        ("total", "images"): 8, ("total", "identities"): 5, ("total", "cameras"): 2,
    }  # fmt: skip


def png_of(width, height):
    """A PNG that claims a size and has no pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"")


def test_files(home):
    whole = (home / TREE[0]).read_bytes()
    (home / TREE[0]).write_bytes(b"")
    (home / TREE[3]).write_bytes(whole[:-40])
    (home / TREE[5]).write_text("no image")
    (home / TREE[6]).write_bytes(png_of(9_000, 8_000))
    items = found(report_of(home))
    assert items.pop("empty") == (TREE[0],)
    broken = items.pop("unreadable")
    assert [line.partition(":")[0] for line in broken] == [TREE[3], TREE[5], TREE[6]]
    assert "truncated" in broken[0]
    assert "not an image" in broken[1]
    assert "8,000 x 9,000 pixels" in broken[2]
    assert items == {}, "an empty or a broken file is nothing else besides"


def test_what_training_cannot_turn_to_rgb_is_unreadable(home):
    for place, value in ((0, 200), (1, np.nan)):
        pixels = np.full((16, 8), value, dtype=np.float32)
        Image.fromarray(pixels).save(home / TREE[place], format="TIFF")
    Image.new("RGB", (8, 16)).save(home / TREE[2], format="GIF")
    assert found(report_of(home))["unreadable"] == (
        f"{TREE[1]}: values that are not finite; convert it to 8 bits",
        f"{TREE[2]}: GIF, an unsupported format; convert it to JPEG or PNG",
    )


def test_a_file_that_is_gone(home):
    splits = read_market_layout("own", home)
    (home / TREE[1]).unlink()
    (item,) = found(examine(splits, Facts(), progress=False))["unreadable"]
    assert item == f"{TREE[1]}: No such file or directory"


COPIES = {
    "other identity in training": (TREE[0], TREE[2], "two_identities"),
    "other identity in the test": (TREE[3], TREE[7], "two_identities"),
    "a person as a distractor": (TREE[5], TREE[6], "two_identities"),
    "test image in training": (TREE[1], TREE[6], "leaked"),
    "query under another camera": (TREE[3], TREE[6], "query_in_gallery"),
    "twice in training": (TREE[0], TREE[1], "duplicates"),
}


@pytest.mark.parametrize("case", COPIES)
def test_copies(home, case):
    one, other, key = COPIES[case]
    shutil.copy(home / one, home / other)
    report = report_of(home)
    assert found(report) == {key: (f"{one} = {other}",)}
    assert (len(report.errors), len(report.warnings)) == ((0, 1) if key == "duplicates" else (1, 0))


@pytest.mark.parametrize("case", COPIES)
def test_copies_that_were_saved_anew(home, case):
    one, other, key = COPIES[case]
    image = picture(0)
    image.save(home / one, quality=95)
    image.resize((48, 96), Image.Resampling.BICUBIC).save(home / other, quality=80)
    report = report_of(home)
    ((found_key, (item,)),) = found(report).items()
    assert found_key == f"near_{key}"
    assert re.fullmatch(rf"{one} ~ {other} \(\d+ bits\)", item)
    assert (len(report.errors), len(report.warnings)) == (0, 1)


def test_near_duplicates_are_no_news_where_the_files_are_equal(home):
    picture(0).save(home / TREE[0])
    shutil.copy(home / TREE[0], home / TREE[1])
    picture(0).save(home / TREE[2], quality=90)
    items = found(report_of(home))
    assert set(items) == {"duplicates", "near_two_identities"}
    assert len(items["near_two_identities"]) == 1


def test_sizes_and_pages(home):
    report = report_of(home)
    assert report.sizes == Sizes(
        Range(8, 8, 8), Range(16, 16, 16), Range(2, 2, 2), 1, 0, ((8, 16, 8),)
    )
    pages = [picture(number, (30, 10)) for number in range(2)]
    pages[0].save(home / TREE[0], format="TIFF", save_all=True, append_images=pages[1:])
    turned = Image.Exif()
    turned[0x0112] = 6
    pages[1].save(home / TREE[1], exif=turned)
    report = report_of(home)
    assert report.sizes is not None
    assert report.sizes.width == (8, 8, 30)
    assert report.sizes.aspect == (1 / 3, 2, 3)
    assert (report.sizes.different, report.sizes.wide) == (3, 1)
    assert report.sizes.common == ((8, 16, 6), (10, 30, 1), (30, 10, 1))
    assert found(report) == {"pages": (f"{TREE[0]}: 2 pages",)}


def test_a_query_that_the_filter_takes_out_of_the_gallery(home):
    """As VeRi-776 has it: harmless, and no news where it is intended."""
    copy = home / GALLERY / Path(TREE[3]).name
    shutil.copy(home / TREE[3], copy)
    assert found(report_of(home)) == {"duplicates": (f"{TREE[3]} = {copy.relative_to(home)}",)}
    intended = Facts(gallery_holds_queries=True)
    assert found(report_of(home, intended)) == {}
    shutil.copy(copy, home / GALLERY / "0003_c1s1_000002_00.jpg")
    assert len(found(report_of(home, intended))["duplicates"]) == 1, "twice in the gallery"


def test_unknown_cameras_leave_a_copy_of_the_query_in(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / name, name == "c.png")
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    parts = [Records.from_rows([(path, 5, UNKNOWN)]) for path in paths[:2]]
    train = Records.from_rows([(paths[2], UNKNOWN, UNKNOWN)])
    report = examine(Splits("own", tmp_path, train, *parts), Facts(), progress=False)
    assert found(report) == {"query_in_gallery": ("a.png = b.png",)}


def test_identities_in_training_and_test(home):
    save(home / TRAIN / "0003_c1s1_000009_00.jpg", 99)
    report = report_of(home)
    assert found(report) == {"shared_identities": ("0003",)}
    splits = read_market_layout("own", home)
    assert splits.query.identities.min() > splits.train.identities.max(), "moved, and yet told"


def test_identities_that_a_dataset_left_together(home):
    splits = read_market_layout("own", home)
    splits.query.identities[:] = 2
    report = examine(splits, Facts(), progress=False)
    assert found(report)["shared_identities"] == ("0002",)


def test_msmt17_numbers_training_and_test_apart(tmp_path):
    home = grow_msmt(tmp_path / "MSMT17_V1")
    for number, path in enumerate(sorted(home.rglob("*.jpg"))):
        save(path, number)
    with pytest.warns(UserWarning, match="found 2 / 1 / 2"):
        splits = known("msmt17", home).splits()
    checks = {check.key: check for check in examine(splits, Facts(), progress=False).checks}
    assert checks["shared_identities"].items is None, "0 is somebody else in the test"
    assert checks["two_identities"].items == checks["empty"].items == ()


def test_an_image_listed_twice(tmp_path):
    twice = LISTS | {"list_val.txt": LISTS["list_train.txt"]}
    home = grow_msmt(tmp_path, lists=twice)
    for number, path in enumerate(sorted(home.rglob("*.jpg"))):
        save(path, number)
    with pytest.warns(UserWarning, match="expected"):
        splits = known("msmt17", home).splits()
    assert len(found(examine(splits, Facts(), progress=False))["duplicates"]) == 1


def test_queries_without_a_match(home):
    (home / TREE[6]).rename(home / GALLERY / "0003_c1s1_000001_00.jpg")
    report = report_of(home)
    assert found(report) == {"unmatched": (TREE[3],)}
    assert report.errors == []
    (home / TREE[7]).unlink()
    assert report_of(home).errors == ["queries without a match: 2"]


def test_counts_fail_where_they_are_sure_and_warn_where_not(home):
    facts = Facts(
        train=Counts(3, 9),
        query=Counts(Unverified(7), cameras=2),
        total=Counts(cameras=Unverified(2)),
    )
    report = report_of(home, facts)
    assert report.errors == ["2 identities in train, expected 9"]
    assert report.warnings == ["2 images in query, expected 7"]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 2)), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 2)), max_size=6),
)
def test_unmatched_queries_are_those_that_evaluation_skips(query, gallery):
    def records(name, rows):
        return Records.from_rows([(Path(f"{name}{i}"), *row) for i, row in enumerate(rows)])

    splits = Splits("own", Path(), records("t", []), records("q", query), records("g", gallery))
    looks = [inspection.Inspection(None)] * (len(query) + len(gallery))
    checks = {check.key: check for check in run_checks(splits, Facts(), looks)}
    expected = tuple(
        f"q{i}"
        for i, (identity, camera) in enumerate(query)
        if identity >= 0
        and not any(i == identity and not (c == camera and c >= 0) for i, c in gallery)
    )
    assert checks["unmatched"].items == expected


def test_a_path_is_read_once_and_the_order_stays(tmp_path, monkeypatch):
    paths = [tmp_path / f"{number}.png" for number in range(20)]
    for number, path in enumerate(paths):
        save(path, number)
    read = []
    monkeypatch.setattr(inspection, "inspect", lambda path: read.append(path) or inspect(path))
    chosen = [*paths[::-1], *paths[:5]]
    looks = inspect_all(chosen, progress=False)
    assert sorted(read) == sorted(paths)
    assert [look.digest for look in looks] == [inspect(path).digest for path in chosen]
    assert len({look.digest for look in looks}) == 20


def test_verify_says_fit(command: Command, tiny: list[str], tmp_path: Path) -> None:
    outcome = command("task=verify", "output=run", *tiny)
    assert outcome.code == 0, outcome
    assert outcome.err == ""
    assert "layout: {bounding_box_train,query,bounding_box_test}" in outcome.out
    assert "verdict: fit, 0 errors, 0 warnings\n" in outcome.out
    results = json.loads((tmp_path / "run" / "verify.json").read_text())
    assert results["is_fit"] is True
    assert results["counts"]["train"]["identities"] == {
        "found": 16, "official": None, "verified": False,
    }  # fmt: skip
    assert results["checks"]["unreadable"] == {"fatal": True, "items": []}


def test_verify_counts_what_the_reader_warns_of(command: Command, tmp_path: Path) -> None:
    rows = ["path,identity"]
    for number in range(4):
        save(tmp_path / "crops" / f"{number}.png", number)
        rows.append(f"{number}.png,{'unknown' if number else 'anna'}")
    save(tmp_path / "crops" / "noise.png", 9)
    (tmp_path / "crops" / "noise.png").rename(tmp_path / "crops" / "noise")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    place = ["task=verify", "dataset=folder", f"dataset.root={tmp_path / 'crops'}"]
    outcome = command(*place, "output=a")
    assert outcome.code == 0
    assert "crops: 1 file is an image by the first bytes" in outcome.err
    assert "verdict: fit, 0 errors, 1 warning\n" in outcome.out
    assert "width x height: 8 x 16: 4; wider than tall: 0\n" in outcome.out
    outcome = command(*place, f"dataset.table={tmp_path / 'labels.csv'}", "output=b")
    assert outcome.code == 0
    line = (
        "folder: treated as unknown: identity 'unknown' of 3 images; dataset=folder "
        "dataset.unknown=[WORDS] sets these words"
    )
    assert f"warning: {line}\n" in outcome.err
    results = json.loads((tmp_path / "b" / "verify.json").read_text())
    assert results["warnings"] == [line]
    outcome = command(*place, r"dataset.pattern='(?P<camera>\d)'", "output=c")
    assert outcome.err.count("folder: cameras have 1.0 images on average") == 1, "once, not twice"
    assert results["sizes"]["aspect"] == {"smallest": 2.0, "median": 2.0, "largest": 2.0}


def test_verify_says_not_fit_in_one_line_and_keeps_its_report(
    command: Command, home: Path, tmp_path: Path
) -> None:
    (home / TREE[0]).write_bytes(b"")
    (home / TREE[6]).write_text("[red]no image[/red]")
    outcome = command("task=verify", "dataset=market1501", f"dataset.root={home}", "output=run")
    assert outcome.code == 2
    line = outcome.err.splitlines()[-1]  # after a warning about small cameras
    assert line.startswith(f"error: market1501 in {home} is not fit: ")
    assert "3 images in train, expected 12,936" in line
    assert "; empty files: 1; files that cannot be decoded: 1; " in line
    assert line.endswith(f"{tmp_path / 'run' / 'verify.json'} has the files")
    assert f"\n  {TREE[6]}: not an image of a known format\n" in outcome.out
    assert "3, not 12,936" in outcome.out
    assert "verdict: not fit" in outcome.out
    results = json.loads((tmp_path / "run" / "verify.json").read_text())
    assert results["is_fit"] is False
    assert results["checks"]["empty"]["items"] == [TREE[0]]
    assert outcome.err.count("market1501: cameras have ") == 1
    assert any(text.startswith("market1501: cameras have ") for text in results["warnings"])


def test_verify_of_nothing_leaves_nothing(command: Command, tmp_path: Path) -> None:
    outcome = command("task=verify", "dataset=last", f"dataset.root={tmp_path / 'data'}")
    assert outcome.code == 2
    assert f"last: no folder {tmp_path / 'data'}; expected" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_the_page_has_every_dataset() -> None:
    options = {path.stem for path in (conf_dir() / "dataset").glob("*.yaml")}
    assert options <= set(re.findall(r"`dataset=(\w+)`", PAGE))


def test_the_page_has_the_official_counts() -> None:
    boxes = [known("cuhk03_np", "", variant=name) for name in ("labeled", "detected")]
    for facts in (dataset.facts for dataset in (*boxes, known("last", ""), known("veri776", ""))):
        for split in (facts.train, facts.query, facts.gallery):
            doubt = "?" if isinstance(split.images, Unverified) else ""
            assert f"{split.images:,}{doubt}" in PAGE


def test_the_python_of_the_page_runs(
    world_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DCCC_CACHE", str(world_folder))
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(snippet, {})
    assert capsys.readouterr().out == "[] []\n"
