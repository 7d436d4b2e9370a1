"""The script that kills runs: it sees a difference, and knows in which phase a process was."""

import json
import sys
from pathlib import Path

import pytest
import torch

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "torture"


@pytest.fixture
def torture(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARK)
    yield
    for name in [name for name in sys.modules if name.startswith("torture_")]:
        del sys.modules[name]


def folder(place, loss=0.5, weight=1.0):
    checkpoint = {
        "epoch": 0, "global_step": 1, "state_dict": {"a": torch.tensor([weight])},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}}],
        "ReIDDataModule": {"labels": torch.tensor([0, 1])},
    }  # fmt: skip
    (place / "checkpoints").mkdir(parents=True)
    for name in ("last.ckpt", "best.ckpt"):
        torch.save(checkpoint, place / "checkpoints" / name)
    for name in ("metrics.csv", "timings.csv"):
        (place / name).write_text(f"epoch,step,train/loss\n0,1,{loss}\n")
    (place / "results.json").write_text(json.dumps({"seconds": loss, "peak_memory_mib": 1}))
    for name in (
        "clusters.csv", "clusters.parquet", "queries.parquet", "report.html", "clusters.html",
        "curves.png", "run.log", "config.yaml",
    ):  # fmt: skip
        (place / name).touch()
    return place


def test_every_difference_is_seen(torture, tmp_path):
    from torture_checks import differences

    whole = folder(tmp_path / "whole")
    assert differences(whole, folder(tmp_path / "same")) == []
    other = folder(tmp_path / "other", loss=0.6, weight=1.0000001)
    (other / "report.html").unlink()
    (other / "checkpoints" / ".last.ckpt.123").touch()
    (other / "timings.csv").write_text("epoch,total\n0,1\n0,2\n")
    assert differences(whole, other) == [
        "report.html is missing", "metrics.csv differs", "last.ckpt: state_dict.a",
        "best.ckpt: state_dict.a", "timings.csv has the epochs [0, 0]",
        "checkpoints/.last.ckpt.123 is left",
    ]  # fmt: skip


def test_the_innermost_phase_counts_and_outlives_its_process(torture, tmp_path, monkeypatch):
    import torture_marks

    class Work:
        def outer(self, within):
            return within()

        inner = outer

    monkeypatch.setattr(
        torture_marks, "_functions",
        lambda: [(Work, "outer", "steps"), (Work, "inner", "checkpoint")],
    )  # fmt: skip
    marks, killer = (torture_marks.Marks(tmp_path / "marks") for _ in range(2))
    marks.install(1, 17)
    assert killer.phase(1) == "starting"
    work, seen = Work(), []
    work.outer(lambda: work.inner(lambda: seen.append(killer.phase(1))))
    assert (seen, killer.phase(1)) == (["checkpoint"], "between")
    assert int(killer.rows["pid"][1]) == 17
    with pytest.raises(KeyError):
        work.outer(lambda: {}[0])
    assert killer.phase(1) == "between"
    assert killer.rows["entered"][1].tolist() == [0, 0, 0, 2, 0, 1, 0, 0, 0]
    killer.clear()
    assert marks.phase(1) == "starting"
