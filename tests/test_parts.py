"""Embeddings made in parts by an array of jobs, and joined: the files of one in one piece."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import draw_crops
from dccc_lightning.data.image_list import listed_folder, read_table
from dccc_lightning.errors import UserError
from dccc_lightning.inference import loading
from dccc_lightning.inference.bulk_embedding import PARTIAL, BulkEmbedding
from dccc_lightning.inference.embedding_file import EmbeddingFile
from dccc_lightning.inference.joined_parts import join_parts
from dccc_lightning.tasks.embed import embed
from dccc_lightning.tasks.gallery_inputs import embedded_before
from dccc_lightning.tasks.join import join
from dccc_lightning.tasks.path_labels import PathLabels

NUMBER, BATCH = 11, 2
UNREADABLE = (3, 5)


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    return draw_crops(tmp_path_factory.mktemp("crops"), NUMBER, UNREADABLE)


@pytest.fixture(scope="module")
def made(embedder, crops, tmp_path_factory):
    """Return a function that embeds a part, or everything, into a folder."""

    def make(folder, part=None, file_format="npy", batch=BATCH, **more):
        arguments = {"source": "crops", "skip_unreadable": True} | more
        bulk = BulkEmbedding(
            arguments.pop("embedder", embedder), folder, file_format=file_format,
            batch_size=batch, part=part, threads=1, **arguments,
        )  # fmt: skip
        return bulk.run(lambda: listed_folder(crops))

    return make


@pytest.fixture(scope="module")
def made_parts(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    for number in (1, 2, 3):
        made(folder / str(number), (number, 3))
    return folder


@pytest.fixture
def parts(made_parts, tmp_path):
    return shutil.copytree(made_parts, tmp_path / "parts")


def contents(folder):
    """Return the files of an embedding; of the manifest all but the time."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    manifest = json.loads(files.pop("embeddings.json"))
    return files, {key: value for key, value in manifest.items() if key != "seconds"}


@pytest.mark.parametrize(("file_format", "count"), [("npy", 3), ("safetensors", 2), ("npy", 8)])
def test_joined_parts_are_the_files_of_one_piece(made, tmp_path, file_format, count):
    made(tmp_path / "whole", None, file_format)
    for number in range(1, count + 1):  # of eight, two are without an image
        made(tmp_path / f"part{number}", (number, count), file_format)
    folders = [tmp_path / f"part{number}" for number in range(count, 0, -1)]
    manifest = join_parts(folders, tmp_path / "joined")
    assert manifest["images"] == NUMBER - len(UNREADABLE)
    assert contents(tmp_path / "joined") == contents(tmp_path / "whole")
    skipped = map(json.loads, (tmp_path / "joined" / "skipped.jsonl").read_text().splitlines())
    assert [line["index"] for line in skipped] == list(UNREADABLE)


def test_a_part_is_no_input_and_the_joined_parts_are(parts, tmp_path):
    labels = PathLabels({"pattern": False, "dataset": {}})
    with pytest.raises(UserError, match=r"1: part 1/3 of an embedding; task=join joins"):
        embedded_before(parts / "1", labels)
    join_parts([parts / name for name in "123"], tmp_path / "joined")
    found = embedded_before(tmp_path / "joined", labels)
    assert found.network == "bundled"
    assert [Path(image.path).stem for image in found.images] == [
        f"{n:02}" for n in range(NUMBER) if n not in UNREADABLE
    ]
    assert isinstance(found.rows, np.memmap)
    assert found.rows.shape == (NUMBER - len(UNREADABLE), 256)


def other_network(embedder):
    with torch.no_grad():
        embedder.network.neck.weight += 1
    return embedder


FAULTS = {
    "missing": (lambda parts, made: shutil.rmtree(parts / "2"), "part 2 of 3 missing: 1 in all"),
    "double": (
        lambda parts, made: shutil.copytree(parts / "2", parts / "again"),
        r"2 and .*again: both are part 2 of 3",
    ),
    "network": (
        lambda parts, made: remade(
            parts, made, embedder=other_network(loading.load_embedder("bundled", device="cpu"))
        ),
        r"2: has fingerprint \w+, .*1 has \w+; embed its part again",
    ),
    "source": (lambda parts, made: remade(parts, made, source="others"), "2: has source others"),
    "format": (lambda parts, made: remade(parts, made, file_format="safetensors"), "file_format"),
    "division": (lambda parts, made: remade(parts, made, part=(2, 4)), "2: has parts 4, .* has 3"),
    "batch": (
        lambda parts, made: remade(parts, made, batch=3),
        "2: begins with image 6 of the list, not 4; .* same loader.eval_batch_size",
    ),
    "rows": (lambda parts, made: cut(parts / "2" / "embeddings.npy"), "2: the part is damaged"),
    "table": (lambda parts, made: cut(parts / "2" / "images.parquet"), "2: the part is damaged"),
    "skipped": (lambda parts, made: (parts / "2" / "skipped.jsonl").unlink(), "part is damaged"),
    "manifest": (lambda parts, made: cut(parts / "2" / "embeddings.json"), "part is damaged"),
    "list": (
        lambda parts, made: (parts / "2" / "embeddings.json").write_text("[]"), "part is damaged"
    ),
    "unfinished": (
        lambda parts, made: (
            (parts / "2" / PARTIAL).mkdir(), (parts / "2" / "embeddings.json").unlink()
        ),
        r"2: the part is not finished; resume=.*2 continues it",
    ),
    "other": (
        lambda parts, made: (parts / "2" / "embeddings.json").unlink(), "2: no part of an embedding"
    ),
    "whole": (lambda parts, made: remade(parts, made, part=None), "2: not a part but a whole"),
}  # fmt: skip


