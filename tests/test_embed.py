"""Embeddings on disk: complete or absent, never computed twice, in step with their table."""

import json
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from PIL import Image
from safetensors.torch import load_file

from dccc_lightning.data import image_list
from dccc_lightning.data.image_list import (
    ListedImage,
    listed_folder,
    listed_split,
    read_table,
    write_table,
)
from dccc_lightning.data.records import Records, Splits
from dccc_lightning.errors import UnreadableImageError, UserError
from dccc_lightning.inference import embedding_share, loading
from dccc_lightning.inference.bulk_embedding import PARTIAL, BulkEmbedding
from dccc_lightning.inference.embedding_file import HEADER_BYTES, EmbeddingFile
from dccc_lightning.inference.embedding_share import EmbeddingShare
from dccc_lightning.inference.image_embedder import ImageEmbedder
from dccc_lightning.tasks.embed import embed
from trees import touch

NUMBER = 11


@pytest.fixture
def crops(tmp_path):
    """Return a small tree of images, a folder for each camera."""
    rng = np.random.default_rng(0)
    for index in range(NUMBER):
        path = tmp_path / "crops" / f"camera{index % 2}" / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 12, 3), dtype=np.uint8)).save(path)
    return tmp_path / "crops"


def rows_of(folder):
    return [row._replace(camera=f"c{i}") for i, row in enumerate(listed_folder(folder))]


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".")


# The file of embeddings ---------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    chunks=st.lists(st.integers(0, 5), max_size=5),
    columns=st.integers(1, 9),
    file_format=st.sampled_from(("npy", "safetensors")),
    seed=st.integers(0, 99),
)
def test_what_is_appended_is_read_back(tmp_path_factory, chunks, columns, file_format, seed):
    path = tmp_path_factory.mktemp("embeddings") / "x"
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal((rows, columns), dtype=np.float32) for rows in chunks]
    file = EmbeddingFile(path, columns, file_format)
    for part in parts:
        file.append(part)
    file.finish({"fingerprint": "abc"})
    file.close()
    expected = np.concatenate([np.empty((0, columns), np.float32), *parts])
    if file_format == "npy":
        read = np.load(path, allow_pickle=False)
    else:
        (read,) = load_file(path).values()
    assert np.array_equal(read, expected)
    assert path.stat().st_size == HEADER_BYTES + expected.nbytes


def test_rows_after_the_last_commit_are_not_trusted(tmp_path):
    path = tmp_path / "x.npy"
    killed = EmbeddingFile(path, 2, "npy")
    killed.append(np.full((5, 2), 7, np.float32))
    killed.commit()
    with pytest.raises(UserError, match="another process is writing it"):
        EmbeddingFile(path, 2, "npy", rows=3)
    killed.close()
    with pytest.raises(UserError, match="shorter than at the last commit"):
        EmbeddingFile(path, 2, "npy", rows=6)
    file = EmbeddingFile(path, 2, "npy", rows=3)
    file.append(np.full((1, 2), 8, np.float32))
    file.finish({})
    file.close()
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    assert isinstance(mapped, np.memmap)
    assert mapped[:, 0].tolist() == [7, 7, 7, 8]


# The list of images -------------------------------------------------------------------------------


