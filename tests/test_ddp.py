"""Several processes on the processor: the same run as one, and sweeps of such runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dccc_lightning.metrics_table import read_rows

pytestmark = [pytest.mark.ddp, pytest.mark.slow]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", "dccc_lightning", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


# 8 x 8 with groups of 64: a process holds half a group. 8 x 8 with groups of 24: groups straddle.
@pytest.mark.parametrize("bn_group_size", [64, 24, 16])
def test_two_processes_train_the_same_model_as_one(
    bn_group_size: int, tiny: list[str], tmp_path: Path
) -> None:
    arguments = [
        *tiny, "batch.clusters=8", "batch.instances=8", "epochs=3", "iterations=3", "eval_every=2",
        f"model.bn_group_size={bn_group_size}",
    ]  # fmt: skip
    one = run(tmp_path, *arguments, "output=one")
    two = run(tmp_path, *arguments, "output=two", "trainer.devices=2")
    assert one.returncode == 0, one.stderr
    assert two.returncode == 0, two.stderr
    rows = [read_rows(tmp_path / name / "metrics.csv") for name in ("one", "two")]
    assert len(rows[0]) == len(rows[1]) == 4
    for single, double in zip(*rows, strict=True):
        assert single.keys() == double.keys()
        for key, value in single.items():
            assert double[key] == pytest.approx(value, rel=1e-5, abs=1e-5), key
    states = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("one", "two")
    ]
    labels = [state["ReIDDataModule"]["labels"] for state in states]
    assert torch.equal(*labels)
    centroids = [state["state_dict"]["memory.centroids"] for state in states]
    torch.testing.assert_close(*centroids, rtol=1e-5, atol=1e-5)
    assert two.stdout.count("outputs:") == 1
    assert "warning" not in two.stderr.lower()


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
    assert "9 images cannot be shared by 2 processes; 1, 3 would do" in outcome.stderr
    assert list(tmp_path.iterdir()) == []
