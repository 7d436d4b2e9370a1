"""Several processes on the processor: the same run as one, and sweeps of such runs."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import Command, MadeOnce
from dccc_lightning.reports.metrics_table import read_rows
from environment import with_modules

pytestmark = [pytest.mark.ddp, pytest.mark.slow]


TESTS = Path(__file__).parent
LENGTH = ["batch.clusters=8", "batch.instances=8", "epochs=3", "iterations=3", "eval_every=2"]
PAIR = ["trainer.devices=2", "checkpoint.every_n_steps=1"]
NAPS = ["+callbacks.naps._target_=rank_notes.Naps", "+callbacks.naps.seconds=2"]
REPLACEABLE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
NOTES = ["+callbacks.notes._target_=rank_notes.RankNotes", "+callbacks.notes.folder=notes"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dccc_lightning", *arguments],
        cwd=folder, env=with_modules(TESTS), capture_output=True, text=True, timeout=500,
        check=False,
    )  # fmt: skip


def start(
    folder: Path, *arguments: str, module: str = "dccc_lightning", **values: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=folder, env=with_modules(TESTS, **values), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


Runs = Callable[..., Path]


@pytest.fixture
def alone(command: Command, made_once: MadeOnce, tiny: list[str]) -> Runs:
    """Return a run of one process, made by the first test that compares with it."""

    def get(bn_group_size: int = 64, epochs: int = 3) -> Path:
        arguments = [f"model.bn_group_size={bn_group_size}", f"epochs={epochs}"]

        def fill(folder: Path) -> None:
            outcome = command(*tiny, *LENGTH, *arguments, f"output={folder / 'run'}")
            assert outcome.code == 0, outcome

        return made_once(f"alone_{bn_group_size}_{epochs}", fill) / "run"

    return get


@pytest.fixture
def pair(made_once: MadeOnce, tiny: list[str]) -> Runs:
    """Return the folder in which two processes made their run, with what they said."""

    def get(bn_group_size: int = 64, epochs: int = 3) -> Path:
        arguments = [f"model.bn_group_size={bn_group_size}", f"epochs={epochs}", "output=run"]

        def fill(folder: Path) -> None:
            folder.mkdir()
            two = run(folder, *tiny, *LENGTH, *NOTES, *arguments, *PAIR)
            assert two.returncode == 0, two.stderr
            (folder / "out.txt").write_text(two.stdout)
            (folder / "err.txt").write_text(two.stderr)

        return made_once(f"pair_{bn_group_size}_{epochs}", fill)

    return get


def assert_same_results(one: Path, other: Path, epochs: int = 3) -> None:
    rows, others = (read_rows(folder / "metrics.csv") for folder in (one, other))
    assert len(rows) == len(others) == epochs + 1
    for row, counterpart in zip(rows, others, strict=True):
        assert row.keys() == counterpart.keys()
        for key, value in row.items():
            assert counterpart[key] == pytest.approx(value, rel=1e-5, abs=1e-5), key
    states = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (one, other)
    ]
    labels = [state["ReIDDataModule"]["labels"] for state in states]
    assert torch.equal(*labels)
    centroids = [state["state_dict"]["memory.centroids"] for state in states]
    torch.testing.assert_close(*centroids, rtol=1e-5, atol=1e-5)


# 8 x 8 with groups of 64: a process holds half a group. 8 x 8 with groups of 24: groups straddle;
# two epochs of that, for in the third one rounding turns a ReLU over, and Adam makes 1e-4 of it.
# Some processors add groups of 16 and parts of a batch in another order, too: fewer epochs as well.
@pytest.mark.parametrize(("bn_group_size", "epochs"), [(64, 3), (24, 2), (16, 2)])
def test_two_processes_train_the_same_model_as_one(
    bn_group_size: int, epochs: int, alone: Runs, pair: Runs
) -> None:
    two = pair(bn_group_size, epochs)
    assert_same_results(alone(bn_group_size, epochs), two / "run", epochs)
    assert (two / "out.txt").read_text().count("outputs:") == 1
    warned = [line for line in (two / "err.txt").read_text().splitlines() if "arning" in line]
    # Of this tiny world a quarter may be in one cluster, which one process says.
    assert [line for line in warned if "images are in one cluster" not in line] == []
    assert len(warned) <= 1
    first, second = (torch.load(two / "notes" / f"centroids_{rank}.pt") for rank in (0, 1))
    assert len(first) == len(second) == 3 * epochs
    for ours, theirs in zip(first, second, strict=True):
        assert torch.equal(ours, theirs)  # bit for bit, after every step


def test_parts_of_a_batch_train_the_same_model(
    alone: Runs, tiny: list[str], tmp_path: Path
) -> None:
    parts = run(
        tmp_path, *tiny, *LENGTH, *PAIR, "model.bn_group_size=16", "epochs=1", "output=parts",
        "trainer.accumulate_grad_batches=2",
    )  # fmt: skip
    assert parts.returncode == 0, parts.stderr
    assert_same_results(alone(16, 1), tmp_path / "parts", 1)


def test_torchrun(alone: Runs, tiny: list[str], tmp_path: Path) -> None:
    arguments = [
        "--nproc-per-node=2", f"--master-port={free_port()}", "-m", "dccc_lightning", *tiny,
        *LENGTH, "trainer.devices=2",
    ]  # fmt: skip
    process = start(tmp_path, *arguments, module="torch.distributed.run")
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    assert errors.count("would each create a folder\n") == 1  # the first one
    process = start(tmp_path, *arguments, "output=run", module="torch.distributed.run")
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert out.count("outputs:") == 1
    assert_same_results(alone(), tmp_path / "run")
    process = start(tmp_path, *arguments, "output=run", module="torch.distributed.run")
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "output=run: contains a run" in errors


def process_of_rank(agent: int, rank: int) -> int | None:
    """Return the pid of the process of a rank that torchrun started; None if there is none yet."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            values = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if int(parent) == agent and b"RANK=%d" % rank in values:
            return int(folder.name)
    return None