def test_a_tree_is_walked_by_name_and_the_users_own_links_are_followed(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    touch(elsewhere, "7.png")
    touch(root, "b/2.JPG", "b/1.webp", "a/x/3.bmp", "0.png", ".h/4.png", "b/.5.png", "b/6.txt")
    (root / "circle").symlink_to(root)
    (root / "again.png").symlink_to(root / "0.png")
    (root / "a" / "link").symlink_to(elsewhere)
    (root / "b" / "0.png").symlink_to(elsewhere / "7.png")
    (root / "folder.png").mkdir()
    found = [Path(row.path).relative_to(root).as_posix() for row in listed_folder(root)]
    assert found == ["0.png", "a/link/7.png", "a/x/3.bmp", "b/0.png", "b/1.webp", "b/2.JPG"]
    with pytest.raises(UserError, match=r"cannot read the folder .*missing"):
        list(listed_folder(tmp_path / "missing"))


def test_a_table_is_read_from_any_row(tmp_path, monkeypatch):
    monkeypatch.setattr(image_list, "ROWS", 4)
    rows = [ListedImage(f"/é{i}.png", str(i % 3), "") for i in range(10)]
    assert write_table(tmp_path / "t.parquet", iter(rows), {"k": "v"}) == 10
    for start in range(12):
        assert list(read_table(tmp_path / "t.parquet", start)) == rows[start:]
    assert pq.read_schema(tmp_path / "t.parquet").metadata[b"k"] == b"v"
    assert write_table(tmp_path / "none.parquet", []) == 0
    assert list(read_table(tmp_path / "none.parquet")) == []


def test_a_table_is_complete_or_absent(tmp_path):
    with pytest.raises(UserError, match="is not UTF-8; rename it"):
        write_table(tmp_path / "t.parquet", [ListedImage("/a.png"), ListedImage("/\udcff.png")])
    assert list(tmp_path.iterdir()) == []


def test_a_split_is_listed_by_names():
    def records(first):
        return Records.from_rows([(Path(f"/{first}{i}.png"), first + i, i - 1) for i in range(2)])

    plain = Splits("x", Path("/"), records(0), records(4), records(8))
    assert list(listed_split(plain, "query")) == [
        ListedImage("/40.png", "", "4"),
        ListedImage("/41.png", "0", "5"),
    ]
    assert [row.path for row in listed_split(plain, "all")] == [
        f"/{n}.png" for n in ("00", "01", "40", "41", "80", "81")
    ]
    named = Splits("x", Path("/"), records(0), records(0), records(0), ("door",), ("Ann", "Bob"))
    assert [row[1:3] for row in listed_split(named, "train")] == [("", "Ann"), ("door", "Bob")]
    tracked = Records(
        records(0).paths, *np.zeros((2, 2), dtype=np.int64), {"frame": np.array([30, -1])}
    )
    assert [row.frame for row in listed_split(replace(plain, train=tracked), "train")] == ["30", ""]


# From one to the other ----------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["npy", "safetensors"])
def test_embeddings_and_table_are_in_step(embedder, crops, tmp_path, file_format):
    rows = rows_of(crops)
    bulk = BulkEmbedding(embedder, tmp_path / "out", "crops", file_format, batch_size=4)
    manifest = bulk.run(lambda: rows)
    assert files(tmp_path / "out") == [
        "embeddings.json", f"embeddings.{file_format}", "images.parquet"
    ]  # fmt: skip
    assert not (tmp_path / "out" / PARTIAL).exists()
    path = tmp_path / "out" / f"embeddings.{file_format}"
    embeddings = np.load(path) if file_format == "npy" else load_file(path)["embeddings"].numpy()
    expected = embedder.embed([row.path for row in rows]).numpy()
    np.testing.assert_allclose(embeddings, expected, rtol=1e-5, atol=1e-6)
    table = pq.read_table(tmp_path / "out" / "images.parquet")
    assert [ListedImage(**row) for row in table.to_pylist()] == rows
    assert table.schema.metadata[b"fingerprint"].decode() == embedder.fingerprint
    assert manifest == json.loads((tmp_path / "out" / "embeddings.json").read_text())
    assert manifest["images"] == NUMBER
    assert manifest["fingerprint"] == embedder.fingerprint
    assert (manifest["height"], manifest["width"], manifest["feature_dim"]) == (64, 32, 256)


class Stopped(BaseException):
    """As an interrupt: no exception that anything here catches."""


@pytest.mark.parametrize("survivors", [0, 1, 2])
@pytest.mark.parametrize("committed", [True, False])
def test_what_is_done_is_not_done_again(
    embedder, crops, tmp_path, monkeypatch, survivors, committed
):
    rows, seen = rows_of(crops), []
    monkeypatch.setattr(embedding_share, "COMMIT_SECONDS", 0 if committed else 1e9)
    Path(rows[2].path).write_bytes(b"no image")

    def embed(self, images, batch_size):
        if len(seen) == survivors and not stopped:
            if not committed:  # killed: nothing more is written
                monkeypatch.setattr(EmbeddingShare, "_commit", lambda *_: None)
            raise Stopped
        seen.append(len(images))
        return original(self, images, batch_size)

    original, stopped = ImageEmbedder.embed, False
    monkeypatch.setattr(ImageEmbedder, "embed", embed)
    output = tmp_path / "out"
    bulk = BulkEmbedding(embedder, output, "crops", batch_size=4, skip_unreadable=True)
    commit = EmbeddingShare._commit
    with pytest.raises(Stopped):
        bulk.run(lambda: rows)
    assert files(output) == []
    stopped = True
    monkeypatch.setattr(EmbeddingShare, "_commit", commit)
    before = list(seen)
    manifest = bulk.run(lambda: pytest.fail("the list was on disk"))
    assert sum(seen) == NUMBER - 1 + (0 if committed else sum(before))
    assert (manifest["images"], manifest["skipped"]) == (NUMBER - 1, 1)
    kept = [row for row in rows if row != rows[2]]
    expected = original(embedder, [row.path for row in kept]).numpy()
    np.testing.assert_allclose(np.load(output / "embeddings.npy"), expected, rtol=1e-5, atol=1e-6)
    assert list(read_table(output / "images.parquet")) == kept
    (skipped,) = map(json.loads, (output / "skipped.jsonl").read_text().splitlines())
    assert skipped["index"] == 2
    assert skipped["path"] == rows[2].path
    assert "not an image" in skipped["reason"]
    assert bulk.run(lambda: pytest.fail("all is done")) == manifest


@pytest.mark.parametrize("moved", range(4))
def test_a_kill_while_the_results_move_is_made_good(embedder, crops, tmp_path, monkeypatch, moved):
    rows, names = rows_of(crops), []
    replace = Path.replace

    def stop(self, target):
        if Path(target).parent == tmp_path / "out":
            if len(names) == moved:
                raise Stopped
            names.append(self.name)
        return replace(self, target)

    bulk = BulkEmbedding(embedder, tmp_path / "out", "crops")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        if moved < 3:
            with pytest.raises(Stopped):
                bulk.run(lambda: rows)
        else:
            bulk.run(lambda: rows)
    assert ("embeddings.json" in files(tmp_path / "out")) == (moved == 3)
    assert bulk.run(list)["images"] == NUMBER
    assert files(tmp_path / "out") == ["embeddings.json", "embeddings.npy", "images.parquet"]
    assert not (tmp_path / "out" / PARTIAL).exists()


def test_an_unreadable_image_is_an_error_that_keeps_what_is_done(embedder, crops, tmp_path):
    rows, output = rows_of(crops), tmp_path / "out"
    Path(rows[9].path).write_bytes(b"")
    with pytest.raises(UnreadableImageError, match=Path(rows[9].path).name):
        BulkEmbedding(embedder, output, "crops", batch_size=4).run(lambda: rows)
    assert json.loads((output / PARTIAL / "progress.json").read_text())["done"] == 8
    bulk = BulkEmbedding(embedder, output, "crops", batch_size=4, skip_unreadable=True)
    assert bulk.run(list)["skipped"] == 1
    for path in crops.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="none of the 11 images can be read"):
        BulkEmbedding(embedder, tmp_path / "o", "crops", skip_unreadable=True).run(lambda: rows)