def remade(parts, made, part=(2, 3), **more):
    shutil.rmtree(parts / "2")
    made(parts / "2", part, **more)


def cut(path):
    path.write_bytes(path.read_bytes()[:-4])


@pytest.mark.parametrize("fault", FAULTS)
def test_parts_that_do_not_fit_are_one_line(parts, made, tmp_path, fault):
    spoil, message = FAULTS[fault]
    spoil(parts, made)
    with pytest.raises(UserError, match=message) as caught:
        join_parts(sorted(parts.iterdir()), tmp_path / "joined")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "joined").exists()


def test_another_list_of_images_is_told(parts, embedder, crops, tmp_path):
    shutil.rmtree(parts / "2")
    names = [image._replace(camera="door") for image in listed_folder(crops)]
    BulkEmbedding(
        embedder, parts / "2", "crops", batch_size=BATCH, skip_unreadable=True, part=(2, 3)
    ).run(lambda: names)
    with pytest.raises(UserError, match="2: has list of images"):
        join_parts(sorted(parts.iterdir()), tmp_path / "joined")


def test_an_interrupted_part_or_join_goes_on(parts, made, tmp_path, monkeypatch):
    before = contents(parts / "2")
    with pytest.raises(UserError, match="was started with part 2/3, now it is None"):
        made(parts / "2")
    with pytest.raises(UserError, match="was started with part 2/3, now it is 1/3"):
        made(parts / "2", (1, 3))
    assert contents(parts / "2") == before
    folders, finish = [parts / name for name in "123"], EmbeddingFile.finish

    def stop(self, metadata):
        raise KeyboardInterrupt

    monkeypatch.setattr(EmbeddingFile, "finish", stop)
    with pytest.raises(KeyboardInterrupt):
        join_parts(folders, tmp_path / "joined")
    monkeypatch.setattr(EmbeddingFile, "finish", finish)
    join_parts(folders, tmp_path / "joined")
    assert not (tmp_path / "joined" / PARTIAL).exists()
    assert len(list(read_table(tmp_path / "joined" / "images.parquet"))) == 9


def test_a_join_into_the_folder_of_the_parts_goes_on(parts, capsys):
    output = parts / "joined"
    (output / PARTIAL).mkdir(parents=True)  # an interrupted join
    assert join({"parts": str(parts)}, output)["images"] == NUMBER - len(UNREADABLE)
    assert join({"parts": str(parts)}, output)["images"] == NUMBER - len(UNREADABLE)


# The commands -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_commands_embed_and_join(command, crops):
    arguments = (f"input={crops}", "ckpt=bundled", "dataset.on_error=skip", "trainer=cpu")
    for number in (1, 2):
        outcome = command("task=embed", *arguments, f"part={number}/2", f"output=parts/{number}",
                          "loader.eval_batch_size=8")  # fmt: skip
        assert outcome.code == 0, outcome.err
    assert "part 2/2: embedded 3 images (D = 256)" in outcome.out
    outcome = command("task=join", "parts=parts", "output=joined")
    assert outcome.code == 0, outcome.err
    assert "joined 2 parts: 9 images (D = 256), 2 unreadable skipped" in outcome.out
    assert np.load("joined/embeddings.npy", mmap_mode="r").shape == (9, 256)
    outcome = command("task=join", "parts=[parts/1]", "output=again")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "part 2 of 2 missing: 1 in all; embed with part=2/2" in outcome.err
    assert not Path("again").exists()


DATASET = {"name": "mine", "root": None}


@pytest.mark.parametrize("value", ["0/3", "4/3", "3", "1/0", "a/b", "-1/3", "1/3/5", [1, 3], True])
def test_a_part_that_is_none_is_one_line(value):
    with pytest.raises(UserError, match="must be I/N with I from 1 to N, such as part=3/8"):
        embed({"part": value, "format": "npy", "input": "query", "dataset": DATASET}, Path("out"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "parts= is needed"), ("nowhere", "parts=nowhere: no such folder"),
        ("empty", "parts=empty: no parts of task=embed"), (True, "parts must be a path"),
        ([], "no parts of task=embed"), (["empty"], "empty: no part of an embedding"),
        (["nowhere"], "nowhere: no part of an embedding"), ([None], "parts must be a path"),
        ({"a": 1}, "parts must be a path"),
    ],
)  # fmt: skip
def test_parts_that_are_none_are_one_line(tmp_path, monkeypatch, value, message):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(UserError, match=message):
        join({"parts": value}, Path("out"))
    assert not Path("out").exists()