def restarting(nodes: int, tiny: list[str]) -> list[str]:
    """Return the arguments of one agent of two processes, or of two agents of one, as on nodes."""
    each, port = 2 // nodes, free_port()
    options = [f"--nnodes={nodes}", f"--nproc-per-node={each}", "--max-restarts=1"]
    if nodes == 1:
        options += [f"--master-port={port}"]
    else:
        options += ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=run"]
    return [
        *options, "-m", "dccc_lightning", *tiny, *LENGTH, "output=run",
        f"trainer.devices={each}", f"trainer.num_nodes={nodes}", "checkpoint.every_n_steps=1",
    ]  # fmt: skip


def wait_for_checkpoints(run: Path) -> None:
    deadline = time.monotonic() + 200
    while not (run / "checkpoints" / "previous.ckpt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("nodes", "killed"), [(1, 0), (2, 1)])
def test_torchrun_restarts_a_run_that_lost_a_process(
    nodes: int, killed: int, pair: Runs, tiny: list[str], tmp_path: Path
) -> None:
    expected, arguments = pair() / "run", restarting(nodes, tiny)
    agents = [start(tmp_path, *arguments, module="torch.distributed.run") for _ in range(nodes)]
    wait_for_checkpoints(tmp_path / "run")
    (victim,) = filter(None, (process_of_rank(agent.pid, killed) for agent in agents))
    os.kill(victim, signal.SIGKILL)
    results = [agent.communicate(timeout=300) for agent in agents]
    assert [agent.returncode for agent in agents] == [0] * nodes, results
    assert sum(out.count("outputs:") for out, _ in results) == 1
    assert_same_bytes(expected, tmp_path / "run")
    assert not (tmp_path / "run" / "error.txt").exists()


@pytest.mark.parametrize("nodes", [1, 2])
def test_processes_end_with_their_agent_and_the_next_one_resumes(
    nodes: int, pair: Runs, tiny: list[str], tmp_path: Path
) -> None:
    """An agent of torchrun is killed: the only one, or the one that is not the rendezvous."""
    expected, arguments = pair() / "run", [*restarting(nodes, tiny), *NAPS]

    def begin(host: bool) -> subprocess.Popen[str]:
        words = [f"--rdzv-conf=is_host={host:d}", *arguments]
        return start(tmp_path, *words, module="torch.distributed.run", **REPLACEABLE)

    agents = [begin(node == 0) for node in range(nodes)]
    wait_for_checkpoints(tmp_path / "run")
    killed = agents.pop()
    killed.kill()
    killed.communicate(timeout=100)  # until no process holds its output any more
    assert not (tmp_path / "run" / "results.json").exists()
    agents.append(begin(nodes == 1))
    results = [agent.communicate(timeout=300) for agent in agents]
    assert [agent.returncode for agent in agents] == [0] * nodes, results
    assert_same_bytes(expected, tmp_path / "run")


def assert_same_bytes(one: Path, two: Path) -> None:
    assert (one / "metrics.csv").read_bytes() == (two / "metrics.csv").read_bytes()
    states = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (one, two)
    ]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_several_nodes(alone: Runs, tiny: list[str], tmp_path: Path) -> None:
    """Two nodes that are this machine twice; tests/slurm has those of SLURM."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    arguments = [*tiny, *LENGTH, "trainer.num_nodes=2", "output=run"]
    processes = [start(tmp_path, *arguments, **common, NODE_RANK=node) for node in "01"]
    results = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert sum(out.count("outputs:") for out, _ in results) == 1
    assert_same_results(alone(), tmp_path / "run")


@pytest.mark.parametrize(("rank", "kind"), [(0, "user"), (1, "user"), (1, "defect")])
def test_a_failing_process_ends_the_job_with_its_error(
    rank: int, kind: str, tiny: list[str], tmp_path: Path
) -> None:
    since = time.monotonic()
    outcome = run(
        tmp_path, *tiny, "iterations=100000", "trainer.devices=2", "output=run",
        "+callbacks.failure._target_=rank_notes.Failure", f"+callbacks.failure.rank={rank}",
        f"+callbacks.failure.kind={kind}",
    )  # fmt: skip
    assert outcome.returncode != 0
    assert outcome.stderr.count("this one alone") == 1
    assert time.monotonic() - since < 300  # and not after a time-out
    if kind == "user":
        where = " (process with LOCAL_RANK=1)" if rank else ""
        assert f"error: this one alone{where}\n" in outcome.stderr
        assert rank == 1 or outcome.returncode == 2


def test_a_nan_on_one_process_ends_the_job_before_anything_of_it_is_saved(
    tiny: list[str], tmp_path: Path
) -> None:
    outcome = run(
        tmp_path, *tiny, "iterations=4", "trainer.devices=2", "output=run",
        "checkpoint.every_n_steps=1", "+callbacks.failure._target_=rank_notes.Failure",
        "+callbacks.failure.rank=1", "+callbacks.failure.kind=loss", "model.bn_group_size=8",
    )  # fmt: skip
    assert outcome.returncode == 2
    assert "epoch 0, step 1: the loss is nan" in outcome.stderr
    assert (tmp_path / "run" / "nonfinite_batch_1.pt").exists()
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 1
    assert all(value.isfinite().all() for value in state["state_dict"].values())


def test_two_processes_killed_at_any_moment_can_be_resumed(
    pair: Runs, tiny: list[str], tmp_path: Path
) -> None:
    process = start(tmp_path, *tiny, *LENGTH, *PAIR, "output=run")
    wait_for_checkpoints(tmp_path / "run")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=200)  # the other one ends because this one is gone
    resumed = run(tmp_path, "resume=run")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_bytes(pair() / "run", tmp_path / "run")


def test_a_signal_to_one_process_stops_both_after_the_same_step(
    tiny: list[str], tmp_path: Path
) -> None:
    process = start(
        tmp_path, *tiny, "iterations=100000", "trainer.devices=2", "output=run",
        "checkpoint.every_n_steps=1",
    )  # fmt: skip
    wait_for_checkpoints(tmp_path / "run")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.splitlines()[-1] == f"stopped by SIGTERM; resume={tmp_path / 'run'} continues"


def test_a_sweep_of_runs_with_two_processes_runs_each_once(tiny: list[str], tmp_path: Path) -> None:
    outcome = run(
        tmp_path, "-m", *tiny, "trainer.devices=2", "epochs=1", "iterations=1",
        "scheduler=fixed,linear", "hydra.sweep.dir=sweep",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    assert sorted(p.name for p in (tmp_path / "sweep").iterdir()) == ["0", "1", "multirun.yaml"]
    for job in ("0", "1"):
        assert (tmp_path / "sweep" / job / "results.json").exists()
    assert not (tmp_path / "multirun").exists()
    assert not (tmp_path / "outputs").exists()


def test_a_batch_that_cannot_be_shared_says_what_could(tiny: list[str], tmp_path: Path) -> None:
    outcome = run(tmp_path, *tiny, "batch.clusters=3", "batch.instances=3", "trainer.devices=2")
    assert outcome.returncode == 2
    assert "9 images cannot be shared by 2 processes; choose from 1, 3" in outcome.stderr
    assert list(tmp_path.iterdir()) == []