def test_work_for_something_else_is_not_continued(embedder, crops, tmp_path):
    rows, output = rows_of(crops), tmp_path / "out"
    with pytest.raises(UserError, match="crops: no images"):
        BulkEmbedding(embedder, output, "crops").run(list)
    assert not (output / PARTIAL).exists()
    BulkEmbedding(embedder, output, "crops").run(lambda: rows)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    other = loading.load_embedder("bundled", device="cpu")
    with torch.no_grad():
        other.network.neck.weight += 1
    for bulk in (
        BulkEmbedding(embedder, output, "others"),
        BulkEmbedding(embedder, output, "crops", "safetensors"),
        BulkEmbedding(other, output, "crops"),
    ):
        with pytest.raises(UserError, match=r"was started with \w+ \w+, now it is"):
            bulk.run(lambda: rows)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


# The command --------------------------------------------------------------------------------------


def test_the_command_embeds_a_folder_and_goes_on_after_an_interrupt(
    command, crops, tmp_path, monkeypatch
):
    original, calls = ImageEmbedder.embed, []

    def embed(self, images, batch_size):
        calls.append(len(images))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, images, batch_size)

    monkeypatch.setattr(ImageEmbedder, "embed", embed)
    arguments = ("task=embed", "ckpt=bundled", f"input={crops}", "loader.eval_batch_size=4")
    outcome = command(*arguments, "trainer=cpu", "output=out")
    assert outcome.code == 130
    assert files(Path("out")) == ["config.yaml", "run.log"]
    outcome = command("resume=out")
    assert outcome.code == 0, outcome.err
    assert "embedded 11 images (D = 256)" in outcome.out
    assert calls == [4, 4, 4, 3]
    assert np.load("out/embeddings.npy", mmap_mode="r").shape == (11, 256)


def test_the_command_embeds_a_split(command, tiny):
    arguments = ("task=embed", "ckpt=bundled", "input=query", "format=safetensors", "output=out")
    outcome = command(*tiny, *arguments)
    assert outcome.code == 0, outcome.err
    embeddings = load_file("out/embeddings.safetensors")["embeddings"]
    rows = list(read_table(Path("out/images.parquet")))
    assert len(rows) == len(embeddings) > 0
    assert all(Path(row.path).is_file() and row.camera and row.identity for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["input=train"], "ckpt= is needed: a checkpoint"),
        (["ckpt=bundled"], "input= is needed: a folder of images, or one of train"),
        (["ckpt=bundled", "input=nowhere"], "input=nowhere: neither a folder nor one of train"),
        (["ckpt=missing.ckpt", "input=train"], "missing.ckpt: no such file"),
        (["ckpt=bundled", "input=train", "network=both"], "ckpt: network must be one of auto"),
        (["ckpt=bundled", "input=train", "network=teacher"], "contains no teacher"),
        (["ckpt=bundled", "input=train", "trainer.accelerator=abacus"], "abacus"),
        (
            ["ckpt=bundled", "input=train", "loader.workers=-1"],
            "loader: workers must be at least 0",
        ),
        (["ckpt=bundled", "input=train", "dataset.on_error=no"], "on_error must be one of fail"),
        (["ckpt=bundled", "input=train", "format=csv"], "format must be one of npy"),
    ],
)
def test_mistakes_are_one_line(composed, tmp_path, arguments, message):
    with pytest.raises(UserError) as refused:
        embed(composed("task=embed", changes=arguments), tmp_path)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ckpt=bundled", "input=."], "no images"),
        (
            ["ckpt=bundled", "input=train", "dataset.root=/a (b)/größe"],
            """quote the value: 'dataset.root="/a (b)/größe"'""",
        ),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(command, arguments, message):
    outcome = command("task=embed", *arguments, "trainer=cpu", "output=out")
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not Path("out").exists()
