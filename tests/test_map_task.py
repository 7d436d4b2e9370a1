"""task=map: pages of the output of task=embed, of task=identify and of a training."""

import json
import re

import numpy as np
import pytest

from dccc_lightning.data.image_list import ListedImage, write_table
from dccc_lightning.errors import UserError
from dccc_lightning.identities.identity_table import identity_table, order_of
from dccc_lightning.metrics.cluster_margins import cluster_margins
from dccc_lightning.reports.cluster_table import write_cluster_table
from dccc_lightning.reports.map_frames import MapImages, make_frame, write_frame, write_images
from dccc_lightning.tasks.early_checks import check_map
from dccc_lightning.tasks.map import draw_map
from test_map import embeddings
from test_map_page import data_of, unpacked

PATHS = [f"/photos/z{n:02d}.jpg" for n in range(72)]


def settings(folder, **changes):
    return {"input": str(folder), "images": 20000, "pattern": None, "dataset": {}} | changes


@pytest.fixture
def embedded(tmp_path):
    """An output folder of task=embed."""
    folder = tmp_path / "embedded"
    folder.mkdir()
    unit, _ = embeddings()
    np.save(folder / "embeddings.npy", 3 * unit.rows)
    write_table(
        folder / "images.parquet", [ListedImage(p, camera=str(n % 2)) for n, p in enumerate(PATHS)]
    )
    facts = {"file_format": "npy", "feature_dim": 32, "fingerprint": "f", "source": "/photos"}
    (folder / "embeddings.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def identified(tmp_path):
    """An output folder of task=identify, whose table has been sorted otherwise since."""
    folder = tmp_path / "identified"
    folder.mkdir()
    unit, labels = embeddings()
    labels = np.where(labels < 0, 6, labels)
    ids = [f"id{10 * n}" for n in labels]
    table = identity_table(
        PATHS, {}, ids, {}, cluster_margins(labels, unit), [None] * 72, [None] * 72
    )
    write_cluster_table(folder / "identities", table.take(np.arange(72)[::-1]))
    np.save(folder / "embeddings.npy", unit.rows)
    facts = {"order": order_of(PATHS), "ids_without_images": [], "fingerprint": "f"}
    (folder / "identities.json").write_text(json.dumps(facts))
    return folder


def test_embeddings_become_a_map_without_clusters(embedded, tmp_path, capsys):
    output = tmp_path / "map"
    output.mkdir()
    check_map(settings(embedded))
    results = draw_map(settings(embedded, images=50), output)
    assert results == json.loads((output / "results.json").read_text())
    assert results == {"page": str(output / "map.html"), "images": 50}
    data = data_of(output / "map.html")
    assert (len(data["paths"]), data["images"], data["groups"]) == (50, 72, None)
    (frame,) = data["frames"]
    assert set(unpacked(frame["cluster"])) == {-1}
    assert data["camera"]["names"] == ["0", "1"]
    assert data["identity"] is None
    assert "page of 50 images" in capsys.readouterr().out
    (embedded / "embeddings.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"the output of task=embed is damaged; embed again"):
        draw_map(settings(embedded), output)


def test_images_that_turn_are_compared_as_their_network_does(embedded, tmp_path):
    turns = np.random.default_rng(0).normal(size=(36, 4, 8)).astype(np.float32)
    rows = np.concatenate([turns, np.roll(turns, 1, axis=1)]).reshape(72, 32)
    np.save(embedded / "embeddings.npy", rows)
    manifest = embedded / "embeddings.json"
    manifest.write_text(manifest.read_text().replace('"f"', '"f-aligned"'))
    draw_map(settings(embedded), tmp_path)
    (frame,) = data_of(tmp_path / "map.html")["frames"]
    nearest = unpacked(frame["near"]).reshape(72, 6)[:, 0]
    np.testing.assert_array_equal(nearest, (np.arange(72) + 36) % 72)


def test_embeddings_that_are_not_finite_are_one_line(embedded, tmp_path):
    rows = np.load(embedded / "embeddings.npy")
    rows[3, 0] = np.nan
    np.save(embedded / "embeddings.npy", rows)
    with pytest.raises(UserError, match=r"input=.*embedded.*3"):
        draw_map(settings(embedded), tmp_path)


def test_identities_are_the_groups_of_their_map_whatever_the_order_of_the_table(
    identified, tmp_path
):
    output = tmp_path / "map"
    output.mkdir()
    check_map(settings(identified))
    draw_map(settings(identified, images=None), output)
    data = data_of(output / "map.html")
    assert (data["group"], data["groups"]) == ("identity", [f"id{10 * n}" for n in range(7)])
    (frame,) = data["frames"]
    unit, labels = embeddings()
    labels = np.where(labels < 0, 6, labels)
    assert [data["folder"] + path for path in data["paths"]] == PATHS[::-1]
    np.testing.assert_array_equal(unpacked(frame["cluster"]), labels[::-1])
    margins = cluster_margins(labels, unit).margin[::-1]
    np.testing.assert_allclose((unpacked(frame["margin"]) - 20_000) / 1e4, margins, atol=6e-5)
    draw_map(settings(identified, images=40), output)  # centres are those of all images
    data = data_of(output / "map.html")
    shown = [PATHS.index(data["folder"] + path) for path in data["paths"]]
    (frame,) = data["frames"]
    assert (len(shown), data["images"]) == (40, 72)
    wanted = cluster_margins(labels, unit).margin[shown]
    np.testing.assert_allclose((unpacked(frame["margin"]) - 20_000) / 1e4, wanted, atol=6e-5)
    (identified / "embeddings.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"damaged; run task=identify again"):
        draw_map(settings(identified), output)


def test_the_map_of_a_training_is_drawn_again(tmp_path):
    unit, labels = embeddings()
    folder = tmp_path / "run"
    write_images(folder / "map", MapImages(PATHS, ["1"] * 72, [None] * 72))
    with pytest.raises(UserError, match="no epoch has been evaluated yet"):
        draw_map(settings(folder), tmp_path)
    write_frame(folder / "map", make_frame(unit, labels, 7))
    check_map(settings(folder))
    assert draw_map(settings(folder), tmp_path)["images"] == 72
    assert data_of(tmp_path / "map.html")["frames"][0]["name"] == "epoch 8"
    assert re.search("<title>map of run</title>", (tmp_path / "map.html").read_text())
    (folder / "map/epoch_0007.parquet").write_bytes(b"no")
    with pytest.raises(UserError, match=r"epoch_0007.parquet is damaged"):
        draw_map(settings(folder), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"input": None}, "input= is needed"), ({"input": "absent"}, "no such folder"),
     ({"images": 0}, "images must be at least 1"), ({}, r"task=embed ckpt= makes one")],
)  # fmt: skip
def test_what_is_no_folder_of_embeddings_is_refused_early(changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        check_map(settings(tmp_path) | changes)
