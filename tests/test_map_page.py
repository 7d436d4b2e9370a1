"""The page of the map: its data, its sizes, and what a browser does with it."""

import csv
import hashlib
import io
import json
import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser import CHROMIUM, acted
from dccc_lightning.reports import map_page, map_thumbnails
from dccc_lightning.reports.map_frames import (
    MapFrame,
    MapImages,
    make_frame,
    write_frame,
    write_images,
)
from dccc_lightning.reports.map_page import changes, map_data, write_map_page, write_run_map
from test_map import embeddings

NAMES = "a b,\"c'ü</script>"
"""Part of the names of files that is text in every language of a page."""


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    """Images of 6 people by 3 cameras, and frames of two epochs."""
    folder = tmp_path_factory.mktemp("images")
    unit, labels = embeddings()
    paths = []
    for n in range(len(labels)):
        paths.append(str(folder / f"{NAMES.replace('/', '')} {n:02d}.png"))
        Image.new("RGB", (16, 32), (n, 3 * n, 255 - n)).save(paths[-1])
    cameras = [f"cam {n % 3}" for n in range(len(labels))]
    people = [str(n // 12) if n else None for n in range(len(labels))]
    first = make_frame(unit, np.roll(labels, 3), 1)
    later, _ = embeddings(noise=0.25)
    frames = {"epoch 2": first, "epoch 4": make_frame(later, labels, 3, start=first)}
    return MapImages(paths, cameras, people), frames


def unpacked(packed):
    content = np.frombuffer(b64decode(packed["data"]), f"<u{packed['bits'] // 8}")
    return content.astype(np.int64) - 1


def data_of(page):
    return json.loads(re.search("window.mapData = (.*?);</script>", page.read_text())[1])


def test_the_page_has_what_the_frames_have(pictured, tmp_path):
    images, frames = pictured
    write_map_page(tmp_path / "map.html", "map <of> it", images, frames, total=100)
    page = (tmp_path / "map.html").read_text()
    data = data_of(tmp_path / "map.html")
    assert [data["folder"] + path for path in data["paths"]] == images.paths
    assert data["camera"]["names"] == ["cam 0", "cam 1", "cam 2"]
    assert unpacked(data["identity"]["codes"])[:2].tolist() == [-1, 0]
    assert (data["images"], data["group"], data["groups"]) == (100, "cluster", None)
    for told, frame in zip(data["frames"], frames.values(), strict=True):
        np.testing.assert_array_equal(unpacked(told["cluster"]), frame.clusters)
        np.testing.assert_array_equal(unpacked(told["near"]), frame.neighbors.ravel())
        for name, values in (("margin", frame.margins), ("distance", frame.distances)):
            stored = unpacked(told[name])
            np.testing.assert_array_equal(stored < 0, np.isnan(values))
            known = stored >= 0
            np.testing.assert_allclose((stored[known] - 20_000) / 1e4, values[known], atol=6e-5)
        places = np.stack([unpacked(told["x"]), unpacked(told["y"])])
        for stored, wanted in zip(places, frame.points.T, strict=True):
            assert np.corrcoef(stored, wanted)[0, 1] > 0.99999
        assert places.max() == 65_534
    assert "change" not in data["frames"][0]
    assert "<title>map &lt;of&gt; it</title>" in page
    assert NAMES.replace("/", "") + " 00" not in page  # it is escaped
    assert not [p for p in tmp_path.iterdir() if p.name != "map.html"]


def test_a_cluster_keeps_its_colour_and_changes_are_those_of_the_flow(pictured):
    images, frames = pictured
    first, last = frames.values()
    renumbered = replace(first, clusters=np.where(first.clusters < 0, -1, 5 - first.clusters))
    told = map_data(images, {"a": first, "b": renumbered, "c": last})["frames"]
    hues = [unpacked(frame["hue"]) for frame in told]
    assert hues[0].tolist() == list(range(6))
    assert hues[1].tolist() == list(range(6))[::-1]
    known = first.clusters >= 0
    assert set(unpacked(told[1]["change"])[known]) == {0}
    found = changes(np.array([0, 0, 0, 1, -1, -1, 2]), np.array([4, 4, 7, -1, 4, -1, 7]))
    assert [map_page.CHANGES[number] for number in found] == [
        "same cluster", "same cluster", "another cluster", "joined a cluster", "now an outlier",
        "outlier still", "same cluster",
    ]  # fmt: skip


def test_thumbnails_are_in_their_places_and_unreadable_ones_grey(pictured, tmp_path, monkeypatch):
    monkeypatch.setattr(map_thumbnails, "SIDE", 64)
    paths = [*pictured[0].paths[:20], str(tmp_path / "missing.png")]
    sheets = map_thumbnails.make_sheets(paths, 16, map_thumbnails.aspect_of(paths))
    assert (sheets.width, sheets.height, sheets.columns, sheets.rows) == (8, 16, 8, 4)
    assert len(sheets.pictures) == 1
    picture = np.asarray(Image.open(io.BytesIO(sheets.pictures[0])).convert("RGB")).astype(int)
    assert picture.shape == (48, 64, 3)
    tiles = picture.reshape(3, 16, 8, 8, 3).swapaxes(1, 2).reshape(24, 16, 8, 3)
    wanted = [(n, 3 * n, 255 - n) for n in range(20)] + [(128, 128, 128)]
    np.testing.assert_allclose(tiles[:21].mean(axis=(1, 2)), wanted, atol=12)
    assert len(map_thumbnails.make_sheets(paths, 32, 0.5).pictures) == 3


def test_a_page_that_would_be_too_large_has_smaller_thumbnails_or_a_folder(pictured, tmp_path):
    images, frames = pictured
    page, sizes = tmp_path / "map.html", []
    write_map_page(page, "map", images, frames)
    whole = page.stat().st_size
    rest = whole - sum(map(len, data_of(page)["sheets"]))
    for limit in (whole + 3000, rest + 3600, rest):
        size = write_map_page(page, "map", images, frames, limit=limit)
        assert page.stat().st_size <= limit
        beside = list(tmp_path.glob("map_files/*"))
        assert size == page.stat().st_size + sum(path.stat().st_size for path in beside)
        sizes.append((data_of(page)["tile"]["height"] if not beside else 0, len(beside)))
    assert sizes[0] == (96, 0)
    assert 0 < sizes[1][0] < 96
    assert sizes[2] == (0, 2)
    assert 'src="map_files/data.js"' in page.read_text()
    data = json.loads((tmp_path / "map_files/data.js").read_text()[17:-2])
    assert [(tmp_path / name).is_file() for name in data["sheets"]] == [True]


def test_frames_of_another_sample_are_left_out_of_the_page(pictured, tmp_path):
    images, frames = pictured
    folder = tmp_path / "map"
    assert write_run_map(tmp_path / "map.html", "map", folder) == 0
    unit, labels = embeddings()
    write_frame(folder, make_frame(unit[np.arange(9)], labels[:9], 0))
    for frame in frames.values():
        write_frame(folder, frame)
    write_images(folder, images)
    assert write_run_map(tmp_path / "map.html", "map", folder) == 72
    assert [frame["name"] for frame in data_of(tmp_path / "map.html")["frames"]] == list(frames)


def test_the_vendored_script_is_what_its_readme_says_and_comes_with_its_licences():
    folder = Path(map_page.__file__).parent / "templates/vendor"
    script, told = (folder / "regl-scatterplot.js").read_bytes(), (folder / "README.md").read_text()
    assert f"`{hashlib.sha256(script).hexdigest()}`" in told
    packages = re.findall(r"^\| (\S+) \| ([\d.]+) \| (MIT|ISC) ", told, re.MULTILINE)
    assert len(packages) == 10
    licences = (folder / "LICENSES.txt").read_text()
    assert [p for p in packages if f"{p[0]} {p[1]} ({p[2]})" not in licences] == []
    assert licences.count("Permission") >= 10


ACTS = (Path(__file__).parent / "map_acts.js").read_text()
GPU = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")

PHONE = '<body><iframe src="map.html" style="width:390px;height:844px;border:0"></iframe></body>'


def opened(tmp_path, page, act, *flags, through=None):
    """Let a user act on a page; return what they found, and what the browser complained of.

    The page may be shown through another one.
    """
    run = f"{act}().then(() => console.log(`TOLD ${{JSON.stringify(told)}}`))"
    script = f"<script>{ACTS}\nonload = () => {run};</script></body>"
    page.write_text(page.read_text().replace("</body>", script))
    found, complaints = acted(tmp_path, through or page, *flags)
    # the renderer without a GPU tells how fast it copies pixels
    return found, [line for line in complaints if "GL Driver Message" not in line]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_is_an_instrument_in_a_browser(pictured, tmp_path):
    images, frames = pictured
    page = tmp_path / "map.html"
    write_map_page(page, "map", images, frames)
    told, complaints = opened(tmp_path, page, "everything", *GPU, "--window-size=1280,900")
    assert complaints == []
    acts = ("points", "wheel", "drag", "key +", "key ArrowLeft", "key 0", "camera", "identity",
            "margin", "change", "slider")  # fmt: skip
    assert [name for name in acts if not told[name]] == []
    assert told["legend"] == "cam 0cam 1cam 2"
    assert told["changes"].startswith("same clusteranother cluster")
    assert told["lasso"] == "72 images selected"
    assert told["cleared"] == "Nothing selected"
    assert re.search(r"\d\d\.png\n?cluster \d|\d\d\.png\n?cluster outlier", told["tip"])
    assert told["clicked"] == "1 image selected"
    assert re.search(r"cameracam \dident.*marg|outlier", told["facts"])
    assert told["link"].startswith("file:///")
    last = frames["epoch 4"]
    assert told["trays"][0] == 6
    assert told["trays"][1] in np.unique(last.clusters, return_counts=True)[1]
    assert told["neighbour"]
    assert told["cluster"] == f"{(last.clusters == 2).sum()} images selected"
    assert (told["epoch"], told["first"]) == ("epoch 2", True)
    assert told["named"] == ["1 image selected"] * 3
    assert told["missed"] == "No image found for no such file"
    assert (told["unreachable"], told["nameless"]) == (0, 0)
    rows = list(csv.DictReader(io.StringIO(told["csv"])))
    wanted = [n for n in range(72) if n % 3 == 1]
    assert [row["path"] for row in rows] == [images.paths[n] for n in wanted]
    first = frames["epoch 2"]
    assert [int(row["cluster"]) for row in rows] == first.clusters[wanted].tolist()
    assert {(row["camera"], row["epoch"]) for row in rows} == {("cam 1", "2")}
    assert [row["identity"] for row in rows] == [images.identities[n] for n in wanted]
    known = [row["margin"] for row in rows if row["margin"]]
    np.testing.assert_allclose(
        list(map(float, known)), [m for m in first.margins[wanted] if not np.isnan(m)], atol=6e-5
    )


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("beside", [False, True])
def test_the_map_fits_a_phone_by_touch_also_beside_its_files(pictured, tmp_path, dark, beside):
    images, frames = pictured
    page = tmp_path / "map.html"
    write_map_page(page, "map", images, frames, limit=1 if beside else 15_000_000)
    theme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    phone = tmp_path / "phone.html"
    phone.write_text(PHONE)
    told, complaints = opened(tmp_path, page, "fingers", *GPU, theme, through=phone)
    assert complaints == []
    assert told["points"]
    assert told["drag"]
    assert 0.7 < told["kept"] < 1.3
    assert told["tapped"] == "1 image selected"
    assert told["pinch"]
    assert told["tiles"] > 6
    assert (told["wide"], told["square"]) == (False, True)
    assert told["back"] == ("rgb(20, 23, 27)" if dark else "rgb(246, 247, 249)")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_without_webgl_the_page_says_so_and_still_finds(pictured, tmp_path):
    page = tmp_path / "map.html"
    write_map_page(page, "map", *pictured)
    told, complaints = opened(tmp_path, page, "withoutWebgl", "--disable-3d-apis")
    assert told == {"said": True, "found": "12 images selected"}
    assert complaints == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_twenty_thousand_images_over_eight_epochs_are_one_page_that_moves(tmp_path):
    random, count = np.random.default_rng(0), 20_000
    paths = [str(tmp_path / f"{n}.png") for n in range(50)]
    for path in paths:  # noise is the worst that a picture has to store
        pixels = random.integers(0, 256, (64, 32, 3)).repeat(2, 0).repeat(2, 1).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    images = MapImages(paths * 400, ["1", "2"] * 10_000, [str(n // 20) for n in range(count)])
    frames = {}
    for epoch in range(8):
        values = random.random((2, count)).astype(np.float32)
        frames[f"epoch {epoch}"] = MapFrame(
            images=np.arange(count),
            points=random.normal(size=(count, 2)).astype(np.float32),
            clusters=random.permutation(1000)[np.arange(count) // 20],
            distances=values[0],
            margins=values[1],
            neighbors=random.integers(0, count, (count, 6)),
            epoch=epoch,
        )
    page = tmp_path / "map.html"
    write_map_page(page, "map", images, frames)
    assert page.stat().st_size < 15_000_000
    assert not (tmp_path / "map_files").exists()
    told, complaints = opened(tmp_path, page, "fluently", *GPU, "--window-size=1280,900")
    assert complaints == []
    assert told["points"]
    assert told["found"] == "20 images selected"
    assert told["median"] < 3000  # milliseconds a picture, without a GPU


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize(("known", "cluster"), [(False, -1), (True, -1), (True, 0)])
def test_a_map_without_clusters_offers_none_and_one_of_a_single_cluster_no_margin(
    pictured, tmp_path, known, cluster
):
    images, _ = pictured
    unit, labels = embeddings()
    if not known:
        images = MapImages(images.paths, [None] * 72, [None] * 72)
    page = tmp_path / "map.html"
    write_map_page(page, "map", images, {"": make_frame(unit, labels * 0 + cluster)})
    told, complaints = opened(tmp_path, page, "withoutClusters", *GPU)
    assert complaints == []
    assert told["points"]
    grouped = ["cluster"] if cluster == 0 else []
    assert told["buttons"] == [*grouped, *(["camera", "identity"] if known else [])]
    distance = ["distance"] if grouped else []
    assert told["facts"] == ["file", *grouped, *(["camera"] if known else []), *distance]
    first = next(csv.reader([told["csv"][1]]))
    columns = [*grouped, *distance, *(["margin"] if grouped else [])]
    assert told["csv"][0] == ",".join(["path", "camera", "identity", *columns])
    assert first[:3] == [images.paths[0], "cam 0" if known else "", ""]
    assert first[-1:] == [""]  # no identity, or no margin
