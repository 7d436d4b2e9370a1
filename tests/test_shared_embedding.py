"""Tasks that embed, on two processes: the files of one process, byte for byte."""

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import lightning_fabric
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric.strategies import ddp
from omegaconf import OmegaConf

from conftest import draw_crops
from dccc_lightning import cli
from dccc_lightning.cli.run_folder import OutputGuard
from dccc_lightning.common import collectives
from dccc_lightning.common.ranks import ShareDone
from dccc_lightning.config.processes import embedding_processes
from dccc_lightning.data.image_list import ListedImage, listed_folder
from dccc_lightning.data.records import Records
from dccc_lightning.errors import UnreadableImageError, UserError
from dccc_lightning.gallery.gallery_index import GalleryIndex
from dccc_lightning.inference.bulk_embedding import BulkEmbedding
from dccc_lightning.inference.embedding_share import EmbeddingShare
from dccc_lightning.inference.evaluation import embed_records
from dccc_lightning.inference.loading import load_embedder
from dccc_lightning.tasks.gallery_inputs import embed_images
from dccc_lightning.tasks.index import index as index_task
from dccc_lightning.tasks.shared_work import processes_of_task
from test_ddp import free_port
from test_parts import contents

COUNT, BATCH = 11, 2
UNREADABLE = (3, 8)
SETTINGS = {"loader": {"workers": 1, "eval_batch_size": BATCH}, "dataset": {"on_error": "skip"}}


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 50), st.integers(1, 9), st.integers(1, 9))
def test_shares_are_whole_batches_that_cover_every_position_once(length, size, processes):
    shares = [collectives.batch_shard(length, size, rank, processes) for rank in range(processes)]
    assert [position for share in shares for position in share] == list(range(length))
    assert all(share.start % size == 0 for share in shares if share)
    batches = [-(-len(share) // size) for share in shares]
    assert max(batches) - min(batches) <= 1


def test_alone_work_is_done_in_place():
    rows = torch.ones(2, 3)
    assert collectives.from_first(lambda: 5) == 5
    assert collectives.shared(lambda: 7) == [7]
    assert collectives.gather_rows(rows, [2]) is rows
    collectives.leave_to_first()


@pytest.fixture
def crops(tmp_path):
    return draw_crops(tmp_path / "crops", COUNT, UNREADABLE)


def bulk(folder, embedder, skip=True):
    return BulkEmbedding(
        embedder, folder, "crops", batch_size=BATCH, threads=1, skip_unreadable=skip
    )


def embedded(embedder, images):
    """Return the rows of images by both other ways: of galleries, and of evaluations."""
    records = Records.from_rows([(Path(image.path), 0, 0) for image in images])
    read, (rows,) = embed_records([embedder], records, "query", True, BATCH, True)
    if collectives.world()[0] == 0:
        assert len(read) == len(rows)
    return rows, embed_images(embedder, images, SETTINGS)


def start(work, *arguments):
    """Do a work in two new processes: forks of one that has used OpenMP cannot use it."""
    mp.start_processes(work, arguments, nprocs=2, start_method="spawn")


def fail(rank):
    raise UserError(f"share {rank}")


def in_a_group(rank, folder, rendezvous):
    dist.init_process_group(
        "gloo", init_method=rendezvous, rank=rank, world_size=2, timeout=timedelta(seconds=100)
    )
    try:
        check_collectives(rank)
        embedder, images = (
            load_embedder("bundled", device="cpu"),
            list(listed_folder(folder / "crops")),
        )
        outputs = {"two": (images, True), "stopped": (images, False), "few": (images[:1], True)}
        for name, (some, skip) in outputs.items():
            kind = ShareDone if rank else UnreadableImageError if not skip else None
            if kind is None:
                bulk(folder / name, embedder).run(lambda some=some: some)
                continue
            with pytest.raises(kind, match=None if rank else "03.png"):
                bulk(folder / name, embedder, skip).run(lambda some=some: some)
        if rank == 0:
            torch.save(embedded(embedder, images), folder / "rows.pt")
        else:
            with pytest.raises(ShareDone):
                embedded(embedder, [ListedImage("another list of this process")])
    finally:
        dist.destroy_process_group()


def check_collectives(rank):
    assert collectives.from_first(lambda: {"rank": rank}) == {"rank": 0}
    found = collectives.shared(lambda: f"share {rank}")
    assert found == (None if rank else ["share 0", "share 1"])
    with pytest.raises(ShareDone if rank else UserError, match=None if rank else "share 0"):
        collectives.shared(lambda: fail(rank))
    with pytest.raises(ShareDone if rank else UserError, match=None if rank else "share 1"):
        collectives.shared(lambda: fail(rank) if rank else None)
    with pytest.raises(ShareDone if rank else UserError):
        collectives.from_first(lambda: fail(rank))
    for counts in ([0, 0], [0, 3], [2, 0], [2, 3]):
        local = torch.full((counts[rank], 2), float(rank))
        rows = collectives.gather_rows(local, counts)
        expected = [0.0] * counts[0] + [1.0] * counts[1] if rank == 0 else [1.0] * counts[1]
        assert rows[:, 0].tolist() == expected


@pytest.mark.slow
@pytest.mark.ddp
def test_the_embeddings_of_two_processes_are_those_of_one(crops, tmp_path):
    images = list(listed_folder(crops))
    embedder = load_embedder("bundled", device="cpu")
    bulk(tmp_path / "one", embedder).run(lambda: images)
    start(in_a_group, tmp_path, f"file://{tmp_path}/rendezvous")
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert np.load(tmp_path / "few" / "embeddings.npy").shape == (1, 256)
    bulk(tmp_path / "stopped", embedder).run(lambda: pytest.fail("the list was on disk"))
    assert contents(tmp_path / "stopped") == contents(tmp_path / "one")  # shares of two, by one
    rows, (kept, gallery) = torch.load(tmp_path / "rows.pt", weights_only=False)
    expected, (all_kept, all_rows) = embedded(embedder, images)
    assert torch.equal(rows, expected)
    assert kept == all_kept
    assert np.array_equal(gallery, all_rows)


# The commands -------------------------------------------------------------------------------------

EACH = {
    "embedded": ["task=embed", "input=gallery"],
    "scores": ["task=evaluate", "flip=true"],
    "index": ["task=index", "input=gallery", "index=shop"],
    "added": ["task=index", "add=query", "index=shop"],
    "found": ["task=search", "query=query", "index=shop"],
    "people": ["task=identify", "input=query", "k1=6"],
    "more": ["task=identify", "input=all", "known=people", "k1=6"],
    "threshold": ["task=calibrate", "input=all"],
    "nothing": ["task=identify", "known=people", "index=shop", "k1=6"],  # without any embedding
    "copied": ["task=index", "input=embedded", "index=copy"],
    "bounded": ["task=calibrate", "index=shop"],
}


def commands(tiny, *more):
    for name, arguments in EACH.items():
        yield [
            *tiny,
            *arguments,
            "ckpt=bundled",
            "loader.eval_batch_size=16",
            f"output={name}",
            *more,
        ]


def as_torchrun(rank, folder, tiny, ports):
    os.chdir(folder)
    sys.stdout = folder.with_name(f"out_{rank}.txt").open("w", buffering=1)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", GROUP_RANK="0",
        TORCHELASTIC_RUN_ID="test", MASTER_ADDR="127.0.0.1",
    )  # fmt: skip
    for port, arguments in zip(ports, commands(tiny, "trainer.devices=2"), strict=True):
        os.environ["MASTER_PORT"] = port
        (folder / f"ready_{rank}_{port}").touch()
        while not (folder / f"ready_0_{port}").exists():  # commands follow each other
            time.sleep(0.01)
        sys.argv = ["dccc_lightning", *arguments]
        OutputGuard.sweep, OutputGuard.absent = None, []
        GlobalHydra.instance().clear()
        try:
            cli.main()
        except SystemExit as stop:
            assert not stop.code, arguments  # noqa: PT017


def tree(folder):
    """Return the files of outputs, without logs, settings and times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if (
            not path.is_file()
            or name.startswith("ready_")
            or ".hydra" in name
            or path.name in ("run.log", "config.yaml")
        ):
            continue
        content = path.read_bytes().replace(str(folder).encode(), b"HERE")
        if path.suffix == ".json":
            content = json.loads(content)
            content.pop("seconds", None)
            content.pop("measured", None)
        found[name] = content
    return found


@pytest.mark.slow
@pytest.mark.ddp
def test_every_task_that_embeds_writes_the_files_of_one_process(
    command, tiny, tmp_path, monkeypatch
):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    start(as_torchrun, two, tiny, [free_port() for _ in EACH])
    monkeypatch.chdir(one)
    for arguments in commands(tiny):
        outcome = command(*arguments)
        assert outcome.code == 0, outcome.err
    printed = "".join((tmp_path / f"out_{rank}.txt").read_text() for rank in range(2))
    assert printed.count("outputs:") == len(EACH)
    assert printed.count("embedded ") == 1
    ours, theirs = tree(one), tree(two)
    assert ours.keys() == theirs.keys()
    for name, content in ours.items():
        assert theirs[name] == content, name
    assert len(ours) > 20


@pytest.mark.slow
@pytest.mark.ddp
def test_a_command_starts_its_processes(crops, tmp_path):
    arguments = ["task=embed", "ckpt=bundled", "input=crops", "trainer=cpu", "output=out"]
    arguments += ["trainer.devices=2", f"loader.eval_batch_size={BATCH}", "loader.workers=1"]

    def run(*more):
        return subprocess.run(
            [sys.executable, "-m", "dccc_lightning", *more],
            cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip

    outcome = run(*arguments)
    assert outcome.returncode == 2, outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert "03.png" in outcome.stderr
    outcome = run("resume=out", "dataset.on_error=skip")
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.count("embedded 9 images") == outcome.stdout.count("outputs:") == 1
    one = tmp_path / "one"
    BulkEmbedding(
        load_embedder("bundled", device="cpu"), one, str(crops), batch_size=BATCH, threads=1,
        skip_unreadable=True,
    ).run(lambda: listed_folder(crops))  # fmt: skip
    for name in ("embeddings.npy", "images.parquet", "skipped.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (one / name).read_bytes()


def test_a_process_that_is_done_waits_for_those_of_its_node(monkeypatch):
    """Those of a further node may still send their rows to rank 0."""
    done = []
    process = SimpleNamespace(
        wait=lambda: done.append("waited"), kill=lambda: done.append("killed"), poll=lambda: None
    )
    strategy = SimpleNamespace(launcher=SimpleNamespace(procs=[process]))
    fabric = SimpleNamespace(launch=lambda: None)
    monkeypatch.setattr(lightning_fabric, "Fabric", lambda **_: fabric)
    monkeypatch.setattr(ddp, "DDPStrategy", lambda **_: strategy)
    arguments = {"accelerator": "cpu", "devices": 2, "num_nodes": 1}
    for error, expected in ((ShareDone, "waited"), (UserError, "killed")):
        done.clear()
        with pytest.raises(error), embedding_processes(arguments):
            raise error
        assert done == [expected]


def test_a_gallery_is_replaced_once_all_processes_have_read_it(tmp_path, monkeypatch):
    rows, names = torch.eye(3).numpy(), ["a.png", "b.png", "c.png"]
    GalleryIndex.build(rows, names, fingerprint="x").save(tmp_path / "shop")
    settings = {"index": tmp_path / "shop", "input": None, "add": None, "remove": [1]}
    load, done = GalleryIndex.load, []

    def read(folder):
        done.append("read")
        return load(folder)

    monkeypatch.setattr(GalleryIndex, "load", read)
    monkeypatch.setattr(GalleryIndex, "save", lambda self, folder: done.append("saved"))
    monkeypatch.setattr(collectives, "barrier", lambda: done.append("waited"))
    (tmp_path / "out").mkdir()
    assert index_task(settings, tmp_path / "out")["removed"] == 1
    assert done == ["read", "waited", "saved"]


def test_a_folder_that_a_process_cannot_reach_is_one_line(tmp_path):
    share = EmbeddingShare(
        None, tmp_path / "far" / "listing.parquet", range(2), tmp_path / "far" / "share_1", "npy",
        BATCH, 1, False,
    )  # fmt: skip
    with pytest.raises(UserError, match=r"listing\.parquet: not there for this process"):
        share.embed()
    assert not (tmp_path / "far").exists()


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_a_task_without_work_for_others_is_refused(monkeypatch, variable):
    monkeypatch.setenv(variable, "2")
    if variable == "WORLD_SIZE":
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    task = {"task": {"_target_": "dccc_lightning.tasks.join.join"}}
    with (
        pytest.raises(UserError, match="task=join: has no work for 2 processes"),
        processes_of_task(task),
    ):
        pytest.fail("it has begun")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2"}, "-m: torchrun starts one run"),
        ({"SLURM_STEP_NUM_TASKS": "4"}, "-m: srun has started 4 processes"),
    ],
)
def test_several_processes_start_no_sweep(monkeypatch, capsys, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        OutputGuard().on_multirun_start(OmegaConf.create())
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["task=embed", "input=query"], "torchrun has started 2 processes, and trainer.devices=1"),
        (["task=verify"], "task=verify: has no work for 2 processes; start one, without torchrun"),
        (["task=embed", "trainer.devices=0"], "devices must be at least 1"),
    ],
)
def test_processes_without_work_are_one_line(command, monkeypatch, arguments, message):
    values = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    outcome = command(*arguments, "ckpt=bundled", "trainer=cpu", "output=out")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert message in outcome.err
    assert not Path("out").exists()
